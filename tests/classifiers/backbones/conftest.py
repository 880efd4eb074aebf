"""The whole way of a backbone, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelsieve.classifiers.classifier import Classifier

CPU = ["--device", "cpu"]


@pytest.fixture
def whole_way(planted: Any, call: Any, tmp_path: Path) -> Callable[..., Path]:
    """train, predict, evaluate and export-model; gives the folder of the classifier."""

    def go(student: str, *settings: str) -> Path:
        folder = tmp_path / "classifier"
        chosen = [part for each in ("epochs=1", *settings) for part in ("--set", each)]
        told = ["--student", student, "-o", folder, *chosen, *CPU]
        done = call("train", planted.folder, *told)
        assert done.code == 0, done.err
        names = {path.suffix for path in folder.iterdir()}
        assert names <= {".json", ".md", ".parquet", ".safetensors"}
        check_answers(folder, planted, call, tmp_path / "answers.parquet")
        done = call("export-model", folder, "--to", "onnx", "--json")
        assert done.code == 0, done.err
        assert done.json()["difference"] < 1e-4
        return folder

    return go


def check_answers(folder: Path, planted: Any, call: Any, output: Path) -> None:
    """The saved classifier answers as the training judged it, and as `evaluate` counts."""
    data = planted.folder.parent / "data"
    assert call("predict", folder, data, "-o", output, *CPU).code == 0
    answers = {row["path"]: row["label"] for row in pq.read_table(output).to_pylist()}
    done = call("evaluate", folder, data, "--json", *CPU)
    assert done.code == 0, done.err
    opened = Classifier.from_pretrained(folder, device="cpu", precision="float32")
    assert opened.classes == planted.run.classes
    scores = planted.run.scores.to_pylist()
    right = [answers[row["path"]] == row["given_label"] for row in scores]
    assert done.json()["accuracy"] == pytest.approx(np.mean(right))
    told = json.loads((folder / "training.json").read_text())["figures"]["history"]
    assert [epoch["epoch"] for epoch in told] == [0, 1]
