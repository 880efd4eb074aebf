"""Kinds of items as people see them: pictures today; one kind per file, named as its modality.

A file of this room offers:

    MEDIA: str                                      media type of what `show` gives
    SIZES: Mapping[str, int]                        small, medium, large and full, as it means them
    show(items, sample_id, size) -> bytes | None    for the review page; None: cannot be read
    facts(items, sample_id) -> Any                  what its template says beside it, or None
    NOUN: str                                       optional: what people call one of them, "image"
    LOOKS: str                                      optional: another kind, as which it is drawn
    VERSION: int                                    optional: small ones are kept on the disk
    letters(items, sample_id) -> str                optional: what a search for words looks at
    embed(items, sample_id, side, quality) -> str   for a report; empty: cannot be read

Its looks are beside it: macros `look` and `small` in `assets/items/KIND.html.j2`, and functions
`served` and `embedded` in `assets/items.js`. No other page or script knows what an item is.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from labelsieve import registry


def kind_of(items: Any) -> str:
    """The kind whose looks a run's items have."""
    return str(getattr(view_of(items), "LOOKS", _modality(items)))


def noun_of(items: Any) -> str:
    """What people call one of a run's items: "image", "text"; several have an s."""
    return str(getattr(view_of(items), "NOUN", "image"))


def view_of(items: Any) -> ModuleType:
    """The file of this room for a run's items."""
    return registry.load("runs/items", _modality(items))


def _modality(items: Any) -> str:
    # as its source names it
    return str(getattr(items, "modality", "images"))
