"""How many labels are missing and extra: near the truth, and intervals that hold it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from labelsieve.estimation.calibration import sigmoid
from labelsieve.estimation.sets import channel, shares

CLASSES = ("a", "b", "c", "d")


def estimated(dropped: float, added: float, seed: int) -> tuple[shares.SetNoise, dict]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(3_000, 4)) * 4
    true = rng.random((3_000, 4)) < sigmoid(scores - 2)
    given = true & (rng.random((3_000, 4)) >= dropped)
    given |= ~true & (rng.random((3_000, 4)) < added)
    counts = channel.count(scores, given)
    fitted = channel.fit(counts)
    posterior = fitted.posterior(scores, given)
    noise = shares.summarise(posterior, given, CLASSES, counts, fitted)
    wrong = given != true
    truth = {
        "extra": (wrong & given).sum() / given.sum(),
        "missing": (wrong & ~given).sum() / true.sum(),
        "sets": wrong.any(1).mean(),
    }
    return noise, truth


@pytest.mark.parametrize(("dropped", "added"), [(0.1, 0.03), (0.3, 0.01), (0.02, 0.1)])
def test_intervals_hold_the_truth(dropped: float, added: float) -> None:
    held = 0
    for seed in range(5):
        noise, truth = estimated(dropped, added, seed)
        for name, share in truth.items():
            found = getattr(noise, name)
            assert found.low <= found.rate <= found.high
            assert abs(found.rate - share) < 0.06
            held += found.low <= share <= found.high
    assert held >= 14  # of 15


def test_clean_sets_have_next_to_no_errors() -> None:
    noise, _ = estimated(0.0, 0.0, 0)
    assert noise.extra.rate < 0.02 and noise.missing.rate < 0.02
    assert noise.sets.low < 0.05


def test_json_says_what_a_run_needs() -> None:
    noise, _ = estimated(0.1, 0.03, 0)
    words = json.loads(json.dumps(noise.as_dict()))
    assert list(words["per_class"]) == list(CLASSES)
    assert words["per_class"]["a"] == words["extra_of"]["a"]["rate"]
    assert words["rate"] == noise.sets.rate
    total = sum(one["count"] for one in words["missing_of"].values())
    assert np.isclose(total, words["missing"]["count"])


def test_pairs_are_extra_beside_missing() -> None:
    posterior = np.full((40, 3), 0.01)
    given = np.zeros((40, 3), dtype=bool)
    given[:, 0] = True
    posterior[:30, 0], posterior[30:, 0] = 0.05, 0.95
    posterior[:30, 2] = 0.9
    counts = channel.count(posterior, given)
    noise = shares.summarise(
        posterior, given, ("x", "y", "z"), counts, channel.fit(counts)
    )
    (pair,) = noise.pairs
    assert (pair["given"], pair["suggested"]) == ("x", "z")
    assert np.isclose(pair["images"], 30 * 0.95 * 0.9)
