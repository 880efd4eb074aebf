"""COCO: instances.json and images/, one annotation without a box per picture.

Categories are numbered from 1 in the order of the classes. Pictures that belong to no class have
no annotation. What labelsieve knows of a picture stands in `attributes` of its annotation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelsieve.exports import Rows
from labelsieve.exports._pictures import size_of, written

TARGET = "folder"
# What of a row stands beside its annotation.
ABOUT = ("sample_id", "given_label", "p_clean", "is_label_issue", "verdict")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the annotations and the images, encoded as they were."""
    ids = {name: number for number, name in enumerate(rows.classes, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (row, name) in enumerate(written(rows, target / "images"), 1):
        width, height = size_of(target / "images" / name)
        sides = {"width": width, "height": height}
        images.append({"id": number, "file_name": name, **sides})
        label = row["label"]
        if label is not None:
            # one that a person typed is a new class
            category = ids.setdefault(label, len(ids) + 1)
            annotations.append(_annotation(len(annotations) + 1, number, category, row))
    content = {
        "info": {"description": rows.model_version},
        "licenses": [],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "images": images,
        "annotations": annotations,
    }
    file = target / "instances.json"
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    file.write_text(text, encoding="utf-8")
    return [file]


def _annotation(
    number: int, image: int, category: int, row: dict[str, Any]
) -> dict[str, Any]:
    attributes = {name: row[name] for name in ABOUT}
    ids = {"id": number, "image_id": image, "category_id": category}
    return {**ids, "iscrowd": 0, "attributes": attributes}
