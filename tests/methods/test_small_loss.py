from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.augment import views
from labelsieve.features.task import Task
from labelsieve.methods import small_loss
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.training.loop import epoch_order


def test_the_share_that_is_left_out_grows_over_the_warm_up() -> None:
    assert [small_loss.forget_rate(e, 0.4, 5) for e in range(7)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4]
    )
    assert (
        small_loss.forget_rate(0, 0.4, 0) == 0.4
        and small_loss.forget_rate(0, 0.4, 1) == 0
    )


def test_the_smallest_losses_are_kept() -> None:
    losses = torch.tensor([3.0, 1.0, 2.0, 1.0, 5.0])
    assert small_loss.smallest(losses, 0.6).tolist() == [False, True, True, True, False]
    assert small_loss.smallest(losses, 0.59).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert small_loss.smallest(losses, 0.0).tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert (
        small_loss.smallest(torch.zeros(100), 0.29).sum() == 29
    )  # 0.29 * 100 is below 29 in floating point


def test_training_is_gradient_descent_on_the_batchs_small_losses(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=8)
    settings = Training(
        tuning="features",
        epochs=2,
        optimizer="sgd",
        head_lr=0.01,
        image_lr=0.01,
        momentum=0.0,
        weight_decay=0.0,
        schedule="smooth",
        batch_size=32,
    )
    classifier = Classifier(planted.task, settings)
    classifier.train("test", lambda batch, losses: small_loss.smallest(losses, 0.5))
    features, labels = (
        np.array(classifier.frozen, dtype=np.float64),
        planted.images.labels,
    )
    weight, bias = np.zeros((4, features.shape[1])), np.zeros(4)
    for epoch in range(2):
        rows = epoch_order(32, 0, epoch)
        logits = 50 * (features[rows] @ weight.T + bias)
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        kept = np.argsort(-np.log(p[np.arange(32), labels[rows]]), kind="stable")[:16]
        error = 50 * (p - np.eye(4)[labels[rows]])[kept] / 16
        rate = 0.01 * 0.5 * (1 + np.cos(np.pi * epoch / 2))
        weight, bias = (
            weight - rate * error.T @ features[rows[kept]],
            bias - rate * error.sum(0),
        )
    assert np.allclose(classifier.weight.detach().numpy(), weight, atol=1e-4)
    losses, probs = classifier.judge()
    assert np.allclose(losses, -np.log(probs[np.arange(32), labels]), atol=1e-4)


def test_the_tower_is_tuned_and_its_weights_stay(
    tiny: Any, labelled: Callable[..., Any], digits: Any, tmp_path: Any
) -> None:
    images, truth = digits
    rows = np.flatnonzero(truth < 2)[:16]
    data = labelled(tiny.preprocess, images[rows], truth[rows])
    before = {n: p.clone() for n, p in tiny.image_tower.state_dict().items()}
    settings = small_loss.Settings(epochs=1, batch_size=8, tuning_size=1)
    found = small_loss.detect(Task(data, tiny, 0, tmp_path, "f"), settings)
    assert all(
        torch.equal(before[n], p) for n, p in tiny.image_tower.state_dict().items()
    )
    classifier = Classifier(Task(data, tiny, 0, tmp_path / "other", "g"), settings)
    start = classifier.tuned.parameters["visual_prompts"].detach().clone()
    classifier.train(
        "t",
        lambda batch, losses: torch.ones(len(losses), dtype=torch.bool),
    )
    assert not torch.equal(classifier.tuned.parameters["visual_prompts"], start)
    assert (
        np.isfinite(found.columns["loss"]).all() and np.ptp(found.columns["loss"]) > 0
    )


def test_four_views_are_one_mean_answer(plant: Callable[..., Any]) -> None:
    planted = plant(each=3)
    classifier = Classifier(planted.task, Training(tuning="none", views=4))
    torch.nn.init.normal_(classifier.weight, generator=torch.Generator().manual_seed(0))
    pictures = planted.encoder.normalise(planted.images.inputs(np.arange(12)))
    with torch.no_grad():
        each = [
            planted.encoder.image_features(v) @ classifier.weight.T
            for v in views(pictures, 4)
        ]
    expected = (planted.encoder.logit_scale * torch.stack(each).mean(0)).softmax(1)
    np.testing.assert_allclose(
        classifier.judge()[1], expected.numpy(), rtol=1e-3, atol=1e-6
    )
    once = Classifier(planted.task, Training(tuning="none"))
    once.weight = classifier.weight
    assert np.abs(once.judge()[1] - expected.numpy()).max() > 0.01
