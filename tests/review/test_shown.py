"""What the pages say about one image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="the extra 'review' is not installed")

from labelsieve.review.columns import Columns
from labelsieve.review.filters import Filters
from labelsieve.review.session import Review
from labelsieve.review.shown import in_words


@pytest.fixture
def review(planted: Any) -> Review:
    return Review(planted.run, background=False)


def test_a_suggestion_comes_first_only_where_it_is_likely(review: Review) -> None:
    suspects, describing = review.suspects, review.describing
    assert describing.primary(0) == "accept"
    cases = {  # probability of the label and of the other three
        "accept": (0.1, 0.7, 0.1, 0.1),
        "keep": (0.8, 0.1, 0.05, 0.05),
        "": (0.2, 0.4, 0.2, 0.2),
    }
    given = int(suspects.columns.given[0])
    for primary, (own, *others) in cases.items():
        posterior = np.array(suspects.now.posterior)
        posterior[0] = np.insert(others, given, own)
        p_clean = suspects.now.p_clean.copy()
        p_clean[0] = own
        suspects.use(replace(suspects.now, posterior=posterior, p_clean=p_clean))
        assert describing.primary(0) == primary
        classes = describing.classes(0)
        shares = [c["p"] for c in classes]
        assert shares == sorted(shares, reverse=True) and len(classes) == 4
        assert [c["given"] for c in classes].count(True) == 1


def test_a_card_says_what_holds_and_who_said_it(planted: Any, review: Review) -> None:
    sample_id = planted.wrong[0]
    row = review.deciding.row(sample_id)
    card = review.describing.card(row)
    assert (card["given"], card["offered"]) == (
        planted.given[sample_id],
        planted.truth[sample_id],
    )
    assert card["decided"] == card["person"] == "" and card["seen"] == 0
    assert card["facts"].width > 0
    review.deciding.decide(sample_id, "none", "", "w", 0, "Ada")
    card = review.describing.card(row)
    assert (card["decided"], card["person"]) == ("no class fits", "Ada")
    assert card["seen"] == review.decisions.current(sample_id).seq  # type: ignore[union-attr]


def test_trusted_images_have_the_label_that_they_stand_for(review: Review) -> None:
    card = review.describing.card(0)
    assert [n["label"] for n in card["near"]] == [card["given"], card["offered"]]
    for near in card["near"]:
        rows = [image["row"] for image in near["images"]]
        assert rows and not review.suspects.columns.flagged[rows].any()
        for row in rows:
            code = review.suspects.columns.given[row]
            assert review.suspects.columns.name(code) == near["label"]


def test_prompts_speak_in_words(review: Review, monkeypatch: Any) -> None:
    numbers = {"positive_logit": 1.0, "negative_logit": 2.0}
    monkeypatch.setattr(review.suspects.columns, "number", lambda c, r: numbers[c])
    monkeypatch.setattr(review.suspects.columns, "prompts_tell", True)
    right, wrong = len(review.suspects.columns) - 1, 0
    against = "By its name alone, “cat” does not fit this image."
    assert review.describing.reason(wrong, "cat") == against
    # a card does not contradict itself
    assert review.describing.reason(right, "cat") == ""
    numbers["positive_logit"] = 3.0
    speaks_for = "By its name alone, “cat” fits this image."
    assert review.describing.reason(right, "cat") == speaks_for
    assert review.describing.reason(wrong, "cat") == ""
    # where names say nothing to the model, they do not speak against the pictures
    monkeypatch.setattr(review.suspects.columns, "prompts_tell", False)
    assert review.describing.reason(right, "cat") == ""
    monkeypatch.setattr(review.suspects.columns, "prompts_tell", True)
    monkeypatch.setattr(review.suspects.columns, "number", lambda c, r: None)
    assert review.describing.reason(right, "cat") == ""


@pytest.mark.parametrize(("epoch", "tell"), [(3, True), (0, False), (None, False)])
def test_prompts_that_were_not_trained_say_nothing(
    planted: Any, monkeypatch: Any, epoch: int | None, tell: bool
) -> None:
    facts = {} if epoch is None else {"epoch": epoch}
    monkeypatch.setitem(planted.run.record, "agreement", {"verdict": "fits"})
    monkeypatch.setitem(planted.run.record, "method_facts", facts)
    assert Columns(planted.run).prompts_tell == tell


def test_cells_say_who_holds_them(planted: Any, review: Review) -> None:
    review.suspects.hold("other", [0, 1], "Ada")
    review.suspects.hold("third", [2])
    review.suspects.hold("mine", [3])
    cells = review.describing.cells(range(4), "mine")
    assert [c.get("held") for c in cells] == ["Ada", "Ada", "another window", None]
    said = "Ada looks at 2 images, another window looks at 1 image"
    assert review.describing.others("mine") == said
    review.suspects.hold("fourth", [2, 3])
    assert "2 other windows look at 3 images" in review.describing.others("mine")
    sample_id = review.suspects.columns.sample_id(0)
    review.deciding.decide(sample_id, "keep", "", "mine", 0, "Grace")
    (cell,) = review.describing.cells([0], "mine")
    assert cell["decided"] == "the label is right" and cell["settled"] and cell["kept"]
    assert cell["person"] == "Grace"


def test_a_decision_in_words(planted: Any, review: Review) -> None:
    sample_id = planted.wrong[0]
    review.deciding.decide(sample_id, "other", planted.truth[sample_id], "w", 0)
    decision = review.decisions.current(sample_id)
    assert in_words(decision) == f"it is {planted.truth[sample_id]}"
    assert in_words(None) == ""


def test_a_card_says_how_many_voted_for_the_label(planted: Any) -> None:
    scores = planted.run.scores
    votes = pa.array([0.75, None, *[0.5] * (len(scores) - 2)])
    planted.run.__dict__["scores"] = scores.append_column("agreement", votes)
    review = Review(planted.run, background=False)
    first, second = (review.describing.card(row) for row in (0, 1))
    assert (first["agreement"], second["agreement"]) == (0.75, None)
    pages = [review.front_page(Filters(), "w", row=row) for row in (0, 1)]
    assert [page.count("75 % of the votes") for page in pages] == [1, 0]
    assert "of the votes" not in pages[1]


def test_only_what_was_decided_with_others_is_said_to_be(review: Review) -> None:
    one = review.deciding.decide_many([0], [0], ("keep", ""), "w")
    two = review.deciding.decide_many([1, 2], [0, 0], ("keep", ""), "w")
    assert one["written"] + two["written"] == 3
    rows = review.describing.history(review.decisions.history())
    assert [row["together"] for row in rows] == [True, True, False]
    assert review.history_page("w").count("(with others)") == 2
