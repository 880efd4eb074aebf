from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.methods import clip_cleaner

RULES = ("words_loss", "words_consistency", "probe_loss", "probe_consistency")


def test_clean_is_what_passes_all_four_rules(plant: Callable[..., Any]) -> None:
    planted = plant(noise=70.0)
    found = planted.detect(clip_cleaner, flags="own")
    passes = np.all([found.columns[r] >= 0.5 for r in RULES], axis=0)
    kept_back = (
        ~passes & ~found.flagged
    )  # the cleanest of a class that had nothing left
    assert (passes & found.flagged).sum() == 0 and kept_back.sum() <= 4
    assert np.allclose(
        found.columns["score"][~kept_back],
        np.min([found.columns[r] for r in RULES], axis=0)[~kept_back],
    )
    words, probe = (
        planted.task.zero_shot().probs(),
        planted.task.out_of_fold(balanced=True),
    )
    for name, probs in (("words", words), ("probe", probe)):
        ratio = probs[np.arange(120), planted.images.labels] / probs.max(1)
        assert np.array_equal(found.columns[f"{name}_consistency"] >= 0.5, ratio >= 0.8)


def test_consistency_one_keeps_only_best_answers(plant: Callable[..., Any]) -> None:
    planted = plant(each=12, noise=70.0)
    found = planted.detect(clip_cleaner, consistency=1.0, posterior=0.0, flags="own")
    words, probe = (
        planted.task.zero_shot().probs(),
        planted.task.out_of_fold(balanced=True),
    )
    best = (words.argmax(1) == planted.images.labels) & (
        probe.argmax(1) == planted.images.labels
    )
    assert np.array_equal(found.flagged, ~best)


def test_a_class_with_nothing_left_gets_its_cleanest_back() -> None:
    p_clean, labels = np.array([0.9, 0.1, 0.2, 0.4, 0.3]), np.array([0, 0, 1, 1, 1])
    assert clip_cleaner.rescue(p_clean, labels).tolist() == [0.9, 0.1, 0.2, 0.5, 0.3]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8, 1.0])
def test_centring_keeps_order_and_puts_the_threshold_at_one_half(
    threshold: float,
) -> None:
    values = np.linspace(0, 1, 101)
    found = clip_cleaner.centred(values, threshold)
    assert (np.diff(found) >= 0).all() and found.min() >= 0 and found.max() <= 1
    assert np.array_equal(found >= 0.5, values >= threshold)


def test_rule_one_looks_within_each_class() -> None:
    """A class of low probabilities throughout has its clean half, too."""
    given = np.array([0.9, 0.88, 0.2, 0.22, 0.09, 0.088, 0.02, 0.022])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    probs = np.stack(
        [
            np.where(labels == 0, given, 1 - given),
            np.where(labels == 1, given, 1 - given),
        ],
        axis=1,
    )
    posterior, ratio = clip_cleaner.rule_values(probs, labels, 0)
    assert (posterior > 0.5).tolist() == [True, True, False, False] * 2
    assert np.allclose(ratio, given / np.maximum(given, 1 - given))
    assert clip_cleaner.rule_values(probs[:1], labels[:1], 0)[0].tolist() == [
        1.0
    ]  # one picture passes


def test_several_prompts_are_summed(plant: Callable[..., Any]) -> None:
    planted = plant(each=4, noise=60.0)
    templates = "{}|a photo of a {}."
    wanted = sum(
        np.exp(planted.task.zero_shot(template=t).cosines * 50.0)
        for t in templates.split("|")
    )
    found = clip_cleaner.in_words(
        planted.task, clip_cleaner.Settings(templates=templates)
    )
    assert np.allclose(found, wanted / wanted.sum(1, keepdims=True), atol=1e-4)
    with pytest.raises(OptionError, match=r"without \{\}"):
        planted.detect(clip_cleaner, templates="a photo")
