"""CVAT for images 1.1: annotations.xml and images/, one tag per picture.

Upload the folder images/ as a task with the labels that the file declares, then the file as its
annotations.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from labelsieve.errors import DataError
from labelsieve.exports import Rows
from labelsieve.exports._pictures import size_of, written
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
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    # one that a person typed is a new class
    typed = sorted(set(rows.table["label"].to_pylist()) - {None, *rows.classes})
    for name in (*rows.classes, *typed):
        _check(name)
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
    for number, (row, name) in enumerate(written(rows, target / "images")):
        width, height = size_of(target / "images" / name)
        about = {"id": f"{number}", "name": name}
        about |= {"width": f"{width}", "height": f"{height}"}
        if row["split"] is not None:
            about["subset"] = row["split"]
        image = ElementTree.SubElement(root, "image", about)
        if row["label"] is not None:
            ElementTree.SubElement(image, "tag", label=row["label"], source="manual")
    ElementTree.indent(root)
    file = target / "annotations.xml"
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    return [file]


def _check(name: str) -> None:
    if NOT_XML.search(name):
        raise DataError(
            f"CVAT cannot hold the class '{plain(name)}': it has a character that XML does "
            "not allow.",
            "Rename the class in the data, or choose another format with --to.",
        )
