"""What a review shows and writes, without HTTP."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.errors import OptionError, RunError
from labelsieve.review.queue import Filters
from labelsieve.review.session import NotInRun, Review, in_words, to_query
from labelsieve.runs.run import Run, run_folder


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


def test_an_unfinished_run_is_refused(planted: Any) -> None:
    run_folder(planted.folder).note({"state": "running"})
    with pytest.raises(RunError, match="not finished"):
        Review(Run(planted.folder))


def test_data_that_moved_are_named_and_then_shown(planted: Any) -> None:
    moved = planted.data.with_name("elsewhere")
    shutil.move(planted.data, moved)
    with pytest.raises(RunError, match="--data"):
        Review(planted.run)
    review = Review(planted.run, data=str(moved), background=False)
    assert review.picture(planted.wrong[0], 100)[8:12] == b"WEBP"


def test_nonsense_is_refused_in_words(planted: Any, review: Review) -> None:
    sample_id = planted.wrong[0]
    for verdict, label in (("other", "no such class"), ("nonsense", ""), ("undo", "")):
        with pytest.raises(OptionError):
            review.decide(sample_id, verdict, label, "w", 0)
    with pytest.raises(OptionError, match="keep, wrong or skip"):
        review.answer(sample_id, "accept", "w")
    with pytest.raises(NotInRun, match="No such image"):
        review.decide("x#y", "keep", "", "w", 0)
    with pytest.raises(NotInRun, match="No such image"):
        review.picture("x#y", 100)
    assert review.decisions.all_current() == {}


def test_a_decision_in_words(planted: Any, review: Review) -> None:
    sample_id = planted.wrong[0]
    review.decide(sample_id, "other", "two", "w", 0)
    decision = review.decisions.current(sample_id)
    assert in_words(decision) in ("it is two", "the label is right")
    assert in_words(None) == ""


def test_filters_survive_in_an_address() -> None:
    query = to_query(Filters("a b", None, 0.5, True), "w1")
    assert query == "w=w1&given=a+b&least=0.5&everything=True"


def test_the_audit_counts_answers_at_once(planted: Any, review: Review) -> None:
    """An image that another window shows does not hold up what comes after it."""
    waiting = review.suspects.audit_state("one")["next"]
    for number in range(1, 11):
        shown = review.suspects.audit_state("two")["next"]
        assert shown != waiting
        review.answer(shown, "keep", "two")
        assert review.suspects.audit_state("two")["judged"] == number
    assert f">10</b> of {100} judged" in review.audit_card("two", "")
