"""COCO: annotations/labels_SPLIT.json and images/SPLIT/, an annotation without a box per picture.

Of a scan of boxes, annotations/instances_SPLIT.json and every picture, with the boxes it had.

Data without splits are "default". Categories keep the ids that COCO or YOLO data gave them, and
are else numbered from 1 in the order of the classes; a class that a person typed gets the next
id. Pictures that belong to no class have no annotation, those with a set one for each label. What
labelsieve knows of a picture stands in `attributes` of its annotations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from labelsieve.exports import Rows
from labelsieve.exports._boxes import BoxedPictures
from labelsieve.exports._labels import labels_of
from labelsieve.exports._pictures import size_of, written
from labelsieve.exports._splits import parts

TARGET = "folder"
HOLDS = ("single", "set")
DEFAULT = "default"  # as CVAT and datumaro call what has no split
# What of a row stands beside its annotation.
ABOUT = ("sample_id", "given_label", "p_clean", "is_label_issue", "verdict")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the annotations and the images, encoded as they were."""
    ids = _ids(rows)
    # over all splits, so that their files can be put together again
    images, annotations = count(1), count(1)
    files = []
    for split, part in parts(rows):
        name = split or DEFAULT
        # not "instances", as tools expect a box of each of these
        file = target / "annotations" / f"labels_{name}.json"
        content = _content(part, target / "images" / name, ids, images, annotations)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files


def _ids(rows: Rows) -> dict[str, int]:
    """Category ids by label, in the order of the classes."""
    known = rows.class_ids
    # of other data than those that were scanned, they would say something else
    if not known.keys() >= set(rows.classes):
        known = {name: number for number, name in enumerate(rows.classes, 1)}
    ids = {name: known[name] for name in rows.classes}
    found: set[str] = set()
    for label in set(rows.table["label"].to_pylist()):
        found.update(labels_of(rows.kind, label))
    typed = sorted(found - ids.keys())
    for name in typed:
        ids[name] = max(ids.values(), default=0) + 1
    return ids


def _content(
    rows: Rows,
    folder: Path,
    ids: dict[str, int],
    image_ids: Iterator[int],
    annotation_ids: Iterator[int],
) -> dict[str, Any]:
    """Of one file; its pictures are written to `folder`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row, name in written(rows, folder):
        number, (width, height) = next(image_ids), size_of(folder / name)
        sides = {"width": width, "height": height}
        images.append({"id": number, "file_name": name, **sides})
        for label in labels_of(rows.kind, row["label"]):
            own = next(annotation_ids)
            annotations.append(_annotation(own, number, ids[label], row))
    return {
        "info": {"description": rows.model_version},
        "licenses": [],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "images": images,
        "annotations": annotations,
    }


def _annotation(
    number: int, image: int, category: int, row: dict[str, Any]
) -> dict[str, Any]:
    attributes = {name: row[name] for name in ABOUT}
    ids = {"id": number, "image_id": image, "category_id": category}
    return {**ids, "iscrowd": 0, "attributes": attributes}


def write_boxes(pictures: BoxedPictures, target: Path) -> list[Path]:
    """Write whole pictures with their boxes; ids of categories as in `write`."""
    categories = [{"id": n, "name": name} for name, n in pictures.ids.items()]
    found: dict[str, dict[str, Any]] = {}
    images, annotations = count(1), count(1)
    for boxed in pictures.written(target / "images"):
        split, _, name = boxed.file.partition("/")
        content = found.setdefault(
            split, {"categories": categories, "images": [], "annotations": []}
        )
        number, (width, height) = next(images), boxed.size
        about = {"id": number, "file_name": name, "width": width, "height": height}
        content["images"].append(about)
        for place in boxed.boxes:
            category = pictures.ids[place.row["label"]]
            entry = _annotation(next(annotations), number, category, place.row)
            _, _, across, down = place.sides
            entry |= {"bbox": list(place.sides), "area": across * down}
            content["annotations"].append(entry)
    files = []
    for split, content in found.items():
        file = target / "annotations" / f"instances_{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        file.write_text(text, encoding="utf-8")
        files.append(file)
    return files
