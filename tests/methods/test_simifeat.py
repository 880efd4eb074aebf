from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.errors import DataError
from labelsieve.features.task import Task
from labelsieve.methods import simifeat


def test_similarity_counts_the_picture_itself_at_twice_the_first_less_the_second_distance() -> (
    None
):
    rng = np.random.default_rng(0)
    n, k, m = 12, 3, 4
    cosines = np.sort(rng.uniform(0.2, 0.95, (n, m)), axis=1)[:, ::-1].astype(
        np.float32
    )
    rows, labels = (
        np.stack(
            [rng.permutation([j for j in range(n) if j != i])[:m] for i in range(n)]
        ),
        rng.integers(0, k, n),
    )
    found = simifeat.similarity(rows, cosines, labels, k)
    for i in range(n):
        counts = np.zeros(k)
        distance = 1 - cosines[i]
        counts[labels[i]] += 1 - (2 * distance[0] - distance[1])
        for j, d in zip(rows[i], distance, strict=True):
            counts[labels[j]] += 1 - d
        assert np.allclose(found[i], counts / np.linalg.norm(counts), atol=1e-5)


def test_expected_triples_are_the_sums_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    T, p = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3))
    found = simifeat.expected_triples(torch.tensor(T), torch.tensor(p))
    for a in range(3):
        assert found.one[a] == pytest.approx(sum(p[i] * T[i, a] for i in range(3)))
        for b in range(3):
            assert found.two[a, b] == pytest.approx(
                sum(p[i] * T[i, a] * T[i, b] for i in range(3))
            )
            for c in range(3):
                assert found.three[a, b, c] == pytest.approx(
                    sum(p[i] * T[i, a] * T[i, b] * T[i, c] for i in range(3))
                )


def test_hoc_finds_the_transition_that_made_the_triples() -> None:
    T = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.25, 0.05, 0.7]])
    p = torch.tensor([0.5, 0.3, 0.2])
    transition, prior = simifeat.Hoc(3).fit(simifeat.expected_triples(T, p))
    assert np.abs(transition - T.numpy()).max() < 0.03
    assert np.abs(prior - p.numpy()).max() < 0.03


def test_triples_are_counted_over_neighbours() -> None:
    labels = np.array([0, 1, 1, 0])
    rows = np.array([[1, 2, 3], [2, 0, 3], [1, 0, 3], [0, 1, 2]])
    found = simifeat.count_triples(labels, rows, 2, np.random.default_rng(0))
    wanted = np.zeros((2, 2, 2))
    for i in range(4):
        wanted[labels[i], labels[rows[i, 0]], labels[rows[i, 1]]] += 0.25
    assert np.allclose(found.three.numpy(), wanted)
    assert np.allclose(found.two.numpy(), wanted.sum(2)) and np.allclose(
        found.one.numpy(), [0.5, 0.5]
    )


def test_ranking_flags_each_classs_own_share() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    given = np.tile(np.linspace(0.05, 0.95, 10), 2)
    T, p = np.array([[0.8, 0.2], [0.0, 1.0]]), np.array([0.5, 0.5])
    flagged = simifeat.rank_flags(given, labels, T, p)
    assert flagged[:10].tolist() == [True] * 2 + [False] * 8  # right: .8 * .5 / .5
    assert (
        flagged[10:].sum() == 0
    )  # 1 * .5 / .5; cut to one, none is flagged for form's sake
    assert simifeat.rank_flags(given, labels, T, np.array([0.25, 0.75]))[:10].sum() == 6


@pytest.mark.parametrize("rule", ["vote", "both"])
def test_other_rules(rule: str, plant: Callable[..., Any]) -> None:
    planted = plant(each=20)
    found = planted.detect(simifeat, views=1, rule=rule, flags="own")
    assert (found.flagged == planted.wrong).mean() > 0.9


def test_too_many_classes_are_refused_before_any_work(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=3)
    coding = replace(planted.images.coding, classes=tuple(map(str, range(201))))
    images = replace(planted.images, coding=coding)
    with pytest.raises(DataError, match=r"201³ .* the limit is 200 classes"):
        simifeat.detect(Task(images, planted.encoder), simifeat.Settings())
