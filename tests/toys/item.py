"""Words as people see them: texts, called otherwise."""

from __future__ import annotations

from typing import Any

LOOKS = "texts"
NOUN = "saying"
MEDIA = "text/plain; charset=utf-8"
SIZES = {"small": 20, "medium": 80, "large": 400, "full": 4_000}


def show(items: Any, sample_id: str, size: str) -> bytes:
    """A text in UTF-8."""
    return embed(items, sample_id, SIZES[size], 0).encode()


def embed(items: Any, sample_id: str, side: int, quality: int) -> str:
    """At most `side` characters."""
    return str(items.read(sample_id))[:side]


def facts(items: Any, sample_id: str) -> None:
    """Nothing but the text is known."""
