from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.features.probe import split
from labelsieve.methods import robust_prompt
from labelsieve.training.loop import epoch_order


def test_only_the_context_is_learned_and_by_gradient_descent(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=6, noise=60.0).with_scale(
        3.0
    )  # at 50 the loss is flat wherever the model is sure
    settings = robust_prompt.Settings(
        optimizer="sgd",
        lr=0.05,
        momentum=0.0,
        weight_decay=0.0,
        epochs=2,
        batch_size=24,
        q=0.6,
    )
    words = planted.encoder.image_tower.words.clone()
    rows = np.arange(24)
    text = robust_prompt.learn(planted.task, planted.images.labels, rows, settings, "t")
    assert torch.equal(planted.encoder.image_tower.words, words)
    features = torch.from_numpy(np.array(planted.task.image_features()))
    labels = torch.from_numpy(planted.images.labels)
    context = words[[0, 0, 0, 0]].clone()  # "a photo of a"
    own = torch.stack(
        [words[planted.encoder.words[name]] for name in planted.images.classes]
    )
    for epoch in range(2):
        context.requires_grad_()
        features_of = torch.nn.functional.normalize(context.sum(0) + own, dim=1)
        order = torch.from_numpy(epoch_order(24, 0, epoch))
        p = (
            (3 * features[order] @ features_of.T)
            .softmax(1)
            .gather(1, labels[order][:, None])[:, 0]
        )
        ((1 - p**0.6) / 0.6).mean().backward()
        rate = 0.05 * 0.5 * (1 + np.cos(np.pi * epoch / 2))
        context = (context - rate * context.grad).detach()
    wanted = torch.nn.functional.normalize(context.sum(0) + own, dim=1).numpy()
    start = torch.nn.functional.normalize(4 * words[0] + own, dim=1).numpy()
    assert np.allclose(text, wanted, atol=1e-5)
    assert np.abs(start - wanted).max() > 1e-4


def test_without_training_it_is_zero_shot(plant: Callable[..., Any]) -> None:
    planted = plant(each=6, noise=60.0)
    assert np.allclose(
        planted.detect(robust_prompt, epochs=0).columns["score"],
        planted.task.zero_shot().probs()[np.arange(24), planted.images.labels],
        atol=1e-3,
    )


def test_a_picture_is_judged_by_a_prompt_that_has_not_seen_it(
    plant: Callable[..., Any], monkeypatch: Any
) -> None:
    planted = plant(each=10)
    seen: list[np.ndarray] = []
    learn = robust_prompt.learn

    def watched(task: Any, labels: Any, rows: np.ndarray, *rest: Any) -> np.ndarray:
        seen.append(rows)
        return learn(task, labels, rows, *rest) + len(
            seen
        )  # marks which prompt has judged

    monkeypatch.setattr(robust_prompt, "learn", watched)
    logits = robust_prompt._logits(planted.task, robust_prompt.Settings(epochs=0))
    features = np.asarray(planted.task.image_features())
    text = learn(
        planted.task,
        planted.images.labels,
        np.arange(40),
        robust_prompt.Settings(epochs=0),
        "x",
    )
    shift = (logits - 50 * features @ text.T) / (50 * features.sum(1, keepdims=True))
    number = np.round(shift.mean(1)).astype(int) - 1
    assert len(seen) == 3 and np.array_equal(number, split(planted.images.labels, 3, 0))
    assert all(i not in set(seen[number[i]]) for i in range(40))


def test_unsupervised_does_not_look_at_the_labels(
    plant: Callable[..., Any], tmp_path: Path
) -> None:
    planted = plant(each=8, noise=60.0).with_scale(3.0)
    settings = {"shots": 4, "epochs": 2, "lr": 0.05}
    blind, seeing = (
        robust_prompt._logits(
            planted.task, robust_prompt.Settings(labels=kind, **settings)
        )
        for kind in ("model", "given")
    )
    planted.images.labels[:] = planted.images.labels[::-1].copy()
    anew = planted.elsewhere(
        tmp_path / "anew"
    )  # the first one's checkpoints lie elsewhere
    again, other = (
        robust_prompt._logits(
            anew.task, robust_prompt.Settings(labels=kind, **settings)
        )
        for kind in ("model", "given")
    )
    assert np.array_equal(again, blind)
    assert np.abs(other - seeing).max() > 0.01


@pytest.mark.parametrize("shots", [1, 3, 100])
def test_a_few_of_each_class_are_drawn_at_random(shots: int) -> None:
    labels = np.random.default_rng(0).integers(0, 4, 60)
    rows = robust_prompt.few_of_each(labels, shots, 0)
    assert np.array_equal(
        np.bincount(labels[rows]), np.minimum(np.bincount(labels), shots)
    )
    assert len(set(rows)) == len(rows)
    assert shots == 100 or not np.array_equal(
        rows, robust_prompt.few_of_each(labels, shots, 1)
    )
