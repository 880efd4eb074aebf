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


def many(n: int = 400) -> tuple[SetScanned, np.ndarray]:
    """Sets in which every third dog that is said to be missing with .4 really is; and the truth."""
    rng = np.random.default_rng(0)
    given = rng.random((n, 3)) < 0.5
    given[:, 2] = False
    probs = np.where(given, 0.97, 0.03).astype(np.float32)
    probs[: n // 2, 2] = 0.4
    true = given.copy()
    true[: n // 2 : 3, 2] = True
    flagged = np.zeros((n, 3), dtype=bool)
    flagged[:5, 2] = True
    ids = pa.array([f"i{row}" for row in range(n)])
    p_clean = p_right(probs, given)
    made = SetScanned(
        ids, CLASSES, given, given ^ flagged, probs, p_clean, flagged.any(1)
    )
    return made, true


def answers_of(made: SetScanned, true: np.ndarray, rows: range) -> dict[str, Decision]:
    texts = made.coding.decode(true).to_pylist()
    return {
        f"i{row}": decision(number + 1, f"i{row}", "other", texts[row])
        for number, row in enumerate(rows)
    }


def test_answers_about_some_sets_change_what_is_said_of_the_others() -> None:
    made, true = many()
    current = answers_of(made, true, range(0, 120))
    now = made.untouched().updated(current)
    assert now.learned_from == 120
    rest = np.arange(120, 200)
    # .40 was said, a third is wrong; 240 answers found none of the labels wrong that have .03
    assert now.probs[rest, 2].mean() == pytest.approx(1 / 3, abs=0.05)
    others = np.where(made.given, 1 - now.probs, now.probs)[rest, :2]
    assert (others < 0.015).all()
    assert np.allclose(now.p_clean[rest], p_right(now.probs[rest], made.given[rest]))
    assert (now.p_clean[:120][(true ^ made.given)[:120].any(1)] == 0).all()
    assert np.array_equal(now.probs[:120], true[:120].astype(np.float32))
    # promises are computed with the scan's own numbers
    plain = made.untouched().updated(current, learn=False)
    assert plain.learned_from == 0
    assert np.array_equal(plain.p_clean[rest], made.p_clean[rest])
    # and what was read is never written into
    assert np.array_equal(made.probs, many()[0].probs)


def test_what_turns_out_likely_is_suggested() -> None:
    made, true = many()
    true[: len(true) // 2, 2] = True
    now = made.untouched().updated(answers_of(made, true, range(0, 120)))
    rest = np.arange(120, 200)
    assert (now.probs[rest, 2] > 0.5).all() and now.likely[rest, 2].all()
    assert all("dog" in text for text in now.suggested[rest])
    assert (now.suggested_prob[rest] >= now.p_clean[rest]).all()
    assert set(now.changes(0.5)) >= set(rest.tolist())


def test_a_decision_that_names_no_class_of_the_run_teaches_nothing() -> None:
    for label in (write_set(["horse"]), "cat", "[1]"):
        now = many()[0].untouched().updated({"i0": decision(1, "i0", "other", label)})
        assert now.learned_from == 0 and now.decided[0] == label
