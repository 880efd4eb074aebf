from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_self_confidence_for_each_label

from labelsieve.methods import confident_learning


@pytest.mark.parametrize("rule", ["prune_by_noise_rate", "predicted_neq_given"])
def test_flags_and_scores_are_cleanlabs_on_out_of_fold_answers(
    rule: str, plant: Callable[..., Any]
) -> None:
    planted = plant(noise=90.0)
    found = planted.detect(confident_learning, filter_by=rule, flags="own")
    probs, labels = (
        planted.task.out_of_fold(),
        planted.images.labels,
    )
    assert np.array_equal(
        found.flagged, find_label_issues(labels, probs, filter_by=rule)
    )
    assert np.allclose(
        found.columns["score"],
        get_self_confidence_for_each_label(labels, probs),
        atol=1e-6,
    )


def test_the_rules_differ(plant: Callable[..., Any]) -> None:
    planted = plant(each=20, noise=160.0)
    counts = {
        rule: planted.detect(
            confident_learning, filter_by=rule, flags="own"
        ).flagged.sum()
        for rule in ("both", "prune_by_class", "predicted_neq_given")
    }
    assert len(set(counts.values())) > 1
    assert counts["both"] <= counts["prune_by_class"]
