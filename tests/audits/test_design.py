from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from fixtures.audited import Audited

from labelsieve.audits import design
from labelsieve.audits.design import Wish
from labelsieve.errors import OptionError, RunError
from labelsieve.estimation.audits.stop_rule import answers_needed
from labelsieve.runs.decisions import by_whom


def test_a_design_is_read_as_it_was_committed(audited: Audited) -> None:
    assert design.current(audited.run) is None
    wish = Wish(answers=50, seed=3, target_error=0.02)
    plan = design.commit(audited.run, None, wish)
    assert design.current(audited.run) == plan
    assert (plan.wish, plan.number, plan.after, plan.first) == (wish, 1, 0, 0)
    assert len(set(plan.ids)) == 50 and plan.chances == (50 / 2000,) * 50


def test_another_seed_after_looking_is_refused(audited: Audited) -> None:
    plan = design.commit(audited.run, None, Wish(answers=50))
    audited.answer(plan.ids[:20])
    decisions = audited.decisions()
    with pytest.raises(OptionError, match="20 of 50 answers are in"):
        design.commit(audited.run, decisions, Wish(answers=50, seed=1))
    assert design.current(audited.run) == plan
    audited.answer(plan.ids[20:])
    again = design.commit(audited.run, decisions, Wish(answers=50))
    # the same seed, and other images: those that were answered are known
    assert again.number == 2 and not set(plan.ids).intersection(again.ids)
    assert again.population == 1950 and again.after == 50
    assert [each.number for each in design.ledger(audited.run)] == [1, 2]


def test_a_draw_depends_on_seed_number_and_ids_alone(audited: Audited) -> None:
    first = design.draw(audited.run, [], Wish(answers=60), 1)
    assert design.draw(audited.run, [], Wish(answers=60), 1).ids == first.ids
    assert design.draw(audited.run, [], Wish(answers=60, seed=1), 1).ids != first.ids
    assert design.draw(audited.run, [], Wish(answers=60), 2).ids != first.ids
    # a longer one begins with the same images
    assert design.draw(audited.run, [], Wish(answers=90), 1).ids[:60] == first.ids


def test_small_runs_are_asked_whole(audited_run: Callable[..., Audited]) -> None:
    audited = audited_run(n=40)
    plan = design.commit(audited.run, None, Wish(answers=300))
    assert len(plan.ids) == plan.population == 40
    audited.answer(plan.ids)
    with pytest.raises(OptionError, match="nothing left"):
        design.commit(audited.run, audited.decisions(), Wish())


def test_a_small_set_is_asked_about_in_part(audited: Audited) -> None:
    plan = design.commit(audited.run, None, Wish())
    # what is committed to is a number, so that it is drawn again as it was
    assert len(plan.ids) == plan.wish.answers == 291
    sizes = {1: 1, 20: 19, 100: 78, 300: 160, 1000: 254, 10**6: 300}
    assert {size: design.usual_answers(size) for size in sizes} == sizes
    for size in range(100, 4000, 100):
        # a review of so many may end at 1 %, 95 % sure
        assert design.usual_answers(size) >= answers_needed(size, size // 100, 0.05)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"goal": "lists"}, "lists"),
        ({"answers": 0}, "--answers"),
        ({"max_wrong": 1.5}, "--max-wrong"),
        ({"confidence": -1}, "--confidence"),
    ],
)
def test_wishes_that_cannot_be(words: dict[str, object], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        Wish(**words)  # type: ignore[arg-type]


def test_a_plan_says_how_many_are_needed(audited: Audited) -> None:
    words = design.suggest(audited.run, None, Wish())
    assert words.startswith("291 answers. By the scan's scores about ")
    assert "a list of wrong labels at 10 %" in words and "a clean part at 1 %" in words
    # 2000 labels, 20 may remain: fewer than the 299 of a large population
    assert "about 265 are needed for an end of the review at 1 %" in words
    assert "clean" not in design.suggest(audited.run, None, Wish("list"))
    assert design.suggest(audited.run, None, Wish("rate")) == "291 answers."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", "0"),
        ("number", None),
        ("first", -1),
        ("ids", 7),
        ("chances", [0.1]),
        ("wish", {"answers": "all"}),
        ("wish", {"goal": "none"}),
        ("wish", {"colour": 1}),
        ("wish", None),
    ],
)
def test_a_strangers_file_is_refused_in_one_line(
    audited: Audited, name: str, value: object
) -> None:
    plan = design.commit(audited.run, None, Wish(answers=20))
    plain = {**plan.as_dict(), name: value}
    del plain["digest"]
    forged = {**plain, "digest": design.fingerprint(plain)}
    path = audited.folder / design.NAME
    path.write_text(json.dumps({"format": design.FORMAT, "audits": [forged]}))
    with pytest.raises(RunError, match="not what was committed"):
        design.current(audited.run)


def test_a_file_of_another_version_is_refused(audited: Audited) -> None:
    design.commit(audited.run, None, Wish(answers=20))
    path = audited.folder / design.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(RunError, match="format"):
        design.current(audited.run)


def test_an_audit_is_taken_back_only_while_nobody_answered(audited: Audited) -> None:
    with pytest.raises(OptionError, match="No audit was begun"):
        design.abandon(audited.run, None)
    first = design.commit(audited.run, None, Wish(answers=50))
    assert design.abandon(audited.run, audited.decisions()) == first
    assert design.current(audited.run) is None
    second = design.commit(audited.run, audited.decisions(), Wish(answers=20))
    assert second.number == 1
    audited.answer(second.ids[:1])
    decisions = audited.decisions()
    assert decisions.undo(by_whom("w", ""))
    # whoever answered has looked
    with pytest.raises(OptionError, match="has answers already"):
        design.abandon(audited.run, decisions)
    assert design.current(audited.run) == second
