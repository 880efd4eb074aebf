from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from fixtures.audited import Audited

from labelsieve.audits import design, guarantee
from labelsieve.audits.design import Wish
from labelsieve.errors import RunError
from labelsieve.runs.decisions import by_whom


def complete(audited: Audited, *, name: bool = True, **wish: object) -> design.Design:
    """An audit that somebody answered to its end."""
    decisions = audited.decisions()
    plan = design.commit(audited.run, decisions, Wish(**wish))  # type: ignore[arg-type]
    decisions.close()
    audited.answer(plan.ids, name=name)
    return plan


def test_a_complete_audit_promises_three_lists(audited: Audited) -> None:
    plan = complete(audited, answers=300)
    promised = guarantee.of_run(audited.run)
    assert not promised.refused
    asked = set(plan.ids)
    for found in (promised.wrong, promised.corrections, promised.clean):
        assert found.ids and not asked.intersection(found.ids)
        assert 0 < found.expected <= found.level
    wrong = np.mean([not audited.is_wrong(i) for i in promised.wrong.ids])
    assert wrong <= 0.2  # one draw of what is 0.1 on average
    suggested = dict(
        zip(
            audited.run.scores["sample_id"].to_pylist(),
            audited.run.scores["suggested_label"].to_pylist(),
            strict=True,
        )
    )
    right = [suggested[i] == audited.truth[i] for i in promised.corrections.ids]
    assert np.mean(right) >= 0.8
    assert all(suggested[i] != audited.given[i] for i in promised.corrections.ids)
    assert "at most 10 % are expected to be right after all" in promised.wrong.sentence
    assert "an average over such audits" in promised.wrong.sentence
    assert promised.rate is not None and len(promised.promises) == 3
    first, *promises, last = promised.sentences
    assert "of the labels are wrong" in first and promises == promised.promises
    assert last.startswith("In the audit, ") and "95 % confidence" in last


def test_the_mean_over_audits_keeps_the_promise(
    audited_run: Callable[..., Audited],
) -> None:
    """Forty seeds of the draw through files and decisions: the mean, not one draw."""
    audited = audited_run(n=600, rate=0.25)
    shares = []
    for seed in range(40):
        decisions = audited.decisions()
        plan = design.draw(audited.run, [], Wish(answers=150, seed=seed), 1)
        decisions.close()
        population = design.Population.of(audited.run, ())
        answers = design.Answers({i: audited.is_wrong(i) for i in plan.ids})
        found = guarantee.Audit(plan, population, answers, "", "")
        listed = found.certify("wrong", 0.1).ids
        shares.append(np.mean([not audited.is_wrong(i) for i in listed] or [0.0]))
    assert np.mean(shares) <= 0.1 + 2 * np.std(shares) / np.sqrt(40)
    assert np.mean(shares) > 0.02  # it does list something


def test_without_an_audit_nothing_is_promised(audited: Audited) -> None:
    promised = guarantee.of_run(audited.run)
    assert "no random audit was begun" in promised.refused
    assert promised.sentences == [promised.refused] and promised.rate is None
    with pytest.raises(RunError, match="no random audit"):
        promised.clean.require()


def test_an_unfinished_audit_promises_nothing(audited: Audited) -> None:
    decisions = audited.decisions()
    plan = design.commit(audited.run, decisions, Wish(answers=100))
    decisions.close()
    audited.answer(plan.ids[:99])
    promised = guarantee.of_run(audited.run)
    assert "99 of 100 answers of audit 1 are in" in promised.refused
    assert "99 of 100" in promised.wrong.refused
    audited.answer(plan.ids[99:])
    assert not guarantee.of_run(audited.run).refused


def test_an_answer_that_is_changed_afterwards_is_noticed(audited: Audited) -> None:
    plan = complete(audited, answers=100)
    victim = next(i for i in plan.ids if not audited.is_wrong(i))
    decisions = audited.decisions()
    changed = decisions.add(victim, "wrong", by=by_whom("w"))
    refused = guarantee.of_run(audited.run, decisions).refused
    assert victim in refused and "changed after the audit was complete" in refused
    # taken back: what was counted holds again
    decisions.undo_one(changed.seq, "w")
    assert not guarantee.of_run(audited.run, decisions).refused
    # to name what is right changes no answer
    other = next(i for i in plan.ids if audited.is_wrong(i))
    decisions.add(other, "none", by=by_whom("v"))
    assert not guarantee.of_run(audited.run, decisions).refused
    # the answer itself taken back
    first = next(d for d, _ in decisions.history(1000) if d.sample_id == plan.ids[5])
    decisions.undo_one(first.seq, "w")
    assert plan.ids[5] in guarantee.of_run(audited.run, decisions).refused


