"""Label Studio: tasks with the suggestion as a pre-annotation, and the labelling interface.

Suggestions carry their probability and what made them. Local images are read through Label
Studio's local-files storage: start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder that `local-files-root.txt` names, and add
the folder that `local-files-storage.txt` names to the project as a local storage (it lies below
the first one: Label Studio refuses the document root itself). Choose the model version in the
project's settings, or the scores are not shown. Texts lie in the tasks themselves: there
is nothing to serve. Of a scan of boxes, every picture is written to images/ and its task holds the
boxes, with the labels that hold now, as an annotation.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.text.reading import decode
from labelsieve.errors import DataError
from labelsieve.exports import Rows
from labelsieve.exports._boxes import BoxedPictures, Place
from labelsieve.exports._labels import labels_of
from labelsieve.progress import plain

TARGET = "folder"
ITEMS = ("images", "texts")
HOLDS = ("single", "set")
# How an item is called in tasks and interface, by its kind.
NAMES = {"images": "image", "texts": "text"}
# All that XML 1.0 has no way to write, not even as a reference (section 2.2, production 2).
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write tasks.json, label_config.xml, and which folders Label Studio needs to know.

    Images that are embedded in a table are written to images/.

    Raises:
        DataError: a class has a name that the interface, which is XML, cannot hold.
    """
    target.mkdir(parents=True, exist_ok=True)
    if rows.modality == "texts":
        return _write_texts(rows, target)
    files = [rows.file(row["sample_id"], target / "images") for row in rows]
    # Label Studio takes one storage, so it is the deepest folder that holds all images
    storage = _common([f for f in files if f is not None], rows.final(target))
    root = storage.parent
    tasks = _tasks(rows, files, root)
    contents = {
        "tasks.json": json.dumps(tasks, ensure_ascii=False, indent=1) + "\n",
        "label_config.xml": _interface(rows.classes, rows.kind),
        "local-files-root.txt": f"{root}\n",
        "local-files-storage.txt": f"{storage}\n",
    }
    # one file per setting, so that each can be pasted as it is
    for name, text in contents.items():
        # a folder's name need not be UTF-8
        (target / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return [target / name for name in contents]


def _write_texts(rows: Rows, target: Path) -> list[Path]:
    """tasks.json and label_config.xml of texts; one that cannot be read is empty."""
    tasks = []
    for row, encoded in rows.encoded():
        text = "" if encoded is None else decode(encoded[0])
        tasks.append(_task(row, text, rows))
    interface = _interface(rows.classes, rows.kind, "text")
    written = [target / "tasks.json", target / "label_config.xml"]
    written[0].write_text(
        json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    written[1].write_text(interface, encoding="utf-8")
    return written


def write_boxes(pictures: BoxedPictures, target: Path) -> list[Path]:
    """Write whole pictures, and their tasks with all boxes.

    Raises:
        DataError: as `write`.
    """
    target.mkdir(parents=True, exist_ok=True)
    tasks = []
    for boxed in pictures.written(target / "images"):
        results = [_rectangle(place, boxed.size) for place in boxed.boxes]
        shown = "/data/local-files/?d=" + quote(os.fsencode(f"images/{boxed.file}"))
        data = {"image": shown, "split": boxed.split}
        tasks.append({"data": data, "annotations": [{"result": results}]})
    root = pictures.final(target).absolute()
    contents = {
        "tasks.json": json.dumps(tasks, ensure_ascii=False, indent=1) + "\n",
        "label_config.xml": _rectangles(pictures.classes),
        "local-files-root.txt": f"{root}\n",
        "local-files-storage.txt": f"{root / 'images'}\n",
    }
    for name, text in contents.items():
        (target / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    return [target / name for name in contents]


def _rectangle(place: Place, size: tuple[int, int]) -> dict[str, Any]:
    """A box as Label Studio has it: in percent of the picture."""
    (left, top, across, down), (width, height) = place.sides, size
    value = {"x": 100 * left / width, "y": 100 * top / height, "rotation": 0}
    value |= {"width": 100 * across / width, "height": 100 * down / height}
    return {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": width,
        "original_height": height,
        "value": {**value, "rectanglelabels": [place.row["label"]]},
    }


def _rectangles(classes: list[str]) -> str:
    """The labelling interface of boxes."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    labels = ElementTree.SubElement(
        view, "RectangleLabels", name="label", toName="image"
    )
    for name in classes:
        _check(name)
        ElementTree.SubElement(labels, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _common(files: list[Path], target: Path) -> Path:
    """The deepest folder that holds all files."""
    if not files:
        return target.absolute()
    return Path(os.path.commonpath([file.parent for file in files]))


# Columns that a task shows beside its image.
ABOUT = (
    "sample_id",
    "path",
    "given_label",
    "label",
    "verdict",
    "p_clean",
    "is_label_issue",
)


def _tasks(rows: Rows, files: list[Path | None], root: Path) -> list[dict[str, Any]]:
    tasks = []
    for row, file in zip(rows, files, strict=True):
        tasks.append(_task(row, _url(file, root), rows))
    return tasks


def _task(row: dict[str, Any], shown: str, rows: Rows) -> dict[str, Any]:
    """Args: shown: the address of an image, or a text."""
    what = NAMES[rows.modality]
    data = {name: row[name] for name in ABOUT}
    task: dict[str, Any] = {"data": {what: shown, **data}}
    if row["suggested_label"] is not None:
        prediction = {
            "model_version": rows.model_version,
            "score": row["suggested_prob"],
            "result": [_choices(labels_of(rows.kind, row["suggested_label"]), what)],
        }
        task["predictions"] = [prediction]
    # what people said, where they said which label is right
    if row["verdict"] in ("keep", "accept", "other") and row["label"] is not None:
        named = _choices(labels_of(rows.kind, row["label"]), what)
        task["annotations"] = [{"result": [named]}]
    return task


def _url(file: Path | None, root: Path) -> str:
    if file is None:
        return ""
    return "/data/local-files/?d=" + quote(os.fsencode(os.path.relpath(file, root)))


def _choices(labels: list[str], what: str) -> dict[str, Any]:
    return {
        "from_name": "label",
        "to_name": what,
        "type": "choices",
        "value": {"choices": labels},
    }


def _interface(classes: list[str], kind: str = SINGLE, what: str = "image") -> str:
    """The labelling interface: the picture or text, the given label, one choice per class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, what.capitalize(), name=what, value=f"${what}")
    ElementTree.SubElement(view, "Header", value="Given label: $given_label")
    choices = ElementTree.SubElement(
        view,
        "Choices",
        name="label",
        toName=what,
        choice="multiple" if kind == SET else "single",
        showInline="true",
    )
    for name in classes:
        _check(name)
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _check(name: str) -> None:
    # a mark in its place would be another label, which suggestions do not name
    if NOT_XML.search(name):
        raise DataError(
            f"Label Studio cannot hold the class '{plain(name)}': it has a character "
            "that XML does not allow.",
            "Rename the class in the data, or choose another format with --to.",
        )
