"""Every method that judges sets of labels: what it answers, and that it finds planted errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fixtures.sets import WORDS, mosaics_of_digits, seen

from labelsieve import registry
from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import SET
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._sets import regions
from labelsieve.models.load import load_encoder
from labelsieve.settings import resolve

METHODS = [
    name
    for name in registry.names("methods")
    if SET in registry.constants("methods", name, ("JUDGES",))["judges"]
]
QUICK = {"texts": 200, "epochs": 2, "folds": 2}


def detect(name: str, data: Dataset, encoder: Any, **more: Any) -> Evidence:
    method = registry.load("methods", name)
    known = {f.name for f in dataclasses.fields(method.Settings)}
    chosen = {k: v for k, v in QUICK.items() if k in known} | more
    evidence: Evidence = method.detect(
        Task(data, encoder, 0), resolve(method.Settings, chosen)
    )
    return evidence


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder("tiny")


@pytest.mark.parametrize("name", METHODS)
def test_every_label_that_could_be_there_gets_a_probability(
    name: str, digits: Any, encoder: Any
) -> None:
    images, _, given = mosaics_of_digits(digits)
    given[3] = set()
    data = seen(images, given)
    found = detect(name, data, encoder)
    shape = (len(images), len(WORDS))
    for values in (found.p_clean, found.flagged, found.suggested, found.probs):
        assert values.shape == shape
    assert ((found.p_clean >= 0) & (found.p_clean <= 1)).all()
    assert (found.suggested == data.labels ^ found.flagged).all()
    stays = np.where(data.labels, found.probs, 1 - found.probs)
    assert np.allclose(found.p_clean, stays)
    assert found.estimate is not None
    assert set(found.estimate.extra_of) == set(data.classes)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_rows_changes_no_bit(name: str, digits: Any, encoder: Any) -> None:
    images, _, given = mosaics_of_digits(digits, 40)
    order = np.random.default_rng(1).permutation(len(images))
    first, turned = seen(images, given), seen(images[order], [given[i] for i in order])
    answers = []
    for data in (first, turned):
        found = detect(name, data, encoder)
        keys = [i.rpartition("#")[2] for i in data.ids.to_pylist()]
        answers.append(dict(zip(keys, found.probs.tolist(), strict=True)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_known_rate_is_obeyed_and_the_own_rule_taken(
    name: str, digits: Any, encoder: Any
) -> None:
    images, _, given = mosaics_of_digits(digits, 80)
    data = seen(images, given)
    flagged = detect(name, data, encoder, noise_rate=0.25).flagged
    assert flagged.any(1).sum() == 20
    method = registry.load("methods", name)
    if "own" in str(method.Settings.__dataclass_fields__["flags"].type):
        found = detect(name, data, encoder, flags="own")
        assert found.facts["flags_by"] in ("own rule", "largest expected F1")


def test_regions_are_a_grid_and_all_coarser_ones() -> None:
    assert regions(1) == []
    two = regions(2)
    assert len(two) == 4 and len(regions(3)) == 13
    # they tile the picture
    corners = {(r.left, r.top) for r in two}
    assert corners == {(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)}
    assert {r.side for r in two} == {0.5}
