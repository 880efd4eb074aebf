"""A task computes each signal of data and model once, and holds no more than it must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.dataset import Dataset
from labelsieve.features import probe, references
from labelsieve.features import task as module
from labelsieve.features.task import Task


def test_zero_shot_compares_pictures_with_class_names(
    cache: Path, task: Task, direct: np.ndarray, distance: Any
) -> None:
    answer = task.zero_shot()
    scale = task.encoder.logit_scale
    texts = [f"a photo of a {name}." for name in task.data.names]
    text = task.encoder.text_features(texts).numpy()
    assert distance(answer.cosines, direct @ text.T) < 1e-5
    scaled = torch.from_numpy(scale * direct @ text.T)
    assert distance(answer.probs(), scaled.softmax(1)) < 1e-5
    assert answer.facts() == {
        "temperature": pytest.approx(1 / scale),
        "temperature_from": "model",
    }


def test_a_temperature_and_a_template_of_one_s_own(
    cache: Path, task: Task, direct: np.ndarray, distance: Any
) -> None:
    answer = task.zero_shot(temperature=0.5, template="{}")
    text = task.encoder.text_features(list(task.data.names)).numpy()
    wanted = torch.from_numpy(direct @ text.T / 0.5).softmax(1)
    assert distance(answer.probs(), wanted) < 1e-5
    assert answer.facts() == {"temperature": 0.5, "temperature_from": "setting"}


def test_cosines_are_multiplied_once_per_template(
    cache: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = task.zero_shot().cosines
    assert task.zero_shot(temperature=0.3).cosines is first
    other = task.zero_shot(template="{}").cosines
    assert other is not first and task.zero_shot(template="{}").cosines is other
    with pytest.raises(ValueError, match="read-only"):
        first[:] = 0


def test_large_cosines_are_not_held(
    cache: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT", 100)
    first = task.zero_shot().cosines
    again = task.zero_shot().cosines
    assert again is not first and np.array_equal(again, first)


def test_agreement_is_measured_once(
    cache: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    measure = references.measure

    def counted(*args: Any) -> Any:
        calls.append(1)
        return measure(*args)

    monkeypatch.setattr(references, "measure", counted)
    task.reference_votes()
    assert task.agreement is task.agreement and len(calls) == 1


def test_out_of_fold_answers_are_kept_for_the_same_labels_only(
    tiny: Any,
    labelled: Callable[..., Dataset],
    digits: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, truth = digits
    rows = np.flatnonzero(truth < 2)[:12]
    calls: list[int] = []
    real = probe.cross_validated

    def counted(*args: Any, **kwargs: Any) -> np.ndarray:
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(probe, "cross_validated", counted)
    data = labelled(tiny.preprocess, images[rows], truth[rows])
    first = Task(data, tiny, 3).out_of_fold()
    assert np.array_equal(first, Task(data, tiny, 3).out_of_fold()) and len(calls) == 1
    Task(
        labelled(tiny.preprocess, images[rows], 1 - truth[rows]), tiny, 3
    ).out_of_fold()
    Task(data, tiny, 4).out_of_fold()
    Task(data, tiny, 3).out_of_fold(balanced=True)
    assert len(calls) == 4


def test_a_task_without_a_folder_keeps_no_checkpoints(
    images: Dataset, encoder: Any, tmp_path: Path
) -> None:
    assert Task(images, encoder).checkpoint("deft") is None
    kept = Task(images, encoder, 0, tmp_path, "print").checkpoint("deft")
    assert kept is not None and kept.fingerprint == "print"
    assert kept.path == tmp_path / "checkpoints" / "deft.safetensors"
