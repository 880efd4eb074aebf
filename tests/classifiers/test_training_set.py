"""What trains on what: labels, weights, origins, and the part that is kept aside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.classifiers import training_set
from labelsieve.errors import DataError
from labelsieve.runs.decisions import Decision
from labelsieve.tables import SCORES


def scores(*rows: tuple[str, str, float | None, bool, str, float]) -> pa.Table:
    """Rows of (id, given, p_clean, flagged, suggested, suggested_prob)."""
    names = (
        "sample_id",
        "given_label",
        "p_clean",
        "is_label_issue",
        "suggested_label",
        "suggested_prob",
    )
    return pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], schema=SCORES
    )


SCANNED = scores(
    ("good", "cat", 0.9, False, "cat", 0.9),
    ("bad", "cat", 0.1, True, "dog", 0.95),
    ("unsure", "dog", 0.2, True, "cat", 0.6),
    (
        "stubborn",
        "dog",
        0.3,
        True,
        "dog",
        0.99,
    ),  # flagged, yet the suggestion is what it has
    ("fine", "dog", 0.8, False, "dog", 0.9),
    ("broken", "dog", None, False, "dog", 0.0),
)


def decided(**verdicts: tuple[str, str | None]) -> dict[str, Decision]:
    return {
        i: Decision(1, i, verdict, label, "me", "now", None)
        for i, (verdict, label) in verdicts.items()
    }


def chosen(
    use: Any, decisions: dict[str, Decision] | None = None
) -> dict[str, tuple[str, float, str]]:
    found = training_set.choose(SCANNED, decisions or {}, ["cat", "dog"], use, 0.9)
    return {
        r["sample_id"]: (r["label"], r["weight"], r["origin"])
        for r in found.to_pylist()
    }


def test_clean() -> None:
    assert chosen("clean") == {
        "good": ("cat", 1.0, "clean"),
        "bad": ("cat", 0.0, "flagged"),
        "unsure": ("dog", 0.0, "flagged"),
        "stubborn": ("dog", 0.0, "flagged"),
        "fine": ("dog", 1.0, "clean"),
    }


def test_relabelled_takes_only_confident_other_labels() -> None:
    found = chosen("clean+relabelled")
    assert found["bad"] == ("dog", 1.0, "relabelled")
    assert {i: found[i] for i in ("good", "unsure", "stubborn", "fine")} == {
        i: v for i, v in chosen("clean").items() if i != "bad"
    }


@pytest.mark.parametrize("use", ["all", "gmm"])
def test_all_given_labels(use: Any) -> None:
    found = chosen(use)
    assert {i: v[:2] for i, v in found.items()} == {
        "good": ("cat", 1.0),
        "bad": ("cat", 1.0),
        "unsure": ("dog", 1.0),
        "stubborn": ("dog", 1.0),
        "fine": ("dog", 1.0),
    }


def test_weighted_by_the_probability() -> None:
    assert {i: v[1] for i, v in chosen("weighted").items()} == {
        "good": 0.9,
        "bad": 0.1,
        "unsure": 0.2,
        "stubborn": 0.3,
        "fine": 0.8,
    }


@pytest.mark.parametrize("use", training_set.USES)
def test_people_outweigh_the_scan(use: Any) -> None:
    decisions = decided(
        good=("wrong", None),
        bad=("keep", None),
        unsure=("accept", "cat"),
        stubborn=("other", "fox"),
        fine=("skip", None),
    )
    found = chosen(use, decisions)
    assert found["good"] == ("cat", 0.0, "left-out")
    assert found["bad"] == ("cat", 1.0, "reviewed")
    assert found["unsure"] == ("cat", 1.0, "reviewed")
    assert found["stubborn"] == (
        "dog",
        0.0,
        "left-out",
    )  # a class that the run does not have
    assert found["fine"] == chosen(use)["fine"]
    assert chosen(use, decided(good=("none", None)))["good"][1] == 0


def table(labels: list[str], flagged: list[bool]) -> pa.Table:
    rows = [
        (f"{i:03d}", y, 0.5, f, y, 0.5)
        for i, (y, f) in enumerate(zip(labels, flagged, strict=True))
    ]
    return training_set.choose(scores(*rows), {}, sorted(set(labels)), "all", 0.9)


def test_a_tenth_of_every_clean_class_is_kept_aside() -> None:
    labels = ["a"] * 100 + ["b"] * 50 + ["c"] * 200
    flagged = [i % 5 == 0 for i in range(350)]
    found = training_set.divide(table(labels, flagged), 0.1, 3)
    part, label = found["part"].to_numpy(zero_copy_only=False), np.array(labels)
    assert [int((part[label == k] == "validation").sum()) for k in "abc"] == [8, 4, 16]
    assert not (part[np.array(flagged)] == "validation").any()
    assert not (part == "none").any()
    assert found.equals(training_set.divide(table(labels, flagged), 0.1, 3))
    assert not found.equals(training_set.divide(table(labels, flagged), 0.1, 4))
    assert (
        "validation"
        not in training_set.divide(table(labels, flagged), 0, 3)["part"].to_pylist()
    )


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=2, max_size=30
    ),
    st.sampled_from([0.1, 0.3, 0.5]),
)
def test_no_class_loses_its_last_training_image(
    rows: list[tuple[str, bool]], share: float
) -> None:
    labels = [y for y, _ in rows]
    if len(set(labels)) < 2:
        return
    found = training_set.divide(
        table(labels, [f for _, f in rows]), share, 0
    ).to_pylist()
    assert {r["label"] for r in found if r["part"] == "train"} == set(labels)


def test_one_class_is_not_enough() -> None:
    found = training_set.choose(
        SCANNED, decided(fine=("wrong", None)), ["cat", "dog"], "clean", 0.9
    )
    with pytest.raises(DataError, match="Only one class has images to train on"):
        training_set.divide(found, 0.1, 0)


def test_count() -> None:
    found = training_set.divide(
        training_set.choose(SCANNED, {}, ["cat", "dog"], "clean+relabelled", 0.9), 0, 0
    )
    assert training_set.count(found) == {
        "train": 3,
        "validation": 0,
        "left_out": 2,
        "origins": {"clean": 2, "relabelled": 1},
    }


def test_certified_trains_on_the_promised_part_and_on_what_people_said() -> None:
    found = training_set.choose(
        SCANNED,
        decided(unsure=("accept", "cat")),
        ["cat", "dog"],
        "certified",
        0.9,
        certified={"good", "stubborn"},
    )
    used = {row["sample_id"]: row for row in found.to_pylist() if row["weight"] > 0}
    assert set(used) == {"good", "stubborn", "unsure"}
    assert used["unsure"]["label"] == "cat" and used["stubborn"]["label"] == "dog"
    assert used["stubborn"]["origin"] == "clean"  # it may validate, too
