from __future__ import annotations

import pytest
from fixtures.audited import Audited

from labelsieve.audits import design
from labelsieve.audits.design import Wish
from labelsieve.audits.watch import Watch
from labelsieve.runs.decisions import by_whom


def test_an_audit_from_the_first_question_to_the_stop(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    assert seen.state() is None and seen.left() is None
    seen.begin(Wish(answers=120, target_error=0.05))
    plan = design.current(audited.run)
    assert plan is not None
    for number, expected in enumerate(plan.ids):
        sample_id = seen.next()
        assert sample_id == expected
        assert seen.next(taken={expected}) != expected
        if number % 50 == 1:
            state = seen.state()
            assert state is not None and state.answered == number
            assert state.stop is None and not state.sentences
            assert state.rate is not None and state.rate.judged == number
        verdict = "wrong" if audited.is_wrong(sample_id) else "keep"
        decisions.add(sample_id, verdict, by="w")
    assert seen.next() is None
    state = seen.state()
    assert state is not None and state.complete and not state.refused
    assert any("at most 10 %" in sentence for sentence in state.sentences)
    assert state.stop is not None and state.stop.rank
    ids = seen.queue_ids(state.stop.rank)
    before = seen.left()
    assert state.rate is not None and before is not None
    found = sum(audited.is_wrong(i) for i in plan.ids)
    total = round(state.rate.rate * plan.population)
    assert before.low < before.about == pytest.approx(total - found, abs=1)
    for sample_id in [i for i in ids if i not in plan.ids][:30]:
        audited.answer([sample_id])
        now = seen.left()
        # what is found is taken off, and nothing is ever added
        assert now is not None and now.high <= before.high
        wrong = audited.is_wrong(sample_id)
        assert now.about == pytest.approx(max(0, before.about - wrong))
        before = now
    audited.answer(i for i in ids[30:] if i not in plan.ids)
    after = seen.state()
    assert after is not None and after.stop is not None and after.stop.reached
    assert after.stop.remaining < state.stop.remaining


def test_answers_to_suspects_are_no_random_sample(audited: Audited) -> None:
    """The most suspicious labels of the draw were reviewed: of all labels that says nothing."""
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    seen.begin(Wish(answers=60))
    plan = design.current(audited.run)
    assert plan is not None
    wrong = [i for i in plan.ids if audited.is_wrong(i) and i != plan.ids[0]]
    audited.answer(wrong)
    state = seen.state()
    assert state is not None and state.answered == len(wrong) > 2
    assert state.rate is None
    # with the first questions answered too, they count, up to the next one that is open
    audited.answer(plan.ids[:9])
    state = seen.state()
    assert state is not None and state.rate is not None
    run = next(n for n, i in enumerate(plan.ids) if n >= 9 and i not in wrong)
    assert state.rate.judged == run
    found = sum(audited.is_wrong(i) for i in plan.ids[:run])
    assert state.rate.low <= found / run <= state.rate.high


def test_the_first_question_commits_the_usual_audit(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    queue = seen.queue.tolist()
    first = seen.next()
    plan = design.current(audited.run)
    assert plan is not None and plan.wish == Wish(answers=291) and plan.ids[0] == first
    assert seen.queue.tolist() == queue


def test_answers_of_another_process_count_and_undo_takes_back(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    first = seen.next()
    assert first is not None
    audited.answer([first])
    assert seen.next() != first
    decisions.undo("w")
    assert seen.next() == first


def test_second_answers_are_asked_of_somebody_else(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    first = seen.next()
    assert first is not None and seen.again("Bob") is None
    decisions.add(first, "keep", by=by_whom("w", "Ann"))
    assert seen.again("Ann") is None
    assert seen.again("Bob") == first and seen.again("Bob", {first}) is None
    decisions.add(first, "wrong", by=by_whom("v", "Bob"))
    assert seen.again("Bob") is None and seen.again("Ann") is None


def test_edits_are_told_where_people_answer(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    seen.begin(Wish(answers=30))
    plan = design.current(audited.run)
    assert plan is not None
    audited.answer(plan.ids)
    flipped = "keep" if audited.is_wrong(plan.ids[3]) else "wrong"
    decisions.add(plan.ids[3], flipped, by="w")
    state = seen.state()
    assert state is not None and plan.ids[3] in state.refused
    assert state.sentences == [] and state.stop is None


def test_an_answer_reads_no_scores_again(audited: Audited) -> None:
    decisions = audited.decisions()
    seen = Watch(audited.run, decisions)
    seen.next()
    path = audited.folder / "scores.parquet"
    hidden = path.rename(audited.folder / "hidden")
    for _ in range(3):
        sample_id = seen.next()
        assert sample_id is not None
        decisions.add(sample_id, "keep", by="w")
        assert seen.state() is not None
    hidden.rename(path)
