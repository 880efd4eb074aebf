"""What is written, what is refused, and what is undone together."""

from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.audits import headline
from labelsieve.errors import OptionError
from labelsieve.review.deciding import (
    LEARNING,
    UNNOTICED,
    Changed,
    NotInRun,
    rest_after,
)
from labelsieve.review.filters import DEFAULT, Filters
from labelsieve.review.session import Review
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


def on_disk(planted: Any) -> dict[str, tuple[str, str | None, str]]:
    current = Decisions(planted.folder).all_current()
    return {i: (d.verdict, d.label, d.by) for i, d in current.items()}


def test_nonsense_is_refused_in_words(planted: Any, review: Review) -> None:
    sample_id = planted.wrong[0]
    deciding = review.deciding
    for verdict, label in (("other", "no such class"), ("nonsense", ""), ("undo", "")):
        with pytest.raises(OptionError):
            deciding.decide(sample_id, verdict, label, "w", 0)
        with pytest.raises(OptionError):
            deciding.decide_many([0, 1], [0, 0], (verdict, label), "w")
    with pytest.raises(OptionError, match="keep, wrong, other or skip"):
        deciding.answer(sample_id, ("accept", ""), "w")
    with pytest.raises(OptionError, match="no image 48"):
        deciding.decide_many([0, 48], [0, 0], ("keep", ""), "w")
    with pytest.raises(NotInRun, match="No such image"):
        deciding.decide("x#y", "keep", "", "w", 0)
    assert review.decisions.all_current() == {}


def test_many_are_answered_at_once_and_undone_at_once(
    planted: Any, review: Review
) -> None:
    rows = list(range(6))
    shown = [planted.truth[i] for i in planted.wrong[:6]]
    answer = review.deciding.decide_many(rows, [0] * 6, ("accept", shown), "w", "Ada")
    assert answer == {"written": 6, "refused": 0}
    assert on_disk(planted) == {
        i: ("accept", planted.truth[i], "Ada @w") for i in planted.wrong[:6]
    }
    assert review.suspects.now.learned_from == 6
    undone, words = review.deciding.undo("w")
    assert sorted(undone) == rows and words == "6 decisions undone."
    assert on_disk(planted) == {}
    assert review.deciding.undo("w") == ([], "Nothing to undo in this window.")


def test_what_is_accepted_is_what_was_shown_whatever_is_suggested_by_then(
    planted: Any, review: Review
) -> None:
    suspects, deciding = review.suspects, review.deciding
    shown = [suspects.columns.text(int(code)) for code in suspects.offered[:3]]
    rows = suspects.rows(DEFAULT)
    digest = suspects.offers(rows)[1]
    # as if somebody's answers had been learned from between showing and answering
    suspects.offered = (suspects.offered + 1) % len(suspects.columns.classes)
    now = [suspects.columns.text(int(code)) for code in suspects.offered[:3]]
    assert not set(zip(shown, now, strict=True)) & {(x, x) for x in shown}
    deciding.decide(planted.wrong[0], "accept", shown[0], "w", 0)
    deciding.decide_many([1, 2], [0, 0], ("accept", shown[1:]), "w")
    assert [on_disk(planted)[i][:2] for i in planted.wrong[:3]] == [
        ("accept", label) for label in shown
    ]
    deciding.undo("w")
    deciding.undo("w")
    suspects.offered = (suspects.offered + 1) % len(suspects.columns.classes)
    with pytest.raises(Changed, match="Other labels are suggested now"):
        deciding.decide_all(DEFAULT, len(rows), ("accept", ""), "w", suggestions=digest)
    assert on_disk(planted) == {}


def test_nothing_is_accepted_that_no_page_showed(planted: Any, review: Review) -> None:
    deciding = review.deciding
    with pytest.raises(OptionError, match="Nothing was suggested there"):
        deciding.decide(planted.wrong[0], "accept", "", "w", 0)
    with pytest.raises(OptionError, match="'dog' is not a class"):
        deciding.decide(planted.wrong[0], "accept", "dog", "w", 0)
    # all or none: one of them was not shown
    shown = [planted.truth[planted.wrong[0]], ""]
    with pytest.raises(OptionError, match="Nothing was suggested"):
        deciding.decide_many([0, 1], [0, 0], ("accept", shown), "w")
    with pytest.raises(OptionError, match="2 images and 1 labels"):
        deciding.decide_many([0, 1], [0, 0], ("accept", shown[:1]), "w")
    assert on_disk(planted) == {}


