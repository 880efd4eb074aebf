from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.data.labels import NONE
from labelsieve.errors import OptionError
from labelsieve.methods import capro


def test_wrong_labels_come_first_and_their_classes_are_named(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=40, noise=40.0)
    found = planted.detect(capro)
    assert planted.auroc(found.p_clean) > 0.98
    named = found.flagged & (found.suggested != NONE)
    assert (found.suggested[named] == planted.truth[named]).mean() > 0.95
    # all are of the four classes
    assert (found.suggested == NONE).mean() < 0.02


def test_pictures_of_no_class_stand_out(plant: Callable[..., Any]) -> None:
    """One of four classes loses its name: its pictures are labelled as one of the others."""
    planted = plant(each=40, noise=40.0, rate=0.1)
    rng = np.random.default_rng(0)
    outside = planted.truth == 3
    planted.images.labels[:] = np.where(
        outside, rng.integers(0, 3, len(outside)), planted.images.labels
    )
    # a class that nobody carries is none that a prototype could stand for
    stay = planted.images.labels < 3
    found = planted.detect(capro, flags="own")
    score = found.columns["outsider_score"]
    inside = stay & ~outside
    above = score[outside][:, None] > score[inside][None]
    assert above.mean() > 0.9
    dropped = found.suggested == NONE
    assert dropped[outside].mean() > 0.3 > 0.1 > dropped[inside].mean()
    assert found.flagged[dropped].all()


def test_the_score_is_what_probe_and_prototypes_say_of_the_label(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=12, noise=40.0)
    found = planted.detect(capro, passes=0, probe_share=1.0)
    probe = planted.task.out_of_fold()
    given = probe[np.arange(len(probe)), planted.images.labels]
    assert np.allclose(found.columns["score"], given, atol=1e-6)


def test_names_that_say_nothing_choose_no_anchors(plant: Callable[..., Any]) -> None:
    planted = plant(each=40, noise=40.0).with_names_that_say_nothing()
    found = planted.detect(capro)
    assert planted.auroc(found.p_clean) > 0.95


def test_a_momentum_of_one_would_never_move() -> None:
    with pytest.raises(OptionError, match="momentum cannot be 1"):
        capro.Settings(momentum=1.0)
