"""An audit as a table for people who answer elsewhere: CSV out, answers back in.

One row per drawn image, in the order of the draw: sample_id, path, given_label, chance (of being
drawn: whoever computes means of their own divides by it), answer, right_label. People fill in
`answer` with right, wrong or unclear (or leave it empty), and `right_label` where they know it.
Rows are matched by sample_id; all are written as decisions at once, or none.

The file is for spreadsheets, so an apostrophe stands before what they would run as a formula, and
is taken away again when answers are read.
"""

from __future__ import annotations

import csv
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from labelsieve.audits import design as designs
from labelsieve.audits.guarantee import Audit, of_run
from labelsieve.data.load import refuse_input
from labelsieve.errors import DataError, OptionError, unknown
from labelsieve.files import readable, replacing
from labelsieve.runs.decisions import Answer, Decisions, by_whom, person_of
from labelsieve.runs.pictures import spec_of
from labelsieve.runs.run import Run
from labelsieve.tables import refuse_other

COLUMNS = ("sample_id", "path", "given_label", "chance", "answer", "right_label")
NEEDED = ("sample_id", "answer")
RIGHT = "right"
WRONG = "wrong"
UNCLEAR = "unclear"
# What people write, and what it means.
MEANINGS = {
    "right": RIGHT,
    "yes": RIGHT,
    "y": RIGHT,
    "keep": RIGHT,
    "wrong": WRONG,
    "no": WRONG,
    "n": WRONG,
    "unclear": UNCLEAR,
    "skip": UNCLEAR,
    "?": UNCLEAR,
}
SAID = {True: WRONG, False: RIGHT, None: UNCLEAR}
# What spreadsheets evaluate (OWASP, "CSV injection"), and the apostrophe that stops them, so that
# one that is there twice can be told from none.
FORMULA = re.compile(r"[=+\-@\t\r']")
DELIMITERS = ",;\t"  # spreadsheets write what their country is used to
LARGEST = 64_000_000  # bytes; an audit of a million images has fewer


def write(opened: Run, target: Path) -> int:
    """Write the latest audit as CSV.

    Returns:
        How many images it asks about.

    Raises:
        OptionError: no audit was begun, or `target` is the scanned table, another file, or
            questions that somebody has answered since.
    """
    audit = _latest(opened, None)
    refuse_input(target, spec_of(opened).path())
    refuse_other(target, COLUMNS)
    _refuse_answered(audit, target)
    with replacing(target) as scratch:
        _write(audit, scratch)
    return len(audit.design.ids)


def _refuse_answered(audit: Audit, target: Path) -> None:
    """Raises OptionError where answers lie there that the run does not know: hours of work."""
    if not target.is_file() or not target.stat().st_size:
        return
    known = {(str(row[0]), str(row[4])) for row in _rows(audit)}
    try:
        lost = next(_unknown(target, known), None) is not None
    except csv.Error:  # a program damaged it: nobody knows what it says
        lost = True
    if lost:
        raise OptionError(
            f"'{readable(target)}' holds answers that were not imported.",
            "Import them with --import, or choose another name.",
        )


