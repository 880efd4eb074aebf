"""Audits are committed before their first answer: what is drawn, from what, and for which promise.

`audit.json` of a run folder lists them, the latest last. A design holds everything that decides a
promise but the answers: seed, slice, digest of the scores, the drawn images with their chances, the
targets, and the number of the last decision before it. Images decided by then belong to no audit:
who decided about them chose them, so they are no sample, and they may have taught the ranking. What
is read again is drawn again and compared, so that a list that was changed is noticed.

A further audit is begun when the last one is complete, or when the scores it was made for are gone;
not in between, since whoever draws again after looking ends with the sample that suits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa

from labelsieve.audits.answers import Answers, replay
from labelsieve.audits.population import Population, digest_of
from labelsieve.errors import OptionError, RunError
from labelsieve.estimation.audits import selection, stop_rule
from labelsieve.files import fingerprint, locked, read_json, readable, write_json
from labelsieve.runs.decisions import Decision, Decisions
from labelsieve.runs.run import Run
from labelsieve.settings import AtLeast, BoundedOptions, OneOf, Share

NAME = "audit.json"
FORMAT = 1  # of that file
GOALS = ("any", "list", "rate")
# What a person answers in half an hour; of millions, a review may end at 1 % from 299 on.
MOST = 300
# Of fewer labels as many tell the same: with this number, corrected for a finite population, a
# review of 100, 200, 300, … labels may end at 1 %, too (tests compare it with the stop rule).
OF_MANY = 340
EVERYTHING = 1_000_000_000  # rows of a history


@dataclass(frozen=True)
class Wish(BoundedOptions):
    """What an audit is for.

    Attributes:
        goal: "any": drawn from all labels, for every promise; "list": from the most suspicious
            alone, for lists of wrong labels; "rate": from strata, for the share of wrong labels.
        answers: how many images are asked about; None: as many as their number calls for.
        seed: of the draw.
        max_false_alarms: share of right labels in a list of wrong ones.
        max_wrong: share of wrong labels in a clean part.
        target_error: share of wrong labels that may remain after a review.
        confidence: of the stop rule.

    Raises:
        OptionError: a value that cannot be.
    """

    goal: Annotated[str, OneOf(GOALS)] = "any"
    answers: Annotated[int | None, AtLeast(1)] = None
    seed: int = 0
    max_false_alarms: Annotated[float, Share()] = 0.1
    max_wrong: Annotated[float, Share()] = 0.01
    target_error: Annotated[float, Share()] = 0.01
    confidence: Annotated[float, Share()] = 0.95


@dataclass(frozen=True)
class Design:
    """One audit as it was committed.

    Attributes:
        number: of the audits of this run, from 1.
        wish: what it is for.
        first: it is drawn from so many of the most suspicious labels; 0: from all.
        population: labels that it was drawn from.
        after: number of the last decision before it.
        scores: digest of what the scan found.
        ids: drawn images, in the order in which they are asked about.
        chances: of each to be drawn; for means of your own, divide by it.
        begun: time, ISO 8601.
    """

    number: int
    wish: Wish
    first: int
    population: int
    after: int
    scores: str
    ids: tuple[str, ...]
    chances: tuple[float, ...]
    begun: str

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, with its checksum."""
        # twice through JSON: tuples are lists when they are read again
        plain = json.loads(json.dumps(asdict(self)))
        return {**plain, "digest": fingerprint(plain)}


def ledger(opened: Run) -> list[Design]:
    """All audits of a run, oldest first; none where none was begun.

    Raises:
        RunError: audit.json is damaged, or is not what was committed.
    """
    path = opened.folder / NAME
    if not path.exists():
        return []
    content = _regular(path)
    # of a later version: what it means is not known here
    if content.get("format") != FORMAT:
        raise _damaged(path, f"its format is not {FORMAT}")
    audits = content.get("audits")
    if not isinstance(audits, list):
        raise _damaged(path, "it lists no audits")
    return [_read(path, content) for content in audits]


def version(opened: Run) -> tuple[int, int] | None:
    """Changes whenever an audit is begun; None where there is no audit. Costs next to nothing."""
    try:
        found = (opened.folder / NAME).lstat()
    except OSError:
        return None
    # every write makes a new file
    return found.st_ino, found.st_mtime_ns


def _regular(path: Path) -> dict[str, Any]:
    # run folders come from strangers: a link may lead to any file of the user's
    if path.is_symlink() or not path.is_file():
        raise _damaged(path, "it is a link, or not a regular file")
    return read_json(path)


