"""Kinds of items that data sets are made of: images today; one kind per file.

A file of this room offers:

    open_items(preprocess) -> Items      `preprocess` is what its encoders ask for, a dataclass
    restore(stored) -> preprocess        from what `dataclasses.asdict` gave and JSON kept
    TEMPLATE: str                        optional: a prompt for class names, in the place of
                                         that of pictures

A source whose rows are of another kind than images has an attribute that names it, such as
`modality = "texts"`. Nothing else in `labelsieve.data` knows what an item is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from labelsieve import registry
from labelsieve.data.pixel_cache import Stamp
from labelsieve.data.sources import Row, Source
from labelsieve.data.spec import TEMPLATE


@dataclass(frozen=True, slots=True)
class Item:
    """One row after reading."""

    row: Row
    content_hash: str = ""  # hex digits of SHA-256; empty where nothing could be read
    slot: int = -1  # where it is stored, -1 while it is not
    prepared: Any = field(default=None, repr=False)  # what is new and to be stored
    stamp: Stamp | None = None  # of the file it came from, where that can be relied on
    reason: str = ""  # why it cannot be used
    # What it tells of the whole data set; it is settled once all others have told theirs.
    waits: Any = field(default=None, repr=False)


class Items(Protocol):
    """Items of one kind as one encoder wants them: read, hashed, prepared, stored, given back."""

    @property
    def preprocess(self) -> Any:
        """How they are prepared."""
        ...

    @property
    def folder(self) -> Path:
        """Of the cache that holds them."""
        ...

    @property
    def version(self) -> str:
        """Another one when the same contents give other inputs than before."""
        ...

    def read(self, rows: Sequence[Row]) -> list[Item]:
        """Read rows, from several threads; what cannot be read keeps its row, with a reason."""
        ...

    def store(self, items: Sequence[Item]) -> dict[str, int]:
        """Store what is new in them: content hash -> slot."""
        ...

    def settle(self, source: Source, items: Sequence[Item]) -> list[Item]:
        """Items that waited, after all were read and stored, in the light of what all told."""
        ...

    def remember(self, source: Source, manifest: pa.Table) -> None:
        """Where stored items come from, should the cache lose one: a table of MANIFEST."""
        ...

    def inputs(self, slots: np.ndarray) -> Any:
        """[b, ...] or a list, what the encoder's `normalise` takes, of stored items [b]."""
        ...

    def notes(self, slots: np.ndarray) -> list[str]:
        """What is odd about stored items [n], a clause each, for the preflight."""
        ...

    # Optional: `findings(rows)`, what is odd about usable rows of MANIFEST, each with name, what,
    # count and examples (`labelsieve.data.text.checks.Finding`); `noun`, "image" without it.


def noun_of(items: Any) -> str:
    """What people call one of these items: "image", "text"; several have an s."""
    return str(getattr(items, "noun", "image"))


def open_items(source: Source, preprocess: Any) -> Items:
    """The items of a source, of the kind that it names."""
    items: Items = _modality(source).open_items(preprocess)
    return items


def reopen_items(source: Source, stored: dict[str, Any]) -> Items:
    """As `open_items`, with the preprocessing that a run noted down."""
    return open_items(source, _modality(source).restore(stored))


def template_for(source: Source, template: str) -> str:
    """How a class is written into a prompt: as the user says, else as the kind of items has it."""
    own: str | None = getattr(_modality(source), "TEMPLATE", None)
    return own if own is not None and template == TEMPLATE else template


def _modality(source: Source) -> ModuleType:
    return registry.load("data/modalities", getattr(source, "modality", "images"))
