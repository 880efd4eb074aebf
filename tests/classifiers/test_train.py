"""From a run to a classifier: what trains, what is written, and that the same call ends
the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelsieve
from labelsieve.classifiers import fine_tuning
from labelsieve.classifiers.train import LAST, train
from labelsieve.errors import LabelsieveError, RunError
from labelsieve.runs.decisions import Decisions
from labelsieve.runs.run import run_folder
from labelsieve.training import checkpoint

QUICK = {"epochs": 2, "batch_size": 16, "lr": 0.02}
CPU = {"device": "cpu", "precision": "float32"}


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


@pytest.fixture
def fit(planted: Any, random_clip: Callable[..., Path]) -> Callable[..., Any]:
    def call(**choices: Any) -> Any:
        settings = {**QUICK, **choices.pop("settings", {})}
        return train(
            planted.folder,
            **{"student": str(random_clip()), "settings": settings, **CPU, **choices},
        )

    return call


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        r["sample_id"]: r for r in pq.read_table(folder / "samples.parquet").to_pylist()
    }


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def test_what_is_written(planted: Any, fit: Callable[..., Any], digits: Any) -> None:
    made = fit()
    folder = planted.folder / "classifier"
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "samples.parquet",
        "training.json",
    ]
    opened = labelsieve.Classifier.from_pretrained(folder, **CPU)
    probs = opened.predict_proba(digits[0][:8])
    assert (
        np.array_equal(probs, made.predict_proba(digits[0][:8]))
        and opened.classes == planted.run.classes
    )
    found, told = rows(folder), record(folder)
    assert found.keys() == planted.given.keys()
    for sample_id, row in found.items():
        wrong = sample_id in planted.wrong
        assert row["given_label"] == row["label"] == planted.given[sample_id]
        assert (row["part"] == "none") is wrong and row["origin"] == (
            "flagged" if wrong else "clean"
        )
    held = [i for i, row in found.items() if row["part"] == "validation"]
    assert told["samples"] == {
        "train": 48 - 12 - len(held),
        "validation": len(held),
        "left_out": 12,
        "origins": {"clean": 36 - len(held)},
    }
    assert (
        0 < len(held) < 8
        and told["state"] == "finished"
        and told["command"]["use"] == "clean"
    )
    figures = told["figures"]
    assert (
        figures["last"]["epoch"] == 2
        and figures["chosen"]["epoch"] in (0, 1, 2)
        and len(figures["history"]) == 3
    )


def test_the_figures_can_be_had_again(planted: Any, fit: Callable[..., Any]) -> None:
    """Accuracy on the held-out images, from the saved model and their files."""
    made = fit(settings={"val_share": 0.3})
    folder = planted.folder / "classifier"
    held = [i for i, row in rows(folder).items() if row["part"] == "validation"]
    paths = dict(
        zip(
            planted.run.manifest["sample_id"].to_pylist(),
            planted.run.manifest["uri"].to_pylist(),
            strict=True,
        )
    )
    from labelsieve.files import uri_to_path

    answers = made.predict([planted.data / uri_to_path(paths[i]) for i in held])
    right = np.mean([a == planted.given[i] for a, i in zip(answers, held, strict=True)])
    assert record(folder)["figures"]["chosen"]["accuracy"] == pytest.approx(right)


def test_the_same_call_is_not_done_again(planted: Any, fit: Callable[..., Any]) -> None:
    fit()
    weights = planted.folder / "classifier" / "model.safetensors"
    before = (weights.stat().st_mtime_ns, weights.read_bytes())
    fit()
    assert weights.stat().st_mtime_ns == before[0]
    with pytest.raises(RunError, match=r"holds another model \(epochs differ\)"):
        fit(settings={"epochs": 1})
    fit(force=True)
    assert (
        weights.stat().st_mtime_ns > before[0] and weights.read_bytes() == before[1]
    ), "same seed, same bits"
    fit(force=True, seed=1)
    assert weights.read_bytes() != before[1]


def test_both_epochs_can_be_kept(
    planted: Any, fit: Callable[..., Any], tmp_path: Path
) -> None:
    """Each in the bits that it has when it is kept alone, each with a card that says which
    it is.
    """
    how = {"epochs": 4, "lr": 0.5, "schedule": "constant"}
    folder, name = planted.folder / "classifier", "model.safetensors"
    made = fit(settings={**how, "keep": "both"})
    figures = record(folder)["figures"]
    assert figures["chosen"]["epoch"] < figures["last"]["epoch"] == 4, (
        "the last one is the best: this test sees nothing"
    )
    for keep, where in (("chosen", folder), ("last", folder / LAST)):
        fit(settings={**how, "keep": keep}, output=tmp_path / keep)
        assert (where / name).read_bytes() == (tmp_path / keep / name).read_bytes()
        opened = labelsieve.Classifier.from_pretrained(where, **CPU)
        assert (
            f"| {keep} epoch (saved) |" in opened.card
            and opened.classes == made.classes
        )
    assert "| last epoch (saved) |" not in made.card


def test_a_model_that_is_replaced_leaves_nothing_behind(
    planted: Any, fit: Callable[..., Any]
) -> None:
    """Not its last epoch, not its export to another runtime."""
    fit(settings={"keep": "both"})
    folder = planted.folder / "classifier"
    (folder / "model.onnx").write_bytes(b"of the old model")
    assert (folder / LAST / "model.safetensors").exists()
    fit(seed=1, force=True)
    assert not (folder / LAST).exists() and not (folder / "model.onnx").exists()


def test_decisions_made_since_are_another_training(
    planted: Any, fit: Callable[..., Any]
) -> None:
    fit()
    decisions = Decisions(planted.folder)
    wrong, other, right = (
        planted.wrong[0],
        planted.wrong[1],
        next(i for i in planted.given if i not in planted.wrong),
    )
    decisions.add(wrong, "accept", planted.truth[wrong])
    decisions.add(other, "keep")
    decisions.add(right, "wrong")
    decisions.close()
    with pytest.raises(RunError, match=r"another model \(samples differ\)"):
        fit()
    fit(output=planted.folder / "reviewed")
    found = rows(planted.folder / "reviewed")
    assert (found[wrong]["label"], found[wrong]["origin"]) == (
        planted.truth[wrong],
        "reviewed",
    )
    assert (
        found[other]["label"] == planted.given[other] and found[other]["part"] != "none"
    )
    assert found[right]["part"] == "none"
    fit(labels="scan", output=planted.folder / "scan")
    model = "model.safetensors"
    before = (planted.folder / "classifier" / model).read_bytes()
    assert (
        (planted.folder / "scan" / model).read_bytes()
        == before
        != (planted.folder / "reviewed" / model).read_bytes()
    )


def test_relabelled_and_all(planted: Any, fit: Callable[..., Any]) -> None:
    fit(
        use="clean+relabelled",
        output=planted.folder / "relabelled",
        min_confidence=0.94,
    )
    found = rows(planted.folder / "relabelled")
    assert all(
        found[i]["label"] == planted.truth[i] and found[i]["part"] == "train"
        for i in planted.wrong
    )
    fit(use="all", output=planted.folder / "all", loss="sce")
    found = rows(planted.folder / "all")
    assert all(found[i]["label"] == planted.given[i] for i in found)
    assert all(found[i]["part"] == "train" for i in planted.wrong), (
        "only clean images validate"
    )


def test_the_runs_own_tower_is_the_default(planted: Any, tmp_path: Path) -> None:
    train(
        planted.folder,
        output=tmp_path / "model",
        settings={"epochs": 0, "head_start": "text"},
        **CPU,
    )
    told = record(tmp_path / "model")
    assert (
        told["command"]["student"] == "tiny"
        and told["command"]["settings"]["lr"] == 5e-4
    )
    assert json.loads((tmp_path / "model" / "config.json").read_text())[
        "architectures"
    ] == ["TowerClassifier"]


def test_a_classifier_of_transformers(
    planted: Any, random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForImageClassification

    train(
        planted.folder,
        student=str(random_classifier()),
        output=tmp_path / "model",
        settings={"epochs": 1},
        **CPU,
    )
    settings = record(tmp_path / "model")["command"]["settings"]
    assert (settings["optimizer"], settings["lr"], settings["weight_decay"]) == (
        "sgd",
        1e-2,
        1e-5,
    )
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "model")
    assert list(theirs.config.id2label.values()) == planted.run.classes


def test_killed_and_continued_is_uninterrupted(
    planted: Any, fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit()
    whole = (planted.folder / "classifier" / "model.safetensors").read_bytes()
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real, left = fine_tuning.Fitting.loss_of, [2]

    def loss_of(self: Any, batch: Any, loaded: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(self, batch, loaded)

    monkeypatch.setattr(fine_tuning.Fitting, "loss_of", loss_of)
    target = planted.folder / "killed"
    for steps in (2, 1):
        left[0] = steps
        with pytest.raises(Killed):
            fit(output=target)
        assert (
            record(target)["state"] == "running"
            and not (target / "model.safetensors").exists()
        )
    monkeypatch.setattr(fine_tuning.Fitting, "loss_of", real)
    fit(output=target)
    assert (target / "model.safetensors").read_bytes() == whole
    assert not (target / "checkpoints").exists()


def test_a_training_that_fails_at_once_leaves_nothing(
    planted: Any, fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, batch: Any, loaded: Any) -> Any:
        raise LabelsieveError("no memory")

    monkeypatch.setattr(fine_tuning.Fitting, "loss_of", fail)
    with pytest.raises(LabelsieveError, match="no memory"):
        fit()
    assert not (planted.folder / "classifier").exists()


def test_validation_data_of_ones_own(
    planted: Any, fit: Callable[..., Any], tmp_path: Path, digits: Any, encode: Any
) -> None:
    for k, name in enumerate(planted.run.classes[1:]):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "x.png").write_bytes(encode(digits[0][k]))
    fit(val=tmp_path / "val")
    told = record(planted.folder / "classifier")
    assert told["figures"]["validation"] == {
        "images": 3,
        "source": "given",
        "noun": "image",
    }
    assert told["samples"]["validation"] == 0 and told["samples"]["train"] == 36


def test_data_that_moved(planted: Any, fit: Callable[..., Any]) -> None:
    moved = planted.data.rename(planted.data.with_name("elsewhere"))
    with pytest.raises(LabelsieveError, match="does not exist"):
        fit()
    fit(data=moved)
    next(moved.glob("zero/*.png")).unlink()
    with pytest.raises(
        RunError, match=r"1 of the 48 images that .* are gone or have changed"
    ):
        fit(data=moved, output=planted.folder / "other")


def test_a_run_that_is_none_or_not_finished(
    planted: Any, fit: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        train(tmp_path)
    run_folder(planted.folder).note({"state": "running"})
    with pytest.raises(RunError, match="is not finished"):
        fit()


def test_public_names() -> None:
    assert labelsieve.train is train and len(labelsieve.__all__) <= 16
    assert all(getattr(labelsieve, name) is not None for name in labelsieve.__all__)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_in_the_run_folder_leads_no_classifier_elsewhere(
    planted: Any, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    (planted.folder / "classifier").symlink_to(target)
    with pytest.raises(RunError, match="classifier' is a link"):
        train(planted.folder)
    assert not any(target.iterdir())
