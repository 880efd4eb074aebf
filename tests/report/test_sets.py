"""Sets in the report: names for people, numbers of sets, confusions within sets."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from labelsieve.data.labels import write_set
from labelsieve.report.sets import EMPTY, Names, changed, numbered, shown, with_pair
from labelsieve.runs.sets.standing import SetScanned, SetStanding


def standing() -> SetStanding:
    given = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=bool)
    suggested = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=bool)
    ids = pa.array(["a", "b", "c", "d"])
    probs = np.full((4, 3), 0.5)
    flags = (given ^ suggested).any(1)
    return SetScanned(
        ids, ("x", "y", "z"), given, suggested, probs, np.full(4, 0.5), flags
    ).untouched()


def test_sets_are_called_by_their_classes() -> None:
    assert shown('["cat", "dog"]') == "cat, dog"
    assert shown("[]") == shown(None) == EMPTY
    numbers, names = numbered(standing())
    assert [names[n] for n in numbers] == ["x", "x, y", EMPTY, "x"]


def test_sets_keep_their_numbers_and_are_filtered_by_their_classes() -> None:
    names = Names()
    texts = [write_set(labels) for labels in (["b", "a"], ["a"], [], ["a, b"])]
    assert [names(text) for text in [*texts, texts[0]]] == [0, 1, 2, 3, 0]
    assert names.all() == ["a, b", "a", "(no class)", "a, b"]
    assert names.labels() == ["a", "a, b", "b"], "a name may hold a comma"
    assert names.members() == [[0, 2], [0], [], [1]]


def test_what_differs_and_which_pairs_are_confused() -> None:
    now = standing()
    assert changed(now, 0) == ["x", "z"] and changed(now, 1) == []
    rows = np.arange(4)
    assert with_pair(now, rows, "x", "z").tolist() == [0]
    assert with_pair(now, rows, "z", "x").tolist() == []
