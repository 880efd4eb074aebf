"""What formats can hold: kinds of labels and of items; the labels of a row as a list."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from labelsieve import registry
from labelsieve.data.labels import SET, SINGLE, read_set
from labelsieve.errors import OptionError

ROOM = "exports"
IMAGES = ("images",)  # what a format holds that says nothing


def check_kind(room: ModuleType, to: str, kind: str) -> None:
    """Refuse labels that a format has no place for.

    Raises:
        OptionError: names the formats that have one.
    """
    if kind in getattr(room, "HOLDS", (SINGLE,)):
        return
    able = []
    for name in registry.names(ROOM):
        # read from the source: importing them would load their libraries
        if SET in registry.constants(ROOM, name, ("HOLDS",)).get("holds", ()):
            able.append(name)
    raise OptionError(
        f"--to {to} holds one label per image, and the data have sets of labels.",
        f"Take one of: {', '.join(able)}.",
    )


def check_items(room: ModuleType, to: str, pictures: Any) -> None:
    """Refuse a format of pictures for texts, and the other way round.

    Raises:
        OptionError: names the formats that hold such items.
    """
    holds = getattr(room, "ITEMS", IMAGES)
    # what holds every kind is written without opening the data
    if set(holds) >= {"images", "texts"}:
        return
    kind = getattr(pictures, "modality", "images")
    if kind in holds:
        return
    able = []
    for name in registry.names(ROOM):
        named = registry.constants(ROOM, name, ("ITEMS",)).get("items", IMAGES)
        if kind in named:
            able.append(name)
    raise OptionError(
        f"--to {to} is for {' and '.join(holds)}, and the data are {kind}.",
        f"Take one of: {', '.join(able)}.",
    )


def labels_of(kind: str, label: str | None) -> list[str]:
    """The labels of a row: one, several of a set, or none."""
    if label is None:
        return []
    return read_set(label) if kind == SET else [label]
