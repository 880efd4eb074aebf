from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from labelsieve.errors import DataError
from labelsieve.exports import export
from labelsieve.exports.label_studio import _interface
from labelsieve.runs.standing import scores_of


def tasks_of(decided: Any, tmp_path: Path) -> tuple[list[dict[str, Any]], str, Path]:
    export(decided.run, "label-studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    root = Path((tmp_path / "out" / "local-files-root.txt").read_text().rstrip("\n"))
    return (
        tasks,
        (tmp_path / "out" / "label_config.xml").read_text(encoding="utf-8"),
        root,
    )


def test_tasks_carry_prediction_score_and_model_version(
    decided: Any, tmp_path: Path
) -> None:
    tasks, _, _ = tasks_of(decided, tmp_path)
    scores = {r["sample_id"]: r for r in scores_of(decided.run).to_pylist()}
    assert {t["data"]["sample_id"] for t in tasks} == set(scores)
    for task in tasks:
        about = scores[task["data"]["sample_id"]]
        if about["suggested_label"] is None:  # somebody said that no class fits
            assert "predictions" not in task
            continue
        (prediction,) = task["predictions"]
        assert (
            prediction["model_version"] == "labelsieve-deft-tiny"
            and prediction["score"] == about["suggested_prob"]
        )
        assert prediction["result"] == [
            {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [about["suggested_label"]]},
            }
        ]
        assert task["data"]["given_label"] == about["given_label"]
    annotated = {
        t["data"]["sample_id"]: t["annotations"][0]["result"][0]["value"]["choices"]
        for t in tasks
        if "annotations" in t
    }
    a, _, c, *_ = decided.wrong
    assert annotated == {a: [decided.truth[a]], c: [decided.given[c]]}


def test_addresses_lead_to_the_images(decided: Any, tmp_path: Path) -> None:
    tasks, _, root = tasks_of(decided, tmp_path)
    for task in tasks:
        url = urlsplit(task["data"]["image"])
        assert url.path == "/data/local-files/"
        file = root / parse_qs(url.query)["d"][0]
        assert (
            file.resolve() == decided.files[task["data"]["sample_id"]].resolve()
            and file.is_file()
        )


def test_the_storage_lies_below_the_document_root(decided: Any, tmp_path: Path) -> None:
    _, _, root = tasks_of(decided, tmp_path)  # Label Studio serves nothing else
    storage = Path(
        (tmp_path / "out" / "local-files-storage.txt").read_text().rstrip("\n")
    )
    assert root in storage.parents and storage.samefile(decided.data)


def test_the_interface_has_every_class(decided: Any, tmp_path: Path) -> None:
    _, config, _ = tasks_of(decided, tmp_path)
    view = ElementTree.fromstring(config)
    assert [c.get("value") for c in view.iter("Choice")] == decided.run.classes
    assert (
        view.find("Choices").get("toName") == view.find("Image").get("name") == "image"
    )  # type: ignore[union-attr]


def test_label_studios_own_checker_accepts_it(decided: Any, tmp_path: Path) -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is not installed"
    )
    tasks, config, _ = tasks_of(decided, tmp_path)
    checker = interface.LabelInterface(config)
    checker.validate()
    # part by part: the checker's own way down from a task is broken in some versions
    for task in tasks:
        assert all(checker.validate_prediction(p) for p in task.pop("predictions"))
        assert all(checker.validate_annotation(a) for a in task.pop("annotations", []))
        assert checker.validate_task(task)


@pytest.mark.parametrize("name", ["a\x01", "\x1b[31m", "\ufffe"])
def test_a_class_that_xml_cannot_hold_is_named(name: str) -> None:
    with pytest.raises(DataError, match="Label Studio cannot hold the class"):
        _interface(["cat", name])


def test_other_alphabets_and_line_breaks_stay() -> None:
    names = ["a\tb\nc", "ü€", "\U0001f600", '<"&>']
    view = ElementTree.fromstring(_interface(names))
    assert [c.get("value") for c in view.iter("Choice")] == names
