from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.audited import Audited

from labelsieve.audits import design, exchange, guarantee
from labelsieve.audits.design import Wish
from labelsieve.errors import DataError, OptionError


def filled(audited: Audited, path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The exported questions, with true answers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        wrong = audited.is_wrong(row["sample_id"])
        row["answer"] = "wrong" if wrong else "right"
        row["right_label"] = audited.truth[row["sample_id"]] if wrong else ""
    write(rows, path, delimiter)
    return rows


def write(rows: list[dict[str, str]], path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def questions(audited: Audited, tmp_path: Path) -> Path:
    design.commit(audited.run, None, Wish(answers=40))
    path = tmp_path / "audit.csv"
    assert exchange.write(audited.run, path) == 40
    return path


def test_an_image_that_the_run_does_not_have_is_not_asked_about(
    audited: Audited, questions: Path, tmp_path: Path
) -> None:
    path = audited.run.folder / design.NAME
    (plan,) = design.ledger(audited.run)
    strange = replace(plan, ids=("gone", *plan.ids[1:]))
    content = {"format": design.FORMAT, "audits": [strange.as_dict()]}
    path.write_text(json.dumps(content))
    target = tmp_path / "other.csv"
    exchange.write(audited.run, target)
    with target.open(encoding="utf-8-sig", newline="") as file:
        asked = [row["sample_id"] for row in csv.DictReader(file)]
    assert asked == list(plan.ids[1:])


def test_answers_that_were_not_imported_are_not_written_over(
    audited: Audited, questions: Path
) -> None:
    assert exchange.write(audited.run, questions) == 40  # nobody has answered yet
    filled(audited, questions)
    content = questions.read_bytes()
    with pytest.raises(OptionError, match="not imported"):
        exchange.write(audited.run, questions)
    assert questions.read_bytes() == content
    exchange.read(audited.run, questions, "Ann")
    assert exchange.write(audited.run, questions) == 40
    questions.write_text("my letter\n")
    with pytest.raises(OptionError, match="exists already"):
        exchange.write(audited.run, questions)
    assert questions.read_text() == "my letter\n"
    # what no reader takes: nobody knows what is lost with it
    questions.write_bytes(content + b"x" * 200_000)
    with pytest.raises(OptionError, match="not imported"):
        exchange.write(audited.run, questions)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_out_and_in_again(audited: Audited, questions: Path, delimiter: str) -> None:
    plan = design.current(audited.run)
    rows = filled(audited, questions, delimiter)
    assert plan is not None and [row["sample_id"] for row in rows] == list(plan.ids)
    assert float(rows[0]["chance"]) == 40 / 2000
    assert exchange.read(audited.run, questions, "Ann") == 40
    (audit,) = guarantee.of_run(audited.run).audits
    assert not audit.refused
    assert all(audit.answers.wrong[i] == audited.is_wrong(i) for i in plan.ids)
    assert all(audit.answers.named[i] == audited.truth[i] for i in audit.answers.named)
    # the same file again says nothing new; another person's answers are second ones
    assert exchange.read(audited.run, questions, "Ann") == 0
    assert exchange.read(audited.run, questions, "Bob") == 40
    (audit,) = guarantee.of_run(audited.run).audits
    assert len(audit.answers.second) == 40 and not audit.refused
    # another answer of the first person would void what was promised
    rows[0]["answer"] = "unclear"
    rows[0]["right_label"] = ""
    write(rows, questions, delimiter)
    with pytest.raises(DataError, match="line 2: Ann answered about"):
        exchange.read(audited.run, questions, "Ann")
    assert not guarantee.of_run(audited.run).refused
    # what is known is in the next export; the refused answers stay where they are
    following = questions.with_name("following.csv")
    exchange.write(audited.run, following)
    with following.open(encoding="utf-8-sig") as file:
        assert {row["answer"] for row in csv.DictReader(file)} == {"right", "wrong"}


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("answer", "maybe", "line 3: Answer 'maybe' is unknown"),
        ("sample_id", "elsewhere.png", "line 3: the audit does not ask about"),
        ("right_label", "horse", "line 3: Class 'horse'"),
    ],
)
def test_rows_that_cannot_be_are_named_and_nothing_is_written(
    audited: Audited, questions: Path, column: str, value: str, told: str
) -> None:
    rows = filled(audited, questions)
    rows[1][column] = value
    write(rows, questions)
    with pytest.raises(DataError, match=told):
        exchange.read(audited.run, questions, "Ann")
    assert not audited.decisions().all_current()


def test_files_that_are_no_answers(audited: Audited, questions: Path) -> None:
    with pytest.raises(OptionError, match="Whose answers"):
        exchange.read(audited.run, questions, " ")
    rows = filled(audited, questions)
    write([*rows, rows[0]], questions)
    with pytest.raises(DataError, match=r"line 42: .* was answered in line 2"):
        exchange.read(audited.run, questions, "Ann")
    questions.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column 'sample_id'"):
        exchange.read(audited.run, questions, "Ann")
    questions.write_bytes(b"sample_id,answer\n\xff\xfe\x00,right\n")
    with pytest.raises(DataError, match="no CSV in UTF-8"):
        exchange.read(audited.run, questions, "Ann")
    with pytest.raises(DataError, match="is not there"):
        exchange.read(audited.run, questions.with_name("gone.csv"), "Ann")


def test_there_must_be_an_audit(audited: Audited, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No audit was begun"):
        exchange.write(audited.run, tmp_path / "a.csv")


def test_empty_answers_are_still_to_come(audited: Audited, questions: Path) -> None:
    rows = filled(audited, questions)
    for row in rows[:30]:
        row["answer"] = row["right_label"] = ""
    write(rows, questions)
    assert exchange.read(audited.run, questions, "Ann") == 10
    assert "10 of 40 answers" in guarantee.of_run(audited.run).refused


@pytest.mark.parametrize(
    "cell", ["=HYPERLINK(1)", "-1", "'x", "''", "@a", "\tb", "it's"]
)
def test_formulas_are_stopped_and_read_as_they_were(cell: str) -> None:
    (marked,) = exchange._without_formulas((cell,))
    assert marked[0] not in "=-@\t" and exchange._as_it_was(marked) == cell


def test_an_apostrophe_of_a_person_stays() -> None:
    assert exchange._as_it_was("'tis") == "'tis"
