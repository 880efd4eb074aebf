"""CVAT for images 1.1: annotations.xml and images/, one tag per picture.

Upload the folder images/ as a task with the labels that the file declares, then the file as its
annotations. Where the data have splits, they are the subsets of a project, and pictures lie in
images/SPLIT/.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labelsieve.errors import DataError
from labelsieve.exports import Rows
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


def _declare(root: Any, classes: list[str], splits: list[str]) -> None:
    """Labels, as those of a task; with subsets, as those of a project."""
    meta = ElementTree.SubElement(root, "meta")
    whole = ElementTree.SubElement(meta, "project" if splits else "task")
    labels = ElementTree.SubElement(whole, "labels")
    for name in classes:
        _check(name)
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
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
