"""Labels of a run that are none of its classes, or no sets, are noticed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labelsieve.runs.sets.shape import are_known, are_shares


def judged(given: list[str | None], suggested: list[str | None]) -> pa.Table:
    columns = {"given_label": given, "suggested_label": suggested}
    return pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()})


def test_single_labels_are_classes() -> None:
    assert are_known(judged(["a", "b"], ["b", None]), ["a", "b"], "single")
    assert not are_known(judged(["a", "c"], ["b", "b"]), ["a", "b"], "single")


@pytest.mark.parametrize(
    ("given", "suggested", "known"),
    [
        ('["a"]', '["a", "b"]', True),
        ("[]", "[]", True),
        ('["c"]', "[]", False),
        ('["a"]', '["c"]', False),
        ("a", "[]", False),
        ('["a"]', None, False),
        ('["a"', "[]", False),
    ],
)
def test_sets_are_made_of_classes(
    given: str, suggested: str | None, known: bool
) -> None:
    assert are_known(judged([given], [suggested]), ["a", "b"], "set") == known


@pytest.mark.parametrize(
    "number", [None, "0.1", True, -1, 1.5, float("nan"), 10**400, [], {}]
)
@pytest.mark.parametrize("name", ["rate", "low", "high", "count"])
def test_shares_of_a_stranger_are_numbers(name: str, number: Any) -> None:
    right = {"rate": 0.1, "low": 0.0, "high": 1.0, "count": 12.5}
    assert are_shares({"cat": right, "dog": right})
    # more than one label may be counted
    if (name, number) != ("count", 1.5):
        assert not are_shares({"cat": right, "dog": {**right, name: number}})
    assert not are_shares({"cat": None}) and not are_shares([right])
