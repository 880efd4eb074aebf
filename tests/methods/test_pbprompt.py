from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from labelsieve.features.probe import split
from labelsieve.methods import _bayesian_prompts as prompts
from labelsieve.methods import pbprompt
from tests.methods.conftest import Planted


@pytest.fixture
def local(plant: Callable[..., Any], monkeypatch: Any) -> Planted:
    """Planted errors, and patches: quarters of the picture, the rest of it empty."""
    planted: Planted = plant(each=20, noise=40.0)

    def image_patches(pixels: Tensor) -> Tensor:
        whole = torch.zeros(len(pixels), 2, 2, *pixels.shape[1:])
        for row in range(2):
            for column in range(2):
                part = (
                    ...,
                    slice(2 * row, 2 * row + 2),
                    slice(2 * column, 2 * column + 2),
                )
                whole[:, row, column][part] = pixels[part]
        return torch.nn.functional.normalize(whole.flatten(3), dim=-1)

    monkeypatch.setattr(planted.encoder, "image_patches", image_patches, raising=False)
    return planted


SMALL: dict[str, Any] = {"cells": 2, "epochs": 3, "samples": 2, "draws": 4}


def test_wrong_labels_come_first_and_the_sure_ones_are_wrong(local: Planted) -> None:
    found = local.detect(pbprompt, **SMALL)
    assert local.auroc(found.p_clean) > 0.97
    assert local.auroc(-found.columns["transport"]) > 0.9
    sure = found.columns["surely_wrong"] == 1
    assert sure.any() and local.wrong[sure].mean() > 0.9
    assert found.flagged[sure].all()


def test_maps_are_of_flagged_pictures(local: Planted) -> None:
    found = local.detect(pbprompt, **SMALL)
    assert found.heat is not None
    assert np.array_equal(found.heat.rows, np.flatnonzero(found.flagged))
    assert found.heat.maps.shape == (found.flagged.sum(), 2, 2)
    wrong = local.wrong[found.heat.rows]
    assert found.heat.maps[wrong].mean() > 0.7
    half = local.detect(pbprompt, maps=0.5, **SMALL).heat
    assert half is not None and len(half.rows) == round(len(found.heat.rows) / 2)
    assert local.detect(pbprompt, maps=0.0, **SMALL).heat is None


def test_without_training_it_is_zero_shot_without_doubt(local: Planted) -> None:
    found = local.detect(pbprompt, **{**SMALL, "epochs": 0})
    rows = np.arange(len(local.truth))
    wanted = local.task.zero_shot().probs()[rows, local.images.labels]
    assert np.allclose(found.columns["score"], wanted, atol=1e-3)
    assert found.columns["p_spread"].max() < 1e-5


def test_a_picture_is_judged_by_prompts_that_have_not_seen_it(
    local: Planted, monkeypatch: Any
) -> None:
    seen: list[np.ndarray] = []
    learn = pbprompt.learn

    def watched(task: Any, rows: np.ndarray, *rest: Any) -> Tensor:
        seen.append(rows)
        return learn(task, rows, *rest)

    monkeypatch.setattr(pbprompt, "learn", watched)
    settings = pbprompt.Settings(**{**SMALL, "epochs": 0})
    judged = pbprompt._judged(local.task, settings)
    fold = split(local.images.labels, 3, 0)
    assert len(seen) == 3 and np.array_equal(judged.fold, fold)
    for number, rows in enumerate(seen):
        assert np.array_equal(rows, np.flatnonzero(fold != number))


def model_of(local: Planted, spread: float = 0.3) -> tuple[Any, Any]:
    settings = pbprompt.Settings(spread=spread)
    model, tokens = pbprompt.opening(local.task, settings)
    with torch.no_grad():
        model.write.weight.normal_(0, 0.5)
        model.outer.weight.normal_(0, 0.1)
    return model, tokens


def test_without_spread_all_samples_are_one_and_with_it_they_differ(
    local: Planted,
) -> None:
    for spread, same in ((1e-8, True), (0.5, False)):
        model, tokens = model_of(local, spread)
        noise = torch.randn(3, *model.names.shape)
        with torch.no_grad():
            text = prompts.features(local.encoder, tokens, model.contexts(noise))
        assert text.shape == (3, 4, 48)
        assert torch.allclose(text[0], text[1], atol=1e-6) == same


def test_each_class_has_its_own_context_before_its_own_name(local: Planted) -> None:
    model, tokens = model_of(local)
    contexts = model.contexts(torch.randn(2, *model.names.shape)).detach()
    found = prompts.features(local.encoder, tokens, contexts)
    for row in range(4):
        one = tokens.take(torch.tensor([row]))
        wanted = local.encoder.prompt_features(contexts[:, row], one, plain=True)
        assert torch.allclose(found[:, row], wanted[:, 0], atol=1e-6)


def test_the_divergence_is_that_of_torch(local: Planted) -> None:
    mean, log_spread, names = torch.randn(3, 4, 8)
    wanted = kl_divergence(Normal(mean, log_spread.exp()), Normal(names, 1.0))
    found = prompts.kl_to_names(mean, log_spread, names)
    assert torch.allclose(found, wanted, atol=1e-5)
    none = prompts.kl_to_names(names, torch.zeros_like(names), names)
    assert none.abs().max() == 0


def test_the_log_of_the_mean_is_between_mean_and_largest_log() -> None:
    logits = 5 * torch.randn(6, 10, 4)
    each = logits.log_softmax(-1)
    found = pbprompt.log_mean(logits)
    assert torch.allclose(found.exp(), each.exp().mean(0), atol=1e-6)
    assert (found <= each.amax(0) + 1e-6).all() and (found >= each.mean(0)).all()


def test_a_sample_has_the_p_clean_of_labels_with_its_score() -> None:
    scores = np.array([0.1, 0.9, 0.5])
    p_clean = np.array([0.0, 1.0, 0.8])
    each = np.array([[0.1, 0.9, 0.5], [0.3, 0.95, 0.7]])
    found = pbprompt.through_curve(each, scores, p_clean)
    assert np.allclose(found, [[0.0, 1.0, 0.8], [0.4, 1.0, 0.9]])


def test_seed_and_data_decide_everything(local: Planted, tmp_path: Any) -> None:
    first = local.detect(pbprompt, **SMALL)
    again = local.elsewhere(tmp_path / "anew").detect(pbprompt, **SMALL)
    assert np.array_equal(first.p_clean, again.p_clean)
    other = replace(local, task=replace(local.task, seed=1, folder=tmp_path / "b"))
    drawn = other.detect(pbprompt, **SMALL).columns["transport"]
    assert not np.array_equal(first.columns["transport"], drawn)