def test_to_name_the_given_label_is_to_keep_it(planted: Any, review: Review) -> None:
    label = planted.given[planted.wrong[0]]
    review.deciding.decide_many(list(range(8)), [0] * 8, ("other", label), "w")
    for sample_id, (verdict, named, _) in on_disk(planted).items():
        same = planted.given[sample_id] == label
        assert (verdict, named) == (("keep", None) if same else ("other", label))


def test_what_somebody_decided_meanwhile_is_left_alone(
    planted: Any, review: Review
) -> None:
    Decisions(planted.folder).add(planted.wrong[1], "none", by="Bob @other")
    answer = review.deciding.decide_many([0, 1, 2], [0] * 3, ("keep", ""), "w")
    assert answer == {"written": 2, "refused": 1}
    assert on_disk(planted)[planted.wrong[1]] == ("none", None, "Bob @other")
    notice = review.deciding.decide(planted.wrong[1], "keep", "", "w", 0)
    assert notice == "Bob decided about this image meanwhile: no class fits."


def test_one_answer_for_all_that_pass_asks_for_their_number(
    planted: Any, review: Review
) -> None:
    given = planted.given[planted.wrong[0]]
    filters = Filters(given=given)
    wanted = [i for i in planted.wrong if planted.given[i] == given]
    with pytest.raises(Changed, match=f"{len(wanted)} images now, not 99"):
        review.deciding.decide_all(filters, 99, ("accept", ""), "w")
    accept = (filters, len(wanted), ("accept", ""), "w")
    with pytest.raises(OptionError, match="Reload the page"):
        review.deciding.decide_all(*accept)
    assert on_disk(planted) == {}
    shown = review.suspects.offers(review.suspects.rows(filters))[1]
    answer = review.deciding.decide_all(*accept, suggestions=shown)
    assert answer["written"] == len(wanted) == len(on_disk(planted))
    review.deciding.undo("w")
    assert on_disk(planted) == {}


def test_a_second_answer_of_an_audit_is_kept_beside_the_first(
    planted: Any, review: Review
) -> None:
    sample_id = planted.wrong[0]
    assert review.deciding.answer(sample_id, ("wrong", ""), "one", "Ada") == ""
    assert "Ada decided" in review.deciding.answer(
        sample_id, ("keep", ""), "two", "Bob"
    )
    assert (
        review.deciding.answer(sample_id, ("keep", ""), "two", "Bob", second=True) == ""
    )
    history = review.decisions.history()
    assert [(d.verdict, d.by) for d, _ in history] == [
        ("keep", "Bob @two"),
        ("wrong", "Ada @one"),
    ]


def test_answers_are_learned_from_in_the_background_and_none_is_forgotten(
    planted: Any,
) -> None:
    review = Review(planted.run)
    threads = []
    for row in range(12):
        job = (
            [row],
            [0],
            ("keep", ""),
            f"w{row}",
        )
        threads.append(threading.Thread(target=review.deciding.decide_many, args=job))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(on_disk(planted)) == 12
    for _ in range(200):
        if review.suspects.now.learned_from == 12:
            break
        threading.Event().wait(0.05)
    assert review.suspects.now.learned_from == 12
    assert not set(review.suspects.rows(DEFAULT).tolist()) & set(range(12))


def test_learning_takes_no_more_than_its_share_of_the_time() -> None:
    assert rest_after(0.0) == rest_after(UNNOTICED) == 0
    for spent in (0.06, 0.5, 5.0):
        assert spent / (spent + rest_after(spent)) == pytest.approx(LEARNING)


def test_what_follows_an_answer_says_what_the_report_says(planted: Any) -> None:
    review = Review(planted.run, background=True)
    try:
        for number in range(4):
            shown = planted.truth[planted.wrong[number]]
            review.deciding.decide_many([number], [0], ("accept", shown), "w")
            shown = review.counts(DEFAULT, "w")["progress"]["headline"]
            assert review.suspects.now.learned_from == number + 1
            assert shown == headline.of_run(planted.run).sentence
    finally:
        review.decisions.close()
