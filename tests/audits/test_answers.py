from __future__ import annotations

from typing import Any

import pytest

from labelsieve.audits.answers import replay
from labelsieve.runs.decisions import Decision, by_whom

GIVEN = {"a": "cat", "b": "cat"}


def rows(*said: tuple[object, ...]) -> list[Decision]:
    """(image, verdict, label, person) or (number of the row that is undone)."""
    found = []
    for number, each in enumerate(said, 1):
        if len(each) == 1:
            undone = found[int(str(each[0])) - 1]
            row = Decision(
                number, undone.sample_id, "undo", None, "w", "", None, undone.seq
            )
        else:
            image, verdict, label, person = each
            by = by_whom("w", str(person))
            fields: Any = (number, str(image), str(verdict), label, by, "", None)
            row = Decision(*fields)
        found.append(row)
    return found


def test_people_may_correct_themselves_until_the_audit_is_complete() -> None:
    found = replay(
        ["a", "b"],
        rows(
            ("a", "wrong", None, ""),
            ("a", "keep", None, ""),
            (2,),
            ("b", "keep", None, ""),
        ),
        0,
        GIVEN,
    )
    assert found.wrong == {"a": True, "b": False} and found.complete_at == 4
    assert not found.edited


@pytest.mark.parametrize(
    ("later", "edited"),
    [
        ([("a", "keep", None, "")], "a"),
        ([("a", "other", "dog", "")], ""),  # the right one is named
        ([("a", "other", "cat", "")], "a"),  # the given label is named
        ([("a", "skip", None, "")], ""),  # looked at again, nothing said
        ([(1,)], "a"),
        ([(1,), ("a", "accept", "owl", "")], ""),  # and said again
        ([("a", "keep", None, "Ann")], ""),  # a second opinion
        ([("c", "keep", None, "")], ""),
    ],
)
def test_what_changes_an_answer_afterwards(
    later: list[tuple[object, ...]], edited: str
) -> None:
    said = [("a", "wrong", None, ""), ("b", "keep", None, ""), *later]
    found = replay(["a", "b"], rows(*said), 0, GIVEN)
    assert found.edited == edited
    assert found.wrong == {"a": True, "b": False}  # what is counted stays


def test_only_what_came_after_the_design_counts() -> None:
    said = rows(("a", "wrong", None, ""), ("b", "keep", None, ""))
    found = replay(["a", "b"], said, 1, GIVEN)
    assert found.wrong == {"b": False} and found.complete_at is None


def test_who_cannot_tell_has_answered() -> None:
    said = rows(
        ("a", "skip", None, ""), ("b", "keep", None, ""), ("a", "keep", None, "")
    )
    found = replay(["a", "b"], said, 0, GIVEN)
    assert found.complete_at == 2 and found.wrong == {"a": None, "b": False}
    assert found.unclear == 1 and not found.edited


def test_second_opinions_are_pairs_and_the_first_stands() -> None:
    said = rows(
        ("a", "wrong", None, "Ann"),
        ("a", "keep", None, "Bob"),
        ("b", "skip", None, "Ann"),
        ("b", "keep", None, "Bob"),
    )
    found = replay(["a", "b"], said, 0, GIVEN)
    assert found.second == {"a": (True, False)}
    assert found.wrong == {"a": True, "b": None}


def test_names_are_the_latest() -> None:
    said = rows(
        ("a", "wrong", None, ""), ("b", "keep", None, ""), ("a", "other", "owl", "")
    )
    found = replay(["b", "a"], said, 0, GIVEN)
    assert found.named == {"a": "owl"}
    assert list(found.wrong) == ["b", "a"]  # in the order of the draw
