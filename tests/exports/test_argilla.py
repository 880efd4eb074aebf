"""Exports of texts: their bytes, their interface, and which formats hold them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import datasets
import pytest
from fixtures import texts
from fixtures.texts import TEXTS, Cells

from labelsieve.errors import OptionError
from labelsieve.exports import Rows, argilla, hf, label_studio
from labelsieve.exports._labels import check_items, registry


@pytest.fixture
def rows() -> Rows:
    return texts.rows()


def test_label_studio_has_texts_in_its_tasks(rows: Rows, tmp_path: Path) -> None:
    label_studio.write(rows, tmp_path)
    view = ElementTree.parse(tmp_path / "label_config.xml").getroot()
    text, choices = view.find("Text"), view.find("Choices")
    assert text is not None and choices is not None and view.find("Image") is None
    assert text.get("value") == "$text" and choices.get("toName") == text.get("name")
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    assert [t["data"]["text"].encode() for t in tasks[:3]] == TEXTS[:3]
    assert tasks[3]["data"]["text"] == "café"
    assert {t["predictions"][0]["result"][0]["to_name"] for t in tasks} == {"text"}
    assert [("annotations" in t) for t in tasks] == [False, True, False, False]


def test_a_data_set_of_texts_is_read_back(rows: Rows, tmp_path: Path) -> None:
    hf.write(rows, tmp_path / "out")
    back = datasets.load_from_disk(str(tmp_path / "out"))
    assert "image" not in back.column_names
    assert [t.encode() for t in back["text"][:3]] == TEXTS[:3]
    assert Counter(back["label"]) == {0: 3, 1: 1}


def test_records_of_argilla(rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    argilla.write(rows, path)
    records = json.loads(path.read_text(encoding="utf-8"))
    assert [r["fields"]["text"].encode() for r in records[:3]] == TEXTS[:3]
    second = records[1]
    assert second["suggestions"]["label"]["value"] == "a"
    assert second["metadata"]["given_label"] == "b"
    assert "verdict" not in records[0]["metadata"]


@pytest.mark.parametrize(("to", "pictures"), [("coco", Cells()), ("argilla", object())])
def test_what_a_format_cannot_hold_is_refused(to: str, pictures: Any) -> None:
    room = registry.load("exports", to)
    with pytest.raises(OptionError, match=rf"^--to {to} is for \w+, and the data are"):
        check_items(room, to, pictures)
