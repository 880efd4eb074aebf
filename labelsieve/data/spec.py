"""What the user said about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelsieve.data.given import Given


@dataclass(frozen=True)
class DataSpec:
    """What the user said about the data: the command line's words, unchanged.

    Attributes:
        data: a path, a hub id, or in Python a data set object.
        image_column, label_column, truth_column, id_column: of a table or hub data set.
        label_separator: what stands between the labels of a set in one text, such as "|"; "none"
            where such a text is one label.
        vote_columns: columns of the labels that several people gave, comma-separated names or
            patterns ("label_*").
        count_columns: likewise columns of classes, that say how many people, or which share,
            chose each.
        items: "boxes" or "images": what is judged where the data have boxes.
        urls: hosts whose pictures may be fetched, comma-separated, where the data name URLs.
        root: the folder that image paths in a table are relative to.
        split: the part to read, such as "train".
        class_names: label -> how it is written into prompts.
        embeddings, pred_probs: the user's own, in the place of a model's.
        rows_match: those without ids have a row for each row of the data, in their order.
        template: of plain prompts, with {} for the class name.
        labelled: False for images to classify: labels may be missing, and folders need no
            classes.
    """

    data: Any
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    label_separator: str | None = None
    vote_columns: str | None = None
    count_columns: str | None = None
    items: str | None = None
    urls: str | None = None
    root: str | None = None
    split: str | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)
    template: str = "a photo of a {}."
    labelled: bool = True
    embeddings: Given | None = None
    pred_probs: Given | None = None
    rows_match: bool = False

    def path(self) -> Path | None:
        """`data` as a path, None when it is an object."""
        # also of hf://OWNER/NAME, which is no file: a source that knows it looks first
        return Path(self.data) if isinstance(self.data, str | Path) else None
