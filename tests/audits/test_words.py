from __future__ import annotations

import pytest

from labelsieve.audits import words
from labelsieve.audits.design import Design, Wish
from labelsieve.estimation.audits.selection import Share


def design(**changed: object) -> Design:
    facts: dict[str, object] = {
        "number": 1,
        "wish": Wish(),
        "first": 0,
        "population": 5000,
        "after": 0,
        "scores": "",
        "ids": ("a",) * 300,
        "chances": (0.06,) * 300,
        "begun": "",
    }
    return Design(**{**facts, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1, "10 %"), (0.01, "1 %"), (0.005, "0.5 %"), (0.123, "12 %"), (0.0, "0 %")],
)
def test_shares_have_two_digits_that_count(share: float, text: str) -> None:
    assert words.percent(share) == text


def test_a_promise_names_its_conditions() -> None:
    about = words.About("wrong", 0.1, design(), 5000)
    told = words.promise(about, 812, Share(0.2, 0.08, 0.37, 6, 30))
    assert told == (
        "Of these 812 labels, at most 10 % are expected to be right after all (false alarms). "
        "This rests on 300 answers about labels drawn at random from all 5,000 that nobody had "
        "decided about; it is an average over such audits, not a limit for this one list. "
        "Towards its end the list gets worse: 6 of the 30 labels judged around its last fifth "
        "were mistakes (8 % to 37 %)."
    )
    sliced = words.About("wrong", 0.1, design(first=900), 900)
    assert "from the 900 most suspicious" in words.promise(sliced, 10, None)


def test_hostile_names_are_shown_harmlessly() -> None:
    assert "\x1b" not in words.edited("a\x1b[31m.png")


@pytest.mark.parametrize("rank", [None, 0, 212])
def test_a_stop_is_one_sentence(rank: int | None) -> None:
    told = words.stop(rank, 6700, 0.01, 0.95)
    assert told.endswith(".") and "1 %" in told
    assert ("95 % sure" in told) == (rank is not None)


def test_where_every_label_was_judged_the_share_is_told() -> None:
    whole = design(population=300)
    for kind in ("wrong", "corrections", "clean"):
        about = words.About(kind, 0.1, whole, 300)
        said = words.why_empty(about, None, named=True, wrong=30)
        assert "every open label was judged, and 30 of 300 are wrong (10 %)" in said


def test_no_names_are_asked_for_where_nothing_is_wrong() -> None:
    about = words.About("corrections", 0.1, design(), 5000)
    said = words.why_empty(about, None, named=False, wrong=0)
    assert said.endswith("None of the 300 judged labels is wrong.")
    said = words.why_empty(about, None, named=False, wrong=2)
    assert "Nobody said what the wrong labels should be" in said


def test_an_audit_that_is_smaller_than_wished_says_so() -> None:
    told = words.begun(design(wish=Wish(answers=500)))
    assert "300 images" in told and "You asked for 500" in told
    assert "You asked" not in words.begun(design())
