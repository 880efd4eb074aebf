"""The queue of doubtful pictures: who is in it, why, and that labels decide nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.features import doubtful
from labelsieve.runs.reasons import neighbours
from labelsieve.runs.run import Run


@pytest.fixture
def known(planted: Any) -> Any:
    found = neighbours(planted.run)
    assert found is not None
    return found


def test_the_queue_holds_what_is_level_with_an_opinion_on_each(
    planted: Any, known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planted.run
    # the oracle's scores are sure of every label
    assert doubtful.queues(run) == []
    drawn = np.random.default_rng(0).permutation(len(run.judged)) / 40 - 0.6
    where = run.judged.column_names.index("margin")
    doubted = run.judged.set_column(where, "margin", pa.array(drawn))
    monkeypatch.setitem(run.__dict__, "judged", doubted)
    judged = doubted.to_pylist()
    level = [r for r in judged if abs(r["margin"]) <= doubtful.LEVEL]
    (queue,) = doubtful.queues(run)
    assert len(queue.why) == len(level)
    assert queue.why._said == [], "formed when the first is read"
    wanted = sorted(level, key=lambda r: abs(r["margin"]))
    assert 0 < len(level) < len(judged)
    assert queue.ids == [r["sample_id"] for r in wanted]
    rows = doubtful.doubtful(run, known.position)
    probs = doubtful.opinions(known, list(run.classes), rows)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    for p, why in zip(probs, queue.why, strict=True):
        assert f"'{run.classes[int(p.argmax())]}' ({100 * p.max():.0f} %)" in why
    monkeypatch.setattr(doubtful, "MOST", 3)
    assert doubtful.queues(run)[0].ids == queue.ids[:3]


def test_opinions_depend_on_neither_order_nor_other_pictures(
    planted: Any, known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubtful, "LEVEL", 2.0)
    rows = doubtful.doubtful(planted.run, known.position)
    classes = list(planted.run.classes)
    together = doubtful.opinions(known, classes, rows)
    back = doubtful.opinions(known, classes, rows[::-1])
    np.testing.assert_allclose(back[::-1], together, rtol=1e-4, atol=1e-6)
    alone = doubtful.opinions(known, classes, rows[3:4])
    np.testing.assert_allclose(alone[0], together[3], rtol=1e-4, atol=1e-6)


def test_without_features_there_is_none(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubtful, "feature_rows", lambda opened: None)
    assert doubtful.queues(Run(planted.folder)) == []