def test_scores_that_changed_since_are_noticed(audited: Audited) -> None:
    from labelsieve import tables
    from labelsieve.runs.run import Run, run_folder

    complete(audited, answers=100)
    table = audited.run.scores
    column = table.column_names.index("p_clean")
    flipped = table.set_column(column, "p_clean", [1 - table["p_clean"].to_numpy()])
    tables.write_parquet(flipped, audited.folder / "scores.parquet")
    # as a scan with --force would: its checksums are those of the new scores
    run_folder(audited.folder).finish({})
    promised = guarantee.of_run(Run(audited.folder))
    assert (
        "the scores of this run changed after the audit was begun" in promised.refused
    )
    assert "labelsieve audit" in promised.refused


def test_a_list_of_images_that_was_changed_is_noticed(audited: Audited) -> None:
    complete(audited, answers=100)
    path = audited.folder / "audit.json"
    content = json.loads(path.read_text())
    chosen = [i for i in audited.truth if audited.is_wrong(i)][:100]
    plain = {**content["audits"][0], "ids": chosen}
    del plain["digest"]
    # with a checksum that fits, as anybody can make
    content["audits"] = [{**plain, "digest": design.fingerprint(plain)}]
    path.write_text(json.dumps(content))
    refused = guarantee.of_run(audited.run).refused
    assert "not the random sample that its seed draws" in refused


def test_images_that_the_run_does_not_have_are_no_part_of_the_sample(
    audited: Audited,
) -> None:
    """Row -1 would be the last image of the run: somebody else's answer in its place."""
    complete(audited, answers=100)
    path = audited.folder / "audit.json"
    content = json.loads(path.read_text())
    plain = content["audits"][0]
    kept = plain["ids"][:99]
    plain["ids"] = [*kept[:50], "gone.png#abc", *kept[50:]]
    del plain["digest"]
    content["audits"] = [{**plain, "digest": design.fingerprint(plain)}]
    path.write_text(json.dumps(content))
    (audit,) = guarantee.of_run(audited.run).audits
    assert audit.refused
    ids = audit.population.ids.to_pylist()
    assert [ids[row] for row in audit.sample] == kept and audit.sample.min() >= 0
    # answers that did not come this way
    strange = design.Answers({kept[0]: True, "gone.png#abc": True})
    found = guarantee.Audit(audit.design, audit.population, strange, "", "")
    with pytest.raises(RunError, match=r"'gone\.png#abc'"):
        found.certify("wrong", 0.1)


def test_answers_given_before_the_audit_are_no_part_of_it(audited: Audited) -> None:
    worst = audited.run.scores["sample_id"].to_pylist()[:50]
    audited.answer(worst)
    plan = complete(audited, answers=100)
    assert not set(worst).intersection(plan.ids)
    promised = guarantee.of_run(audited.run)
    assert not set(worst).intersection(promised.wrong.ids)


def test_who_cannot_tell_counts_against_the_promise(audited: Audited) -> None:
    decisions = audited.decisions()
    plan = design.commit(audited.run, decisions, Wish(answers=200))
    wrong = [i for i in plan.ids if audited.is_wrong(i)]
    audited.answer([i for i in plan.ids if i not in wrong])
    for sample_id in wrong:
        decisions.add(sample_id, "skip")
    promised = guarantee.of_run(audited.run, decisions)
    # as right labels where wrong ones are listed, as wrong ones where right ones are
    (audit,) = promised.audits
    assert audit.answers.unclear == len(wrong) > 20
    assert promised.wrong.empty and not audit.flags(unclear=False).any()
    assert audit.flags(unclear=True).sum() == len(wrong)
    # nobody knows of a wrong label: the rate is that of the others
    assert promised.rate is not None and promised.rate.judged == 200 - len(wrong)