def _damaged(path: Path, why: str) -> RunError:
    return RunError(
        f"'{readable(path)}' is not what was committed: {why}.",
        "Restore it from a copy. Without it, nothing can be promised from those answers.",
    )


def _read(path: Path, content: Any) -> Design:
    if not isinstance(content, dict):
        raise _damaged(path, "an audit is not an object")
    # the checksum is of everything else
    plain = {name: value for name, value in content.items() if name != "digest"}
    if content.get("digest") != fingerprint(plain):
        raise _damaged(path, "its checksum does not match")
    try:
        known = {each.name: plain[each.name] for each in fields(Design)}
        known["wish"] = Wish(**known["wish"])
        known["ids"] = tuple(map(str, known["ids"]))
        known["chances"] = tuple(map(float, known["chances"]))
        design = Design(**known)
    # anybody can make a checksum
    except (KeyError, TypeError, ValueError, OptionError) as error:
        raise _damaged(path, "a field is missing or of another kind") from error
    counts = (design.number, design.first, design.population, design.after)
    whole = all(type(count) is int and count >= 0 for count in counts)
    if not whole or len(design.ids) != len(design.chances):
        raise _damaged(path, "a field is missing or of another kind")
    return design


def current(opened: Run) -> Design | None:
    """The latest audit of a run; None where none was begun. Raises as `ledger`."""
    audits = ledger(opened)
    return audits[-1] if audits else None


def commit(opened: Run, decisions: Decisions | None, wish: Wish) -> Design:
    """Begin an audit: draw it, and write it down.

    Raises:
        OptionError: one is unfinished, or nothing is left to ask about.
        RunError: the run is not finished, or its audits are damaged.
    """
    opened.require_finished()
    with locked(opened.folder / NAME, f"the audits of '{readable(opened.folder)}'"):
        audits = ledger(opened)
        # earlier ones stay in the file: how many there were is part of every promise
        if audits:
            _refuse_unfinished(opened, audits[-1], decisions)
        design = draw(opened, history(decisions), wish, len(audits) + 1)
        audits.append(design)
        _write(opened, audits)
    return design


def _write(opened: Run, audits: list[Design]) -> None:
    content = {"format": FORMAT, "audits": [each.as_dict() for each in audits]}
    write_json(opened.folder / NAME, content, private=True)


def abandon(opened: Run, decisions: Decisions | None) -> Design:
    """Take the latest audit back, as if it had never been begun.

    Nothing is chosen by it as long as nobody answered: an answer that was undone counts, too.

    Raises:
        OptionError: none was begun, or somebody answered.
        RunError: audits are damaged.
    """
    with locked(opened.folder / NAME, f"the audits of '{readable(opened.folder)}'"):
        audits = ledger(opened)
        if not audits:
            raise OptionError("No audit was begun.", "Begin one with labelsieve audit.")
        last = audits.pop()
        said = {row.sample_id for row in history(decisions) if row.seq > last.after}
        if not said.isdisjoint(last.ids):
            raise OptionError(
                f"Audit {last.number} has answers already, and is not taken back: whoever "
                "draws again after looking ends with the sample that suits.",
                "Answer the rest on the page Audit of labelsieve review.",
            )
        _write(opened, audits)
    return last


def _refuse_unfinished(opened: Run, last: Design, decisions: Decisions | None) -> None:
    # answers about other scores will never be complete in a way that promises anything
    if last.scores != digest_of(opened):
        return
    rows = history(decisions)
    population = Population.of(opened, decided(rows, last.after))
    answers = answers_of(last, population, rows)
    if answers.complete_at is None:
        raise OptionError(
            f"Audit {last.number} is unfinished: {len(answers.wrong)} of {len(last.ids)} "
            "answers are in. Another one may begin when it is complete; whoever draws "
            "again after looking ends with the sample that suits.",
            "Answer the rest on the page Audit of labelsieve review."
            if answers.wrong
            else "Nobody answered yet: labelsieve audit RUN --abandon takes it back.",
        )


def history(decisions: Decisions | None) -> list[Decision]:
    """All rows, oldest first."""
    if decisions is None:
        return []
    return [row for row, _ in reversed(decisions.history(EVERYTHING))]


def decided(rows: Iterable[Decision], after: int) -> set[str]:
    """Ids that anything was said about up to row number `after`."""
    return {row.sample_id for row in rows if row.seq <= after}


