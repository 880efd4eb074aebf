"""Hugging Face data set: a folder for `datasets.load_from_disk`, with an image and two label features."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from labelsieve.errors import ImageError
from labelsieve.exports import Rows
from labelsieve.runs.pictures import original

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the data set: image, label (after decisions), given_label, sample_id and scores. Unreadable images are null."""
    classes = datasets.ClassLabel(names=rows.classes)
    features = datasets.Features(
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
    with tempfile.TemporaryDirectory(prefix="labelsieve-") as cache:
        made = datasets.Dataset.from_generator(
            lambda: _records(rows, features), features=features, cache_dir=cache
        )
        made.save_to_disk(str(target))
        del made
    return [target]


def _records(rows: Rows, features: Any) -> Iterator[dict[str, Any]]:
    known = set(rows.classes)
    for row in rows:
        record = {name: row.get(name) for name in features}
        for name in ("label", "given_label", "suggested_label"):
            record[name] = record[name] if record[name] in known else None
        try:
            data, _ = original(rows.pictures, row["sample_id"])
            record["image"] = {"bytes": data, "path": None}
        except ImageError:
            record["image"] = None
        yield record
