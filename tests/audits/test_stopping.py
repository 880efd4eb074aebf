from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fixtures.audited import Audited

from labelsieve.audits import design, guarantee
from labelsieve.audits.design import Wish
from labelsieve.audits.stopping import sentences, stop_now, stop_of


def audit_of(audited: Audited, **wish: object) -> guarantee.Audit:
    plan = design.commit(audited.run, None, Wish(**wish))  # type: ignore[arg-type]
    audited.answer(plan.ids)
    (audit,) = guarantee.of_run(audited.run).audits
    return audit


def test_reviewing_to_the_rank_leaves_no_more_than_the_target(audited: Audited) -> None:
    audit = audit_of(audited, answers=300, target_error=0.02)
    found = stop_of(audit, np.zeros(2000, dtype=bool))
    assert found.rank is not None and 0 < found.rank < 2000
    assert f"Review down to rank {found.rank:,} of 2,000" in found.sentence
    assert "at most 2 % of the labels are still wrong (95 % sure)" in found.sentence
    assert not found.reached and found.done == 0
    told = sentences(audited.run, guarantee.of_run(audited.run))
    assert found.sentence in told and len(told) == 6
    population = audit.population
    ids = population.ids.take(population.queue).to_pylist()
    audited.answer(ids[: found.rank])
    now = stop_now(audited.run, guarantee.of_run(audited.run))
    assert now is not None and now.reached and now.done == now.rank == found.rank
    known = {*ids[: found.rank], *audit.design.ids}
    left = sum(audited.is_wrong(i) for i in ids if i not in known)
    assert left / 2000 <= 0.02
    assert left / 2000 <= now.remaining < found.remaining


def test_the_bound_falls_while_one_reviews(audited: Audited) -> None:
    audit = audit_of(audited, answers=200)
    judged = np.zeros(2000, dtype=bool)
    bounds = []
    for rank in range(0, 2001, 50):
        judged[audit.population.queue[:rank]] = True
        bounds.append(stop_of(audit, judged).remaining)
        ids = audit.population.ids.take(audit.population.queue[rank:]).to_pylist()
        left = [i for i in ids if i not in audit.design.ids and audited.is_wrong(i)]
        assert len(left) / 2000 <= bounds[-1]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] == 0


def test_a_small_audit_says_that_it_is_too_small(audited: Audited) -> None:
    found = stop_of(audit_of(audited, answers=100), np.zeros(2000, dtype=bool))
    assert found.rank is None and not found.reached
    assert "too small to promise that at most 1 %" in found.sentence
    # a target chosen afterwards is possible, and told
    later = stop_of(audit_of_again(audited), np.zeros(2000, dtype=bool), target=0.1)
    assert later.rank is not None and "chosen after the answers" in later.sentence


def audit_of_again(audited: Audited) -> guarantee.Audit:
    return guarantee.of_run(audited.run).audits[0]


def test_what_nobody_could_judge_may_be_wrong_and_remain(audited: Audited) -> None:
    plan = design.commit(audited.run, None, Wish(answers=300, target_error=0.02))
    decisions = audited.decisions()
    right = [i for i in plan.ids if not audited.is_wrong(i)]
    audited.answer(i for i in plan.ids if i not in right[:45])
    for sample_id in right[:45]:
        decisions.add(sample_id, "skip")
    (audit,) = guarantee.of_run(audited.run).audits
    # forty may remain, and forty-five may be wrong for all that is known
    found = stop_of(audit, np.ones(2000, dtype=bool))
    assert audit.answers.unclear == 45 and found.rank is None
    later = stop_of(audit, np.zeros(2000, dtype=bool), target=0.05)
    assert later.rank is not None


def test_without_an_audit_of_all_labels_there_is_no_stop(
    audited_run: Callable[..., Audited],
) -> None:
    audited = audited_run(n=500)
    plan = design.commit(audited.run, None, Wish("list", answers=50))
    audited.answer(plan.ids)
    promised = guarantee.of_run(audited.run)
    assert stop_now(audited.run, promised) is None
    assert "--for any" in promised.why_not("stop")


def test_what_was_decided_before_an_audit_counts_in_the_whole(audited: Audited) -> None:
    wrong = [i for i in audited.truth if audited.is_wrong(i)]
    audited.answer(wrong[:20])
    everything = len(audited.truth)
    plan = design.commit(
        audited.run, audited.decisions(), design.Wish(answers=everything - 20)
    )
    audited.answer(plan.ids)
    share = 100 * len(wrong) / everything
    said = f"{len(wrong)} of {everything:,} labels ({share:.1f} %) are wrong"
    assert audited.run.headline.startswith(said)
