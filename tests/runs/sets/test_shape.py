"""Labels of a run that are none of its classes, or no sets, are noticed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from labelsieve.runs.sets.shape import are_known


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
