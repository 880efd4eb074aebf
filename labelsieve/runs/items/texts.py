"""Texts as people see them: letters, with what a page or terminal would obey written out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from labelsieve.data.text.reading import decode, encoding_of, read_bytes
from labelsieve.data.text.words import Spoken
from labelsieve.errors import LabelsieveError
from labelsieve.progress import plain
from labelsieve.runs.items.images import in_units

NOUN = "text"
MEDIA = "text/plain; charset=utf-8"
# in characters: a cell of the grid, a larger one, a card, and as much as a browser scrolls through
SIZES = {"small": 200, "medium": 600, "large": 4_000, "full": 200_000}
SEARCHED = 10_000  # characters of each text: nearly all there is, and no book
CUT = "…"
CHARACTERS = (
    4  # in a report, for each pixel that a picture would be wide: about as many bytes
)


@dataclass(frozen=True)
class Facts:
    """What is known of a text."""

    characters: int
    size: str  # "41 KB"
    encoding: str
    spoken: Spoken = field(default_factory=Spoken)  # what its words say of its label


def show(items: Any, sample_id: str, size: str) -> bytes | None:
    """A text in UTF-8, cut to a size of `SIZES`; None when it cannot be read."""
    text = read(items, sample_id)
    return None if text is None else harmless(text, SIZES[size]).encode()


def embed(items: Any, sample_id: str, side: int, quality: int) -> str:
    """As much of a text as takes the place of a picture; empty when it cannot be read."""
    text = read(items, sample_id)
    return "" if text is None else harmless(text, CHARACTERS * side)


def letters(items: Any, sample_id: str) -> str:
    """What a search looks at: the beginning of a text; empty when it cannot be read."""
    return (read(items, sample_id) or "")[:SEARCHED]


def facts(items: Any, sample_id: str) -> Facts | None:
    """Length, size and encoding; None when it cannot be read."""
    try:
        data = read_bytes(items.read(sample_id))
    except LabelsieveError:
        return None
    # of a scan; other items, of an export for one, have none
    spoken = getattr(items, "words", {}).get(sample_id, Spoken())
    return Facts(len(decode(data)), in_units(len(data)), encoding_of(data), spoken)


def read(items: Any, sample_id: str) -> str | None:
    """A whole text; None when it cannot be read."""
    try:
        return decode(read_bytes(items.read(sample_id)))
    except LabelsieveError:
        return None


def harmless(text: str, longest: int) -> str:
    """The beginning of a text, its lines kept; controls and half characters are written out."""
    lines = text[:longest].splitlines()
    shown = "\n".join(plain(line) for line in lines)
    return shown + (CUT if len(text) > longest else "")
