"""What the user said about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DataSpec:
    """What the user said about the data: the command line's words, unchanged.

    Attributes:
        data: a path, a hub id, or in Python a data set object.
        image_column, label_column, truth_column, id_column: of a table or hub data set.
        root: the folder that image paths in a table are relative to.
        split: the part to read, such as "train".
        class_names: label -> how it is written into prompts.
        template: of plain prompts, with {} for the class name.
        labelled: False for images to classify: labels may be missing, and folders need no
            classes.
    """

    data: Any
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    root: str | None = None
    split: str | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    template: str = "a photo of a {}."
    labelled: bool = True

    def path(self) -> Path | None:
        """`data` as a path, None when it is an object."""
        # also of hf://OWNER/NAME, which is no file: a source that knows it looks first
        return Path(self.data) if isinstance(self.data, str | Path) else None
