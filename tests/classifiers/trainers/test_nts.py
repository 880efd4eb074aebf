"""A teacher relabels what trains and nothing else; the better of teacher and student stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelsieve
from labelsieve.classifiers.fine_tuning import Fitting
from labelsieve.classifiers.train import train
from labelsieve.classifiers.trainers import nts
from labelsieve.training import checkpoint

CPU = {"device": "cpu", "precision": "float32"}
QUICK = {"epochs": 2, "batch_size": 16, "lr": 0.02, "val_share": 0.2}


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


@pytest.fixture
def fit(planted: Any, random_clip: Any) -> Any:
    def call(**choices: Any) -> Any:
        settings = {**QUICK, **choices.pop("settings", {})}
        words = {"student": str(random_clip()), "settings": settings, "use": "all"}
        return train(planted.folder, **{"recipe": "nts", **words, **CPU, **choices})

    return call


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def test_teacher_is_plain_training_and_the_student_learns_its_answers(
    planted: Any, fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit(recipe="auto", output=tmp_path / "plain")
    seen: list[Any] = []
    real = Fitting.__init__

    def watched(self: Fitting, *args: Any) -> None:
        real(self, *args)
        seen.append(self)

    monkeypatch.setattr(Fitting, "__init__", watched)
    fit(output=tmp_path / "nts")
    teacher, student = seen
    figures = record(tmp_path / "nts")["figures"]
    wanted = record(tmp_path / "plain")["figures"]
    assert figures["teacher"]["history"] == wanted["history"]
    # naive: what plain training's model says of each picture that trains
    truly = plain.probabilities(teacher.images.inputs(teacher.rows)).argmax(1)
    np.testing.assert_array_equal(student.labels[student.rows], truly)
    changed = int((truly != teacher.labels[teacher.rows]).sum())
    assert figures["relabelled"] == changed > 0
    held = np.flatnonzero(teacher.part == "validation")
    np.testing.assert_array_equal(student.labels[held], teacher.labels[held])
    assert len(held)
    table = pq.read_table(tmp_path / "nts" / "samples.parquet")
    assert table["label"].equals(table["given_label"]), "given labels are on record"


def test_the_better_on_held_out_labels_is_saved(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fit(output=tmp_path / "a")
    figures = record(tmp_path / "a")["figures"]
    both = {m["model"]: m["noisy_accuracy"] for m in figures["held_out"]["models"]}
    best = max(both, key=lambda name: (both[name], name == nts.STUDENT))
    assert figures["trained_from"] == best
    assert figures["chosen"]["accuracy"] == pytest.approx(both[best])
    opened = labelsieve.Classifier.from_pretrained(tmp_path / "a", **CPU)
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        opened.predict_proba([picture]), made.predict_proba([picture])
    )
    # a teacher that gives every label the student does not
    real = Fitting.agreement

    def rigged(self: Fitting, val: Any) -> np.ndarray:
        rigged.calls += 1
        return np.full_like(real(self, val), rigged.calls == 2)

    rigged.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(Fitting, "agreement", rigged)
    fit(output=tmp_path / "b")
    assert record(tmp_path / "b")["figures"]["trained_from"] == nts.TEACHER


@pytest.mark.parametrize("stop", [3, 9])
def test_a_killed_one_ends_the_same(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    fit(output=tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(checkpoint, "COSTS_BETWEEN_CHECKPOINTS", 0.0)
    real = Fitting.loss_of

    def dies(self: Fitting, *words: Any) -> Any:
        dies.left -= 1
        if dies.left < 0:
            raise Killed
        return real(self, *words)

    dies.left = stop  # type: ignore[attr-defined]
    monkeypatch.setattr(Fitting, "loss_of", dies)
    with pytest.raises(Killed):
        fit(output=tmp_path / "killed")
    monkeypatch.setattr(Fitting, "loss_of", real)
    fit(output=tmp_path / "killed")
    name = "model.safetensors"
    whole, killed = (tmp_path / f / name for f in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
