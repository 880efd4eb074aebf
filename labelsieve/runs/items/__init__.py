"""Kinds of items as people see them: pictures today; one kind per file, named as its modality.

A file of this room offers:

    MEDIA: str                                      media type of what `show` gives
    SIZES: Mapping[str, int]                        small, medium, large and full, as it means them
    show(items, sample_id, size) -> bytes | None    for the review page; None: cannot be read
    facts(items, sample_id) -> Any                  what its template says beside it, or None
    VERSION: int                                    optional: small ones are kept on the disk
    embed(items, sample_id, side, quality) -> str   for one file; empty: cannot be read

Its looks are beside it: macros `look` and `small` in `assets/items/KIND.html.j2`, and functions
`served` and `embedded` in `assets/items.js`. No other page or script knows what an item is.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from labelsieve import registry


def kind_of(items: Any) -> str:
    """The kind of a run's items, as its source names it."""
    return str(getattr(items, "modality", "images"))


def view_of(items: Any) -> ModuleType:
    """The file of this room for a run's items."""
    return registry.load("runs/items", kind_of(items))