def test_an_empty_list_says_why(audited_run: Callable[..., Audited]) -> None:
    audited = audited_run(rate=0.03)
    complete(audited, answers=40)
    found = guarantee.of_run(audited.run).wrong
    assert (
        not found.ids
        and "No list of wrong labels can be promised at 10 %" in found.empty
    )
    assert "There are 40 answers, and about" in found.empty
    assert "--for list" in found.empty


def test_corrections_need_names(audited: Audited) -> None:
    complete(audited, answers=200, name=False)
    promised = guarantee.of_run(audited.run)
    assert promised.wrong.ids and not promised.corrections.ids
    assert "Nobody said what the wrong labels should be" in promised.corrections.empty


def test_a_slice_serves_lists_and_nothing_else(audited: Audited) -> None:
    plan = complete(audited, goal="list", answers=150)
    assert 0 < plan.first < 2000
    promised = guarantee.of_run(audited.run)
    assert promised.wrong.ids and "the " in promised.wrong.sentence
    assert f"{plan.first:,} most suspicious" in promised.wrong.sentence
    assert "drawn for something else" in promised.clean.refused
    assert promised.rate is None


def test_strata_serve_the_rate(audited: Audited) -> None:
    complete(audited, goal="rate", answers=200)
    promised = guarantee.of_run(audited.run)
    truth = np.mean([audited.is_wrong(i) for i in audited.truth])
    assert promised.rate is not None and promised.rate.method == "stratified"
    assert promised.rate.low <= truth <= promised.rate.high
    assert "drawn for something else" in promised.wrong.refused


def test_a_level_chosen_afterwards_is_told(audited: Audited) -> None:
    complete(audited, answers=200)
    promised = guarantee.of_run(audited.run)
    told = promised.certificate("wrong", 0.2).sentence
    assert "20 % was chosen after the answers" in told and "10 %" in told
    assert "chosen after" not in promised.wrong.sentence


def test_a_second_audit_says_that_it_is_one(audited: Audited) -> None:
    first = complete(audited, answers=100)
    second = complete(audited, answers=100)
    assert second.number == 2 and not set(first.ids).intersection(second.ids)
    told = guarantee.of_run(audited.run).wrong.sentence
    assert "This is audit 2 of this run" in told and "20 %" in told


def test_second_answers_tell_how_often_people_err(audited: Audited) -> None:
    plan = complete(audited, answers=100)
    assert guarantee.of_run(audited.run).people == ""
    decisions = audited.decisions()
    for number, sample_id in enumerate(plan.ids[:40]):
        # who errs about every tenth
        wrong = audited.is_wrong(sample_id) != (number % 10 == 0)
        decisions.add(sample_id, "wrong" if wrong else "keep", by=by_whom("w", "Ann"))
    promised = guarantee.of_run(audited.run, decisions)
    assert not promised.refused  # the first answers stand
    assert "Two people disagreed about 4 of 40 items" in promised.people
    assert "5.3 %" in promised.people
    assert promised.people in promised.sentences


def test_classes_and_confusions_have_intervals(audited: Audited) -> None:
    complete(audited, answers=300)
    promised = guarantee.of_run(audited.run)
    assert [row["name"] for row in promised.per_class] == ["cat", "dog", "owl"]
    for row in promised.per_class + promised.confusions:
        assert row["low"] < row["rate"] < row["high"]
    assert {row["given"] for row in promised.confusions} == {"cat", "dog", "owl"}


def test_links_and_damage_are_refused(audited: Audited) -> None:
    complete(audited, answers=20)
    path = audited.folder / "audit.json"
    text = path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 7'))
    with pytest.raises(RunError, match="its checksum does not match"):
        guarantee.of_run(audited.run)
    path.write_text('{"format": 1, "audits": 3}')
    with pytest.raises(RunError, match="lists no audits"):
        guarantee.of_run(audited.run)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(RunError, match="a link"):
        guarantee.of_run(audited.run)


def test_audits_of_earlier_versions_give_a_rate_and_no_promise(
    audited: Audited,
) -> None:
    from labelsieve.runs.audit import order

    ids = order(audited.run.scores["sample_id"].to_pylist())[:120]
    audited.answer(ids)
    promised = guarantee.of_run(audited.run)
    truth = np.mean([audited.is_wrong(i) for i in audited.truth])
    assert promised.rate is not None and promised.rate.judged == 120
    assert promised.rate.low <= truth <= promised.rate.high
    assert "no random audit was begun" in promised.wrong.refused
    assert len(promised.sentences) == 2
