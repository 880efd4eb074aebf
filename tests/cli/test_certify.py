from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fixtures.audited import Audited

Call = Callable[..., Any]


@pytest.fixture
def answered(audited: Audited, call: Call) -> Audited:
    """A run with a complete audit, begun on the command line."""
    begun = call("audit", audited.folder, "--answers", 300, "--json")
    assert begun.code == 0, begun.err
    assert begun.json() == {
        "audit": 1,
        "goal": "any",
        "answers": 300,
        "population": 2000,
    }
    from labelsieve.audits.design import current

    plan = current(audited.run)
    assert plan is not None
    audited.answer(plan.ids)
    return audited


def test_an_audit_answered_in_a_table(
    audited: Audited, call: Call, tmp_path: Path
) -> None:
    run, table = audited.folder, tmp_path / "questions.csv"
    begun = call("audit", run, "--answers", 40, "--export", table)
    assert begun.code == 0 and "Audit 1 begun: 40 images" in begun.out
    with table.open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["answer"] = "wrong" if audited.is_wrong(row["sample_id"]) else "right"
    with table.open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert call("audit", run, "--import", table).code == 2  # whose?
    brought = call("audit", run, "--import", table, "--by", "Ann")
    assert brought.code == 0 and "40 new answers" in brought.out
    # the same questions once more, and no second audit
    again = call("audit", run, "--export", table)
    assert again.code == 0 and "Audit 1 was begun before: 40" in again.out
    assert call("certify", run, "--json").json()["empty"].startswith("No list")


def test_lists_on_the_terminal_and_in_files(
    answered: Audited, call: Call, tmp_path: Path
) -> None:
    shown = call("certify", answered.folder, "--max-false-alarms", 0.1)
    assert shown.code == 0 and "at most 10 % are expected to be right" in shown.out
    assert "more (-o FILE writes them)" in shown.out and "chosen after" not in shown.out
    path = tmp_path / "clean.parquet"
    found = call("certify", answered.folder, "--clean", "-o", path, "--json").json()
    table = pq.read_table(path)
    assert table["sample_id"].to_pylist() == found["ids"]
    wrong = [answered.is_wrong(i) for i in found["ids"]]
    assert len(wrong) > 500 and sum(wrong) / len(wrong) <= 0.03
    assert found["level"] == 0.01 and found["expected"] <= 0.01
    changed = call(
        "certify", answered.folder, "--corrections", "-o", tmp_path / "c.csv"
    )
    assert changed.code == 0 and (tmp_path / "c.csv").read_text().count("\n") > 50


def test_how_far_to_review(answered: Audited, call: Call) -> None:
    found = call("certify", answered.folder, "--target-error", 0.01)
    assert found.code == 0 and "Review down to rank" in found.out
    later = call("certify", answered.folder, "--target-error", 0.05, "--json").json()
    assert later["rank"] < 1000 and "chosen after the answers" in later["sentence"]
    assert later["done"] > 0 and not later["reached"]


def test_a_plan_commits_to_nothing(audited: Audited, call: Call) -> None:
    shown = call("audit", audited.folder, "--plan", "--for", "list")
    assert shown.code == 0 and "are needed for a list of wrong labels" in shown.out
    assert not (audited.folder / "audit.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["certify"], "no random audit was begun"),
        (["certify", "--clean", "--corrections"], "give one of them"),
        (["certify", "--max-wrong", "0.1"], "goes with --clean"),
        (["certify", "--clean", "--max-false-alarms", "0.1"], "lists of wrong labels"),
        (["certify", "--target-error", "2"], "between 0 and 1"),
        (["certify", "--target-error", "0.1"], "no random audit was begun"),
        (["audit", "--for", "all"], "Name 'all' is unknown"),
        (["audit", "--answers", "0"], "--answers"),
        (["audit", "--export", "a.csv", "--import", "b.csv"], "two steps"),
        (["audit", "--import", "gone.csv", "--by", "Ann"], "No audit was begun"),
    ],
)
def test_mistakes_are_one_line(
    audited: Audited, call: Call, words: list[str], told: str
) -> None:
    called = call(words[0], audited.folder, *words[1:])
    assert called.code == 2 and told in called.err and called.err.count("\n") == 1
    assert not (audited.folder / "audit.json").exists()


def test_a_second_draw_while_one_is_open_is_refused(
    audited: Audited, call: Call
) -> None:
    assert call("audit", audited.folder, "--answers", 30).code == 0
    again = call("audit", audited.folder, "--answers", 30, "--seed", 4)
    assert again.code == 2 and "0 of 30 answers are in" in again.err
    early = call("certify", audited.folder)
    assert early.code == 2 and "A promise needs all of them" in early.err


def test_lists_are_never_written_over_the_data(
    answered: Audited, call: Call, tmp_path: Path
) -> None:
    odd = call("certify", answered.folder, "-o", tmp_path / "list.txt")
    assert odd.code == 2 and ".csv or .parquet" in odd.err


def test_what_is_promised_is_corrected_exported_and_trained_on(
    planted: Any, call: Call, tmp_path: Path
) -> None:
    """Real pictures, the whole way: forty-eight of them, so the shares are large."""
    run = planted.folder
    refused = call("apply", run, "-o", tmp_path / "no", "--policy", "certified")
    assert refused.code == 2 and "no random audit was begun" in refused.err
    words = ["--answers", 24, "--max-false-alarms", 0.5, "--max-wrong", 0.5]
    assert call("audit", run, *words, "--export", tmp_path / "q.csv").code == 0
    with (tmp_path / "q.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        true = planted.truth[row["sample_id"]]
        wrong = true != row["given_label"]
        row["answer"], row["right_label"] = ("wrong", true) if wrong else ("right", "")
    with (tmp_path / "q.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    brought = call("audit", run, "--import", tmp_path / "q.csv", "--by", "Ann")
    assert brought.code == 0, brought.err
    listed = call("certify", run, "--corrections", "--json").json()["ids"]
    assert listed and all(i in planted.wrong for i in listed)
    people = [r for r in rows if r["answer"] == "wrong"]
    done = call(
        "apply", run, "-o", tmp_path / "out", "--policy", "certified", "--json"
    ).json()
    assert done["relabelled"] == len(people) + len(listed)
    clean = call("certify", run, "--clean", "--json").json()["ids"]
    table = tmp_path / "clean.csv"
    only = ("--only", "certified", "-o", table)
    assert call("export", run, "--to", "csv", *only).code == 0
    with table.open(encoding="utf-8") as file:
        exported = {row["sample_id"] for row in csv.DictReader(file)}
    assert exported == {*clean, *(row["sample_id"] for row in rows)}
    model = tmp_path / "model"
    trained = call(
        "train", run, "--use", "certified", "-o", model, "--set", "epochs=1", "-q"
    )
    assert trained.code == 0, trained.err
    samples = pq.read_table(model / "samples.parquet").to_pylist()
    used = {row["sample_id"] for row in samples if row["weight"] > 0}
    assert used == exported


def test_auto_says_that_it_promises_nothing(
    planted: Any, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("labelsieve.corrections.apply.note", told.append)
    done = call("apply", planted.folder, "-o", tmp_path / "out", "--policy", "auto")
    assert done.code == 0 and "--policy auto promises nothing" in told[0]
    told.clear()
    assert call("apply", planted.folder, "-o", tmp_path / "two").code == 0 and not told
