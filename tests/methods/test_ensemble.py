from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.methods import ensemble, knn, zero_shot


def test_ranks_are_averaged_and_equal_ones_share_theirs() -> None:
    found = ensemble.mean_rank(np.array([[0.1, 0.9, 0.5, 0.5], [0.2, 0.8, 0.1, 0.9]]))
    assert np.allclose(
        found * 4, [(4 + 3) / 2, (1 + 2) / 2, (2.5 + 4) / 2, (2.5 + 1) / 2]
    )


def test_members_judge_as_they_would_alone(plant: Callable[..., Any]) -> None:
    planted = plant(noise=60.0)
    found = planted.detect(ensemble, methods="zero-shot, knn", flags="own")
    members = [planted.detect(zero_shot), planted.detect(knn)]
    assert np.array_equal(found.columns["p_zero-shot"], members[0].p_clean)
    assert np.array_equal(found.columns["p_knn"], members[1].p_clean)
    assert np.array_equal(
        found.columns["flagged_by"],
        (members[0].flagged.astype(float) + members[1].flagged) / 2,
    )
    assert np.array_equal(
        found.flagged, members[0].flagged & members[1].flagged
    )  # more than half of two is both
    order = ensemble.mean_rank(np.stack([m.p_clean for m in members]))
    ahead = order[:, None] > order[None]
    assert (found.p_clean[:, None] <= found.p_clean[None])[ahead].all()


@pytest.mark.parametrize("methods", ["", "ensemble,knn", "knn,knn"])
def test_members_must_be_other_methods_each_once(methods: str) -> None:
    with pytest.raises(OptionError, match="Setting methods cannot be"):
        ensemble.Settings(methods=methods)


def test_an_unknown_member_is_named(plant: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match=r"'kn' is unknown.*Did you mean 'knn'"):
        plant(each=3).detect(ensemble, methods="kn")
