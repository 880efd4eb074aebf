"""One sentence says how many labels are wrong, before, while and after people judge them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.audited import Audited

from labelsieve.audits import design, headline
from labelsieve.audits.headline import Headline, Sums
from labelsieve.audits.stopping import Left

BEFORE = Headline(400, "labels", "images", 0, 0, Left(36.0, 20.0, 72.0))


def test_a_scan_in_a_sentence() -> None:
    assert BEFORE.sentence == (
        "About 9.0 % of 400 labels are probably wrong (5.0 to 18.0 %)"
    )
    assert BEFORE.to_find(36.0) == "about 36 wrong labels to find"


def test_what_people_found_and_what_is_left_are_its_parts() -> None:
    after = replace(BEFORE, decided=7, found=7, left=Left(25.0, 13.0, 65.0))
    assert after.sentence == (
        "About 8.0 % of 400 labels are probably wrong (5.0 to 18.0 %): 7 that people found and "
        "about 25 of the 393 that nobody has checked"
    )
    assert after.to_find(29.0) == "7 found, about 25 wrong labels left"


def test_a_number_that_rises_says_why() -> None:
    after = replace(BEFORE, decided=7, found=7, left=Left(57.2, 13.0, 65.0))
    assert after.to_find(57.4) == "7 found, about 57 wrong labels left"
    assert after.to_find(29.0) == (
        "7 found, about 57 wrong labels left (people found more than the scan, which expected 29)"
    )


def test_where_nobody_can_say_no_number_is_named() -> None:
    vague = replace(BEFORE, left=None)
    assert vague.sentence == "Too few images to say how many of 400 labels are wrong"
    many = replace(vague, labels=5_000).sentence
    assert many.startswith("The model knows too little to say")
    known = replace(vague, decided=9, found=4).sentence
    assert known.startswith("4 of 9 labels that people judged are wrong; how many of ")
    assert "cannot be said" in vague.to_find(0.0)


def test_all_that_was_judged_is_known() -> None:
    every = replace(BEFORE, decided=400, found=33, left=Left(0.0, 0.0, 0.0))
    assert every.sentence == "33 of 400 labels (8.2 %) are wrong, as people judged them"


def sums(audited: Audited, decided: int, found: int, expected: float) -> Sums:
    n = audited.run.record["scored"]
    rate = audited.run.noise["rate"]
    return Sums(decided, found, expected, rate * n, rate * (n - decided))


def test_the_interval_of_the_scan_holds_for_what_is_judged_and_what_is_not(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline, "says_little", lambda low, high: False)
    noise, n = audited.run.noise, audited.run.record["scored"]
    total = headline.of_standing(audited.run, sums(audited, 50, 20, 30.0)).total
    assert total is not None and total.about == pytest.approx(50)
    # a share of all labels does not change because somebody looks at some of them
    assert total.low == pytest.approx(max(min(noise["low"] * n, 50), 20))
    assert total.high == pytest.approx(max(noise["high"] * n, 50))
    every = headline.of_standing(audited.run, sums(audited, n, 33, 0.0)).total
    assert every == Left(33.0, 33.0, 33.0)


def test_a_notebook_says_the_audit(audited: Audited) -> None:
    plan = design.commit(audited.run, None, design.Wish(answers=100))
    audited.answer(plan.ids)
    sentence = headline.of_run(audited.run).sentence
    assert "with 95 % confidence, by the audit" in sentence
    assert repr(audited.run).endswith(headline.with_flags(audited.run))
    assert headline.with_flags(audited.run).startswith(sentence)