def _unknown(target: Path, known: set[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """Rows of a file with answers that are not among those known."""
    with target.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            answer = (row.get("answer") or "").strip().lower()
            answer = MEANINGS.get(answer, answer)
            sample_id = _as_it_was(str(row["sample_id"]))
            if answer and (sample_id, answer) not in known:
                yield row


def _write(audit: Audit, path: Path) -> None:
    # the mark lets spreadsheets read UTF-8 as UTF-8
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(_without_formulas, _rows(audit)))


def _without_formulas(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"'{cell}" if FORMULA.match(cell) else cell for cell in row)


def _as_it_was(cell: str) -> str:
    """The inverse of `_without_formulas`; other apostrophes are a person's."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell


def _latest(opened: Run, decisions: Decisions | None) -> Audit:
    audits = of_run(opened, decisions).audits
    if not audits:
        raise OptionError("No audit was begun.", "Begin one with labelsieve audit.")
    return audits[-1]


def _rows(audit: Audit) -> Iterator[tuple[str, ...]]:
    design, answers = audit.design, audit.answers
    at = audit.population.at.rows(list(design.ids))
    scored = audit.population.scored.select(["path", "given_label"])
    for sample_id, chance, row in zip(design.ids, design.chances, at, strict=True):
        # what the run no longer has is not asked about; certificates say what happened
        if row < 0:
            continue
        about = scored.slice(int(row), 1).to_pylist()[0]
        answer = ""
        if sample_id in answers.wrong:
            answer = SAID[answers.wrong[sample_id]]
        yield (
            sample_id,
            about["path"],
            about["given_label"],
            repr(chance),
            answer,
            answers.named.get(sample_id, ""),
        )


def read(opened: Run, source: Path, person: str) -> int:
    """Write the answers of a CSV as decisions of a person.

    Returns:
        How many answers were new.

    Raises:
        DataError: a row that cannot be, named by its line; then nothing is written.
        OptionError: no audit was begun, or the person has no name.
    """
    if not person.strip():
        raise OptionError(
            "Whose answers are these?",
            "Name the person with --by: two people's answers tell how often people err.",
        )
    opened.require_finished()
    decisions = Decisions(opened.folder)
    try:
        audit = _latest(opened, decisions)
        new = list(_new(audit, source, decisions, person))
        by = by_whom("csv", person.strip())
        # the file is read whole before the first answer is written
        decisions.add_many(new, by=by, batch=secrets.token_hex(8))
    finally:
        decisions.close()
    return len(new)


def _new(
    audit: Audit, source: Path, decisions: Decisions, person: str
) -> Iterator[Answer]:
    """Answers of the file that the person has not given yet."""
    # also those without an image: a right label may be one of them
    classes = audit.population.opened.all_classes
    asked = set(audit.design.ids)
    seen: dict[str, int] = {}
    first = _first_answers(audit, decisions)
    for line, row in _lines(source):
        where = f"'{readable(source)}', line {line}"
        sample_id = row["sample_id"]
        if sample_id not in asked:
            raise DataError(f"{where}: the audit does not ask about '{sample_id}'.")
        if sample_id in seen:
            raise DataError(
                f"{where}: '{sample_id}' was answered in line {seen[sample_id]}."
            )
        seen[sample_id] = line
        verdict, label = _verdict(row, where, classes)
        now = decisions.current(sample_id)
        number = now.seq if now else 0
        given_before = now is not None and (now.verdict, now.label) == (verdict, label)
        # the same file may be brought twice
        by_same = now is not None and now.by == by_whom("csv", person.strip())
        by_first = first.get(sample_id) == person.strip()
        if verdict and by_first and audit.answers.complete_at is not None:
            if given_before:
                continue
            raise DataError(
                f"{where}: {person.strip()} answered about '{sample_id}' before, and the audit "
                "is complete: with another answer nothing could be promised from it any more.",
                "Leave the row out; somebody else's answers are welcome (--by).",
            )
        if verdict and not (given_before and by_same):
            yield Answer(sample_id, verdict, label, seen=number)


def _first_answers(audit: Audit, decisions: Decisions) -> dict[str, str]:
    """Who answered first, by sample id."""
    first: dict[str, str] = {}
    for row in designs.history(decisions):
        if row.seq > audit.design.after:
            first.setdefault(row.sample_id, person_of(row.by))
    return first


def _verdict(
    row: Mapping[str, str], where: str, classes: list[str]
) -> tuple[str, str | None]:
    """Verdict ("" where nobody answered) and right label of a row."""
    word = row["answer"].strip().casefold()
    label = row.get("right_label", "")
    if not word:
        return "", None
    if word not in MEANINGS:
        raise DataError(f"{where}: {unknown('Answer', word, (RIGHT, WRONG, UNCLEAR))}")
    meaning = MEANINGS[word]
    if label and label not in classes:
        raise DataError(f"{where}: {unknown('Class', label, classes)}")
    if meaning == WRONG:
        return ("other", label) if label else ("wrong", None)
    if label and label != row.get("given_label", label):
        raise DataError(
            f"{where}: the answer is {meaning}, and the right label is another one."
        )
    return ("keep" if meaning == RIGHT else "skip"), None


def _lines(source: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with the numbers of their lines."""
    if not source.is_file():
        raise DataError(f"'{readable(source)}' is not there, or is no file.")
    if source.stat().st_size > LARGEST:
        raise DataError(
            f"'{readable(source)}' is too large for the answers of an audit."
        )
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            # the one that the header has most of: names of columns hold none
            header = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=header.count)
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            _check_header(reader.fieldnames or (), source)
            for row in reader:
                yield (
                    reader.line_num,
                    {k: _as_it_was(v or "") for k, v in row.items() if k},
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"'{readable(source)}' is no CSV in UTF-8: {error}.") from error


def _check_header(names: Sequence[str], source: Path) -> None:
    for name in NEEDED:
        if name not in names:
            raise DataError(
                f"'{readable(source)}' has no column '{name}'.",
                "Fill in the file that labelsieve audit --export wrote.",
            )
