"""A run of sets as it stands: decisions, changes that are sure enough, sets that are none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.data.labels import write_set
from labelsieve.errors import DataError
from labelsieve.estimation.sets.judging import p_right
from labelsieve.runs.decisions import Decision
from labelsieve.runs.sets.standing import NOTHING, SetScanned, check_set

CLASSES = ("bird", "cat", "dog")
AT = "2026-01-01T00:00:00+00:00"


def scanned() -> SetScanned:
    given = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=bool)
    probs = np.array(
        [[0.95, 0.1, 0.98], [0.1, 0.02, 0.6], [0.1, 0.1, 0.1], [0.9, 0.9, 0.3]]
    )
    flagged = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    return SetScanned(
        pa.array(["a", "b", "c", "d"]),
        CLASSES,
        given,
        given ^ flagged,
        probs,
        p_right(probs, given),
        flagged.any(1),
    )


def decision(seq: int, sample_id: str, verdict: str, label: str | None) -> Decision:
    return Decision(seq, sample_id, verdict, label, "w", AT, None)


def test_before_anybody_decided_it_is_the_scan() -> None:
    now = scanned().untouched()
    assert now.labels.tolist() == [
        '["bird"]',
        '["cat", "dog"]',
        "[]",
        '["bird", "cat"]',
    ]
    assert now.suggested[0] == '["bird", "dog"]'
    assert now.issue.tolist() == [True, True, False, True]
    assert np.allclose(now.p_wrong, 1 - scanned().p_clean)
    assert now.learned_from == 0


def test_what_people_said_holds() -> None:
    named = write_set(["dog", "bird"])
    current = {
        "a": decision(1, "a", "other", named),
        "b": decision(2, "b", "none", None),
        "c": decision(3, "c", "wrong", None),
        "d": decision(4, "d", "keep", None),
        "gone": decision(5, "gone", "keep", None),
    }
    now = scanned().untouched().updated(current)
    assert now.labels.tolist() == [named, NOTHING, None, '["bird", "cat"]']
    assert now.p_clean.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert now.issue.tolist() == [True, True, True, False]
    assert now.suggested_prob[0] == 1.0
    table = now.table()
    assert table["verdict"].to_pylist() == ["other", "none", "wrong", "keep"]
    skipped = scanned().untouched().updated({"a": decision(1, "a", "skip", None)})
    assert skipped.verdicts[0] is None


def test_only_flagged_labels_that_are_sure_enough_change() -> None:
    now = scanned().untouched()
    assert now.changes(0.9) == {
        0: ('["bird", "dog"]', pytest.approx(0.98)),
        1: ('["dog"]', pytest.approx(0.98)),
    }
    assert set(now.changes(0.0)) == {0, 1, 3}
    assert now.changes(0.99) == {}
    decided = now.updated({"a": decision(1, "a", "keep", None)})
    assert set(decided.changes(0.9)) == {1}


def test_a_set_is_canonical_and_made_of_the_classes() -> None:
    assert check_set('["dog", "cat", "dog"]', CLASSES) == '["cat", "dog"]'
    for wrong in ('["lion"]', "cat", '{"cat": 1}'):
        with pytest.raises(DataError):
            check_set(wrong, CLASSES)
