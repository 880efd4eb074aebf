"""The audit: each window its own image, every answer counts at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.audits import design
from labelsieve.review.filters import DEFAULT
from labelsieve.review.session import Review
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


def answer(review: Review, planted: Any, window: str, person: str = "") -> str:
    question = review.auditing.ask(window, person)
    assert question is not None
    sample_id = review.suspects.columns.sample_id(question.row)
    verdict = "wrong" if sample_id in planted.wrong else "keep"
    notice = review.deciding.answer(
        sample_id, (verdict, ""), window, person, second=question.second
    )
    assert notice == ""
    return sample_id


def test_answers_count_at_once_whatever_another_window_shows(
    planted: Any, review: Review
) -> None:
    """An image that another window shows does not hold up what comes after it."""
    waiting = review.auditing.ask("one")
    seen = set()
    for number in range(1, 11):
        seen.add(answer(review, planted, "two"))
        state = review.auditing.state()
        assert state is not None and state.answered == number
    assert waiting is not None
    assert review.suspects.columns.sample_id(waiting.row) not in seen


def test_a_whole_audit_tells_when_to_stop(planted: Any, review: Review) -> None:
    assert review.auditing.stop() is None
    assert (
        design.current(planted.run) is None
    )  # a question begins an audit, nothing else
    design.commit(planted.run, review.decisions, design.Wish(answers=48))
    for _ in range(48):
        answer(review, planted, "w", "Ada")
    state = review.auditing.state()
    assert state is not None and state.complete and state.rate is not None
    assert state.rate.wrong == len(planted.wrong)
    stop = review.auditing.stop()
    assert stop is not None and stop.sentence in review.front_page(DEFAULT, "w")
    done = review.audit_page("w")
    assert "The audit is done: all 48 drawn images are judged." in done
    assert "labelsieve apply" in done and "another window" not in done
    # all is answered: with another name the same are asked again, blind
    assert review.auditing.ask("w", "Ada") is None
    assert review.auditing.ask("w2") is None
    again = review.auditing.ask("w2", "Bob")
    assert again is not None and again.second
    for _ in range(20):
        answer(review, planted, "w2", "Bob")
    state = review.auditing.state()
    assert state is not None and "0 of 20" in state.people


def test_the_order_of_gain_names_every_row_once(review: Review) -> None:
    rows = review.auditing.by_gain()
    assert np.array_equal(np.sort(rows), np.arange(len(review.suspects.columns)))


def test_an_audit_of_another_process_is_told_by_an_open_page(
    planted: Any, review: Review
) -> None:
    """Begun and answered elsewhere, as `labelsieve audit --import` does."""
    design.commit(planted.run, review.decisions, design.Wish(answers=48))
    assert review.auditing.ask("w") is not None  # the page has read the audits
    other = Decisions(planted.folder)
    begun = design.current(planted.run)
    assert begun is not None
    for sample_id in begun.ids:
        other.add(sample_id, "wrong" if sample_id in planted.wrong else "keep")
    state = review.auditing.state()
    assert state is not None and state.complete
    assert review.counts(DEFAULT, "w")["progress"]["left"] == 0


def test_an_audit_that_began_after_the_page_opened_is_seen(
    planted: Any, review: Review
) -> None:
    assert review.auditing.watch.state() is None
    other = Decisions(planted.folder)
    made = design.commit(planted.run, other, design.Wish(answers=5))
    for sample_id in made.ids:
        other.add(sample_id, "keep")
    state = review.auditing.state()
    assert state is not None and (state.planned, state.complete) == (5, True)


def test_where_everything_is_decided_the_audit_is_a_page_that_says_so(
    planted: Any, review: Review
) -> None:
    other = Decisions(planted.folder)
    for row in range(len(review.suspects.columns)):
        other.add(review.suspects.columns.sample_id(row), "keep")
    html = review.audit_page("w")
    assert "nothing left to draw from" in html and "<nav" in html
    assert design.current(planted.run) is None
