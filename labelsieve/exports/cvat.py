"""CVAT for images 1.1: annotations.xml and images/, one tag per picture.

Upload the folder images/ as a task with the labels that the file declares, then the file as its
annotations. Where the data have splits, they are the subsets of a project, and pictures lie in
images/SPLIT/. Of a scan of boxes, every picture is written with the boxes it had.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labelsieve.errors import DataError
from labelsieve.exports import Rows
from labelsieve.exports._boxes import BoxedPictures
from labelsieve.exports._pictures import size_of, written
from labelsieve.exports._splits import parts
from labelsieve.exports.label_studio import NOT_XML
from labelsieve.progress import plain

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the annotations and the images, encoded as they were.

    Raises:
        DataError: a class has a name that XML cannot hold.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    found = list(parts(rows))
    # one that a person typed is a new class
    typed = sorted(set(rows.table["label"].to_pylist()) - {None, *rows.classes})
    _declare(root, [*rows.classes, *typed], [name for name, _ in found if name])
    numbers = count()
    for split, part in found:
        below = f"{split}/" if split else ""
        for row, name in written(part, target / "images" / below):
            width, height = size_of(target / "images" / below / name)
            about = {"id": f"{next(numbers)}", "name": below + name}
            about |= {"width": f"{width}", "height": f"{height}"}
            about |= {"subset": split} if split else {}
            image = ElementTree.SubElement(root, "image", about)
            if row["label"] is not None:
                ElementTree.SubElement(
                    image, "tag", label=row["label"], source="manual"
                )
    ElementTree.indent(root)
    file = target / "annotations.xml"
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return [file]


def write_boxes(pictures: BoxedPictures, target: Path) -> list[Path]:
    """Write whole pictures with their boxes.

    Raises:
        DataError: a class has a name that XML cannot hold.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    found = list(pictures.written(target / "images"))
    splits = sorted({boxed.file.partition("/")[0] for boxed in found})
    _declare(root, pictures.classes, splits, "rectangle")
    for number, boxed in enumerate(found):
        width, height = boxed.size
        about = {"id": f"{number}", "name": boxed.file}
        about |= {"width": f"{width}", "height": f"{height}"}
        about["subset"] = boxed.file.partition("/")[0]
        image = ElementTree.SubElement(root, "image", about)
        for place in boxed.boxes:
            left, top, across, down = place.sides
            edges = {"xtl": left, "ytl": top, "xbr": left + across, "ybr": top + down}
            ElementTree.SubElement(
                image,
                "box",
                {name: f"{edge:.10g}" for name, edge in edges.items()},
                label=place.row["label"],
                source="manual",
                occluded="0",
                z_order="0",
            )
    ElementTree.indent(root)
    file = target / "annotations.xml"
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return [file]


def _declare(
    root: Any, classes: list[str], splits: list[str], kind: str = "tag"
) -> None:
    """Labels, as those of a task; with subsets, as those of a project."""
    meta = ElementTree.SubElement(root, "meta")
    whole = ElementTree.SubElement(meta, "project" if splits else "task")
    labels = ElementTree.SubElement(whole, "labels")
    for name in classes:
        _check(name)
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = kind
    # CVAT says a subset with each task of a project
    for name in splits:
        task = ElementTree.SubElement(whole, "task")
        ElementTree.SubElement(task, "subset").text = name


def _check(name: str) -> None:
    if NOT_XML.search(name):
        raise DataError(
            f"CVAT cannot hold the class '{plain(name)}': it has a character that XML does "
            "not allow.",
            "Rename the class in the data, or choose another format with --to.",
        )
