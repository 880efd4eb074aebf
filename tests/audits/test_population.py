from __future__ import annotations

import numpy as np
import pytest
from fixtures.audited import Audited
from scipy import stats

from labelsieve.audits.population import Population
from labelsieve.estimation.audits.stop_rule import gain


def test_a_population_leaves_out_what_was_decided(audited: Audited) -> None:
    some = list(audited.truth)[:7]
    population = Population.of(audited.run, some)
    ids = population.ids.take(population.rows(0)).to_pylist()
    assert len(ids) == 1993 and not set(some).intersection(ids)
    assert population.at.rows([*some, "no"])[-1] == -1


def test_a_slice_holds_the_most_suspicious(audited: Audited) -> None:
    population = Population.of(audited.run, ())
    p = population.p_wrong
    first = population.slice_for(50)
    assert 1.9 * p.sum() < first < 2.1 * p.sum()
    rows = population.rows(first)
    outside = np.setdiff1d(np.arange(len(p)), rows)
    assert p[rows].min() >= p[outside].max()
    assert population.slice_for(400) == 1600  # room for the answers
    assert population.slice_for(5000) == 2000


def test_every_label_is_drawn_with_the_same_chance(audited: Audited) -> None:
    population = Population.of(audited.run, ())
    counts = np.zeros(2000)
    for seed in range(60):
        drawn = population.draw(500, 100, str(seed))
        assert len(set(drawn.tolist())) == 100
        counts[drawn] += 1
    inside = counts[population.rows(500)]
    assert counts.sum() == inside.sum() == 6000
    # 12 expected draws of each: the spread is that of chance
    assert 0.001 < stats.chi2.cdf(((inside - 12) ** 2).sum() / (12 * 0.8), 499) < 0.999


def test_strata_keep_the_chance_of_every_label(audited: Audited) -> None:
    population = Population.of(audited.run, ())
    rows, chances = population.draw_strata(200, "s")
    assert len(rows) == 200 and len(set(rows.tolist())) == 200
    # Horvitz and Thompson: the drawn stand for all
    assert (1 / chances).sum() == pytest.approx(2000)
    doubtful = population.p_wrong[rows] > 0.3
    assert chances[doubtful].mean() > 1.5 * chances[~doubtful].mean()


def test_the_queue_goes_by_gain(audited: Audited) -> None:
    population = Population.of(audited.run, ())
    at = {row["sample_id"]: row["probs"] for row in audited.run.probs().to_pylist()}
    ids = population.ids.to_pylist()
    probs = np.array([at[i] for i in ids])
    phi = gain(probs, population.given)[population.queue]
    contradicted = int((phi > 1e-6).sum())
    assert (np.diff(phi[:contradicted]) <= 1e-5).all()
    assert (phi[contradicted:] <= 1e-5).all()
    p = population.p_wrong[population.queue[contradicted:]]
    assert (np.diff(p) <= 1e-5).all()
