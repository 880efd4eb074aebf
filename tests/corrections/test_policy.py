from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from fixtures.audited import Audited

from labelsieve import files, progress
from labelsieve.audits import design, guarantee
from labelsieve.corrections.patch import labels_after
from labelsieve.corrections.policy import Policy, plan
from labelsieve.errors import OptionError, RunError
from labelsieve.runs.decisions import Decisions
from labelsieve.runs.run import Run, run_folder


def decide(planted: Any) -> tuple[Decisions, dict[str, str | None]]:
    """One decision of every kind about wrong labels, one keep about a right one.

    And what should come of them.
    """
    decisions = Decisions(planted.folder)
    a, b, c, d, e, *_ = planted.wrong
    decisions.add(a, "accept", planted.truth[a])
    decisions.add(b, "other", planted.truth[b])
    decisions.add(c, "none")
    decisions.add(d, "keep")
    decisions.add(e, "skip")
    decisions.add(next(i for i in planted.given if i not in planted.wrong), "keep")
    return decisions, {a: planted.truth[a], b: planted.truth[b], c: None}


def test_reviewed_takes_decisions_alone(planted: Any) -> None:
    decisions, expected = decide(planted)
    a, b, c = expected
    assert labels_after(plan(planted.run, decisions, Policy())) == {
        a: expected[a],
        b: expected[b],
    }
    assert (
        labels_after(plan(planted.run, decisions, Policy(relabel=True, drop=True)))
        == expected
    )
    assert labels_after(
        plan(planted.run, decisions, Policy(relabel=False, drop=True))
    ) == {
        a: None,
        b: None,
        c: None,
    }
    assert len(plan(planted.run, None, Policy())) == 0


def test_auto_adds_confident_suggestions_that_nobody_contradicted(planted: Any) -> None:
    decisions, expected = decide(planted)
    *_, kept, skipped = planted.wrong[:5]
    alone = labels_after(plan(planted.run, None, Policy("auto", 0.9)))
    assert alone == {i: planted.truth[i] for i in planted.wrong}
    # one suggestion in four was refuted, so the others are believed less
    assert len(plan(planted.run, decisions, Policy("auto", 0.94))) == 2
    found = labels_after(plan(planted.run, decisions, Policy("auto", 0.6)))
    sure = {
        i: planted.truth[i]
        for i in planted.wrong
        if i not in (kept, *[k for k, v in expected.items() if v is None])
    }
    assert found == sure and skipped in found and kept not in found
    assert labels_after(plan(planted.run, decisions, Policy("auto", 0.96))) == {
        k: v for k, v in expected.items() if v
    }


def test_a_decision_for_the_given_label_changes_nothing(planted: Any) -> None:
    decisions = Decisions(planted.folder)
    decisions.add(planted.wrong[0], "other", planted.given[planted.wrong[0]])
    found = plan(planted.run, decisions, Policy("auto", 0.6))
    assert len(found) == len(planted.wrong) - 1


def test_certified_takes_what_an_audit_promises(audited: Audited) -> None:
    with pytest.raises(RunError, match="no random audit was begun"):
        plan(audited.run, None, Policy("certified"))
    asked = design.commit(audited.run, None, design.Wish(answers=300))
    audited.answer(asked.ids)
    decisions = audited.decisions()
    promised = guarantee.of_run(audited.run, decisions)
    relabelled = plan(audited.run, decisions, Policy("certified"))
    reasons = set(relabelled["reason"].to_pylist())
    assert reasons == {"certified: 0.1", "reviewed: other"}
    changed = labels_after(relabelled)
    people = {i for i in asked.ids if audited.is_wrong(i)}
    assert set(changed) == people | set(promised.corrections.ids)
    assert all(changed[i] == audited.truth[i] for i in people)
    right = [changed[i] == audited.truth[i] for i in promised.corrections.ids]
    assert sum(right) / len(right) >= 0.8
    # wrong labels whose right one nobody promises are left out, if that is wanted
    dropped = labels_after(plan(audited.run, decisions, Policy("certified", drop=True)))
    only_wrong = set(promised.wrong.ids) - set(promised.corrections.ids)
    assert {i for i, label in dropped.items() if label is None} == only_wrong
    # a person's word stands above the promise
    kept = promised.corrections.ids[0]
    decisions.add(kept, "keep")
    assert kept not in labels_after(plan(audited.run, decisions, Policy("certified")))


def test_auto_warns_where_nothing_can_be_said(
    planted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.be_quiet(False)
    limit = "The demo model judged these pictures."
    planted.run.record["caveats"] = [limit]
    assert len(plan(planted.run, None, Policy("auto"))) > 0
    assert limit in capsys.readouterr().err
    noise = {**planted.run.noise, "low": 0.0, "high": 0.8}
    files.write_json(planted.folder / "noise.json", noise)
    run_folder(planted.folder).finish({"caveats": [limit]})
    unknown = Run(planted.folder)
    capsys.readouterr()
    plan(unknown, None, Policy("auto"))
    told = " ".join(capsys.readouterr().err.split())
    assert "0.0 to 80.0 %" in told and limit in told and "certified" in told
    # people's word needs no estimate
    decisions, _ = decide(planted)
    assert len(plan(unknown, decisions, Policy())) == 2
    asked = design.commit(unknown, decisions, design.Wish(answers=20))
    for sample_id in asked.ids:
        decisions.add(sample_id, "keep")
    assert len(plan(unknown, decisions, Policy("auto", 0.5))) >= 2


@pytest.mark.parametrize(
    ("options", "words"),
    [(("revewed",), "Did you mean 'reviewed'"), (("auto", 1.5), "between 0 and 1")],
)
def test_wrong_policies_are_refused(options: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Policy(*options)


def test_suggestions_below_the_threshold_are_told(
    planted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.be_quiet(False)
    assert len(plan(planted.run, None, Policy("auto", 1.0))) == 0
    said = capsys.readouterr().err
    assert f"{len(planted.wrong)} suggestions lie below --min-confidence 1;" in said
    # as it is written there, the likeliest one is taken
    best = float(said.split("the likeliest has ")[1].split(". ")[0])
    assert len(plan(planted.run, None, Policy("auto", best))) > 0
    assert "below --min-confidence" not in capsys.readouterr().err


def test_decisions_about_what_has_no_label_are_told(
    planted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.be_quiet(False)
    decisions, expected = decide(planted)
    scores = planted.run.scores.to_pylist()
    first = next(iter(expected))
    for row in scores:
        if row["sample_id"] == first:
            row["given_label"], path = None, row["path"]
    table = pa.Table.from_pylist(scores, schema=planted.run.scores.schema)
    vars(planted.run)["scores"] = table
    assert first not in labels_after(plan(planted.run, decisions, Policy()))
    said = capsys.readouterr().err
    assert "1 decision is left out" in said and f"'{path}'" in said
