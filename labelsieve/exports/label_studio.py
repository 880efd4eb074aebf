"""Label Studio: tasks with the suggestion as a pre-annotation, its score and model version, and the labelling interface.

Local images are read through Label Studio's local-files storage: start it with
LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder that
`local-files-root.txt` names, and add the folder that `local-files-storage.txt` names to the project as a local storage (it
lies below the first one: Label Studio refuses the document root itself). Choose the model version in the project's
settings, or the scores are not shown.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from labelsieve.exports import Rows

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write tasks.json, label_config.xml, local-files-root.txt and -storage.txt, and images/ where images are embedded in a table."""
    target.mkdir(parents=True, exist_ok=True)
    listed = rows.table.to_pylist()
    files = [rows.file(row["sample_id"], target / "images") for row in listed]
    storage = _common([f for f in files if f is not None], target)
    root = storage.parent
    tasks = [
        _task(row, file, root, rows.model_version)
        for row, file in zip(listed, files, strict=True)
    ]
    names = (
        "tasks.json",
        "label_config.xml",
        "local-files-root.txt",
        "local-files-storage.txt",
    )
    (target / names[0]).write_text(
        json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    (target / names[1]).write_text(_interface(rows.classes), encoding="utf-8")
    for name, folder in zip(names[2:], (root, storage), strict=True):
        (target / name).write_text(
            f"{folder}\n", encoding="utf-8", errors="surrogateescape"
        )
    return [target / name for name in names]


def _common(files: list[Path], target: Path) -> Path:
    return (
        Path(os.path.commonpath([f.parent for f in files]))
        if files
        else target.absolute()
    )


def _task(
    row: dict[str, Any], file: Path | None, root: Path, model_version: str
) -> dict[str, Any]:
    url = (
        ""
        if file is None
        else "/data/local-files/?d=" + quote(os.fsencode(os.path.relpath(file, root)))
    )
    about = (
        "sample_id",
        "path",
        "given_label",
        "label",
        "verdict",
        "p_clean",
        "is_label_issue",
    )
    task: dict[str, Any] = {
        "data": {"image": url, **{name: row[name] for name in about}}
    }
    if row["suggested_label"] is not None:
        task["predictions"] = [
            {
                "model_version": model_version,
                "score": row["suggested_prob"],
                "result": [_choice(row["suggested_label"])],
            }
        ]
    if row["verdict"] in ("keep", "accept", "other") and row["label"] is not None:
        task["annotations"] = [{"result": [_choice(row["label"])]}]
    return task


def _choice(label: str) -> dict[str, Any]:
    return {
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [label]},
    }


def _interface(classes: list[str]) -> str:
    """The labelling interface: the picture, the given label, one choice per class."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    ElementTree.SubElement(view, "Header", value="Given label: $given_label")
    choices = ElementTree.SubElement(
        view,
        "Choices",
        name="label",
        toName="image",
        choice="single",
        showInline="true",
    )
    for name in classes:
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
