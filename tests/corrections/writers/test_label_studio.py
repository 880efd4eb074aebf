"""Label Studio: one answer changes; those of several people stay what they said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.corrections.writers.label_studio import open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def choice(label: str) -> dict[str, Any]:
    value = {"choices": [label]}
    return {"type": "choices", "from_name": "label", "to_name": "image", "value": value}


def task(number: int, *labels: str, **data: Any) -> dict[str, Any]:
    answers = [{"result": [choice(label)]} for label in labels]
    return {"id": number, "data": {"image": "1.png", **data}, "annotations": answers}


def rewritten(folder: Path, tasks: Any, changes: dict[int, str | None]) -> Any:
    annotated.pictures(folder)
    path = annotated.write_json(folder / "tasks.json", tasks)
    spec = DataSpec(str(path))
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    writer._write(source, changes, folder / "new.json")
    return json.loads((folder / "new.json").read_text())


def test_the_answer_changes(tmp_path: Path) -> None:
    tasks = [task(1, "cat"), task(2, "dog"), task(3, "cat")]
    new = rewritten(tmp_path, tasks, {0: "bird", 1: None})
    assert new == [task(1, "bird"), task(3, "cat")]


def test_our_own_label_changes_where_nobody_answered(tmp_path: Path) -> None:
    ours = {"sample_id": "a#1", "given_label": "cat", "label": "cat"}
    new = rewritten(tmp_path, [task(1, **ours)], {0: "bird"})
    assert new == [task(1, **{**ours, "label": "bird"})]


def test_answers_of_several_people_are_not_rewritten(tmp_path: Path) -> None:
    tasks = [task(1, "cat", "cat", "dog")]
    with pytest.raises(DataError, match=r"Task 1 of .* has 3 answers, not one"):
        rewritten(tmp_path, tasks, {0: "dog"})


def test_the_short_form_is_not_rewritten(tmp_path: Path) -> None:
    entry = {"image": "1.png", "id": 1, "choice": "cat", "annotation_id": 1}
    with pytest.raises(DataError, match=r"has the short form of answers \(JSON-MIN\)"):
        rewritten(tmp_path, [{**entry, "lead_time": 1}], {0: "dog"})
