"""Hugging Face data set: a folder for `datasets.load_from_disk`, with an image and label features.

Classes are declared as the data declare them, in their order and with those that have no image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from labelsieve.errors import LabelsieveError
from labelsieve.exports import Rows

TARGET = "folder"
LABELS = ("label", "given_label", "suggested_label")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write image, label (after decisions), given_label, sample_id and scores.

    Images that cannot be read are null.
    """
    features = _features(rows.classes)
    # its own cache would keep a second copy of every image
    with tempfile.TemporaryDirectory(prefix="labelsieve-") as cache:
        try:
            whole = datasets.Dataset.from_generator(
                lambda: _records(rows, features), features=features, cache_dir=cache
            )
        except Exception as error:
            # the library says only that a generator failed; ours says why
            if isinstance(error.__cause__, LabelsieveError):
                raise error.__cause__ from None
            raise
        whole.save_to_disk(str(target))
        # it maps files of the folder that is about to go
        del whole
    return [target]


def _features(names: list[str]) -> datasets.Features:
    classes = datasets.ClassLabel(names=names)
    return datasets.Features(
        {
            "image": datasets.Image(),
            "label": classes,
            "given_label": classes,
            "sample_id": datasets.Value("string"),
            "p_clean": datasets.Value("float64"),
            "is_label_issue": datasets.Value("bool"),
            "suggested_label": classes,
            "suggested_prob": datasets.Value("float64"),
            "verdict": datasets.Value("string"),
        }
    )


def _records(rows: Rows, features: Any) -> Iterator[dict[str, Any]]:
    known = set(rows.classes)
    for row, picture in rows.encoded():
        record = {name: row.get(name) for name in features}
        # a label that a person typed need not be a class
        for name in LABELS:
            if record[name] not in known:
                record[name] = None
        # as it was encoded: decoding and encoding again would change it
        if picture is not None:
            record["image"] = {"bytes": picture[0], "path": None}
        yield record