def usual_answers(size: int) -> int:
    """How many images are asked about, of `size`, where nobody says: 300 of many, 160 of 300.

    Source: the finite population correction, n / (1 + (n - 1) / N) (Cochran, Sampling
    Techniques, 1977, equation 4.2).
    """
    needed = OF_MANY / (1 + (OF_MANY - 1) / max(size, 1))
    return min(MOST, size, math.ceil(needed))


def draw(opened: Run, rows: list[Decision], wish: Wish, number: int) -> Design:
    """The audit that a wish leads to, not written down."""
    after = rows[-1].seq if rows else 0
    population = Population.of(opened, decided(rows, after))
    size = int(population.open.sum())
    if not size:
        raise OptionError(
            "Every label of this run is decided: there is nothing left to draw from."
        )
    return _drawn(population, wish, (number, after))


def _drawn(population: Population, wish: Wish, place: tuple[int, int]) -> Design:
    number, after = place
    size = int(population.open.sum())
    wish = _with_number(wish, size)
    answers = min(wish.answers or 0, size)
    # the number is part of it: a further audit asks about others
    seed = f"{wish.seed}\n{number}"
    first = population.slice_for(answers) if wish.goal == "list" else 0
    drawn_from = first or size
    if wish.goal == "rate":
        rows, chances = population.draw_strata(answers, seed)
    else:
        rows = population.draw(first, answers, seed)
        chances = [answers / drawn_from] * answers  # type: ignore[assignment]
    return Design(
        number,
        wish,
        first,
        drawn_from,
        after,
        population.digest,
        tuple(population.ids.take(rows).to_pylist()),
        tuple(float(chance) for chance in chances),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _with_number(wish: Wish, size: int) -> Wish:
    """The wish with the number of answers that it stands for, which is what is committed."""
    number = wish.answers or usual_answers(size)
    return replace(wish, answers=number)


def check(design: Design, population: Population) -> str:
    """Why an audit is not the one that its seed draws from these scores; empty where it is."""
    if design.scores != population.digest:
        return (
            "the scores of this run changed after the audit was begun: the list that "
            "it was drawn for is another one"
        )
    again = _drawn(population, design.wish, (design.number, design.after))
    # compared but for the time
    if asdict(again) != {**asdict(design), "begun": again.begun}:
        return (
            "the audit is not the random sample that its seed draws: its list of images "
            "was changed, or decisions that came before it were"
        )
    return ""


def answers_of(
    design: Design, population: Population, rows: Iterable[Decision]
) -> Answers:
    """The answers to an audit so far.

    Args:
        rows: the history, oldest first.
    """
    at = population.at.rows(design.ids)
    # an image that the run no longer has is no longer asked about; `check` says what happened
    known = [i for i, row in zip(design.ids, at, strict=True) if row >= 0]
    labels = population.scored["given_label"].take(pa.array(at[at >= 0])).to_pylist()
    given = dict(zip(known, labels, strict=True))
    return replay(tuple(known), rows, design.after, given)


def suggest(opened: Run, decisions: Decisions | None, wish: Wish) -> str:
    """How many answers a wish needs, by the scan's own probabilities: a plan, no promise."""
    rows = history(decisions)
    after = rows[-1].seq if rows else 0
    # as a draw would find it now
    population = Population.of(opened, decided(rows, after))
    size = int(population.open.sum())
    answers = wish.answers or usual_answers(size)
    parts = [f"{answers:,} answers."]
    if wish.goal != "rate":
        first = population.slice_for(answers) if wish.goal == "list" else 0
        p_clean = 1 - population.p_wrong[population.rows(first)]
        needed = selection.answers_needed(_running_mean(p_clean), wish.max_false_alarms)
        parts.append(_needed("a list of wrong labels", needed, wish.max_false_alarms))
    if wish.goal == "any":
        # a clean part is a list from the other end
        right_first = population.p_wrong[population.rows(0)][::-1]
        needed = selection.answers_needed(_running_mean(right_first), wish.max_wrong)
        parts.append(_needed("a clean part", needed, wish.max_wrong))
        may_remain = int(wish.target_error * len(population.ids))
        least = stop_rule.answers_needed(size, may_remain, 1 - wish.confidence)
        parts.append(_needed("an end of the review", least, wish.target_error))
    return " ".join(parts)


def _running_mean(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.cumsum(values) / np.arange(1, len(values) + 1)
    return result


def _needed(what: str, answers: int | None, level: float) -> str:
    if answers is None:
        return f"By the scan's scores no audit gives {what} at {100 * level:.3g} %."
    return f"By the scan's scores about {answers:,} are needed for {what} at {100 * level:.3g} %."
