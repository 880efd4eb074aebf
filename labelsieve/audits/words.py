"""Promises as sentences, each with its conditions; and why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelsieve.audits.design import Design
from labelsieve.estimation.audits.selection import Share
from labelsieve.estimation.audits.shares import Rate
from labelsieve.progress import plain

NO_AUDIT = (
    "Nothing can be promised about this run, as no random audit was begun. Begin one with "
    "labelsieve audit and answer it on the page Audit of labelsieve review."
)
AGAIN = "Begin another audit with labelsieve audit."
CONFUSIONS = 3  # that a sentence holds
MISTAKES = {
    "wrong": "right after all (false alarms)",
    "corrections": "changed to something that is not right",
    "clean": "wrong",
}


@dataclass(frozen=True)
class About:
    """What a sentence is about.

    Attributes:
        rows: how many labels could have been listed or judged.
    """

    kind: str
    level: float
    design: Design
    rows: int

    @property
    def committed(self) -> float:
        """The level that was committed to before the answers."""
        wish = self.design.wish
        return wish.max_wrong if self.kind == "clean" else wish.max_false_alarms


def percent(value: float) -> str:
    """A share as people write it: two digits that count."""
    shown = f"{100 * value:.2g}" if value < 0.0995 else f"{100 * value:.0f}"
    return f"{shown} %"


def promise(about: About, count: int, tail: Share | None) -> str:
    """The promise of a list with `count` labels."""
    # what was asked, and of what it is a sample: without both, a share means nothing
    place = f"all {about.design.population:,} that nobody had decided about"
    if about.design.first:
        place = f"the {about.design.first:,} most suspicious"
    parts = [
        f"Of these {count:,} labels, at most {percent(about.level)} are expected to be "
        f"{MISTAKES[about.kind]}. This rests on {len(about.design.ids):,} answers about labels "
        f"drawn at random from {place}; it is an average over such audits, not a limit for "
        "this one list.",
    ]
    if tail is not None:
        parts.append(_end_of_list(tail))
    parts += _notes(about)
    return " ".join(parts)


def _end_of_list(tail: Share) -> str:
    return (
        f"Towards its end the list gets worse: {tail.counted} of the {tail.of} labels judged "
        "around its last fifth were mistakes "
        f"({percent(tail.low)} to {percent(tail.high)})."
    )


def _notes(about: About) -> list[str]:
    notes = []
    # shares pass through text: equal but for the last digit
    if abs(about.level - about.committed) > 1e-12:
        notes.append(
            f"But {percent(about.level)} was chosen after the answers were in; the promise "
            f"holds for the {percent(about.committed)} that the audit was begun with."
        )
    number = about.design.number
    # a promise may fail with its share in each audit: the first success of many fails oftener
    if number > 1:
        notes.append(
            f"This is audit {number} of this run: if you use whichever audit first gives a "
            f"list, expect up to {percent(number * about.level)}."
        )
    return notes


def why_empty(about: About, needed: int | None, named: bool, wrong: int) -> str:
    """Why there is no list, and what would help.

    Args:
        wrong: labels that were judged wrong.
    """
    what = {
        "wrong": "list of wrong labels",
        "corrections": "list of corrections",
        "clean": "clean part",
    }[about.kind]
    start = f"No {what} can be promised at {percent(about.level)}."
    answers = len(about.design.ids)
    # nothing is left to be promised about
    if not about.design.first and answers == about.design.population:
        return (
            f"{start} There is no need for one: every open label was judged, and {wrong:,} of "
            f"{answers:,} are wrong ({percent(wrong / answers)})."
        )
    if not wrong and about.kind == "corrections":
        return f"{start} None of the {answers:,} judged labels is wrong."
    # answers "wrong" without a name say nothing about suggestions
    if about.kind == "corrections" and not named:
        return (
            f"{start} Nobody said what the wrong labels should be: do so on the page Card, or "
            "leave wrong labels out (--drop)."
        )
    if needed is None:
        return (
            f"{start} Going by the {answers:,} answers, more would not help: the scores do not "
            "tell right from wrong well enough. Try another method or a larger share, or "
            "decide by hand."
        )
    # bad luck: as many might have been enough
    needed = max(needed, answers + 1)
    end = f"There are {answers:,} answers, and about {needed:,} are needed"
    if about.kind != "clean" and not about.design.first:
        end += "; fewer if only the most suspicious are asked about (labelsieve audit --for list)"
    return f"{start} {end}."


def begun(design: Design) -> str:
    """What is to be done now."""
    place = f"{design.population:,} labels that nobody had decided about"
    if design.first:
        place = f"the {design.first:,} most suspicious labels"
    fewer = ""
    if len(design.ids) < (design.wish.answers or 0):
        fewer = f"You asked for {design.wish.answers:,}, but there are no more labels. "
    return (
        f"Audit {design.number} begun: {len(design.ids):,} images, drawn at random from {place}. "
        f"{fewer}"
        "Answer them on the page Audit of labelsieve review, or in the table of "
        "labelsieve audit --export; then labelsieve certify."
    )


def incomplete(number: int, answered: int, planned: int) -> str:
    """An audit that is not answered to its end."""
    return (
        f"{answered:,} of {planned:,} answers of audit {number} are in. A promise needs all of "
        "them, so that nobody stops when the result looks good. Answer the rest on the page "
        "Audit of labelsieve review, or bring them with labelsieve audit --import."
    )


def edited(sample_id: str) -> str:
    """Evidence that was changed."""
    return (
        f"The answer about '{plain(sample_id)}' was changed after the audit was complete and "
        f"its result known, so the audit promises nothing any more. {AGAIN}"
    )


def changed(why: str) -> str:
    """An audit that is not the one that was committed."""
    return f"Nothing is promised: {why}. {AGAIN}"


def other_goal(what: str) -> str:
    """Audits that serve other promises."""
    listed = what in ("wrong", "corrections")
    goals = "--for any or --for list" if listed else "--for any"
    return (
        f"The audits of this run were drawn for something else. Begin one with {goals}."
    )


def rate(found: Rate) -> str:
    """The share of wrong labels."""
    wrong = f"{percent(found.rate)} of the labels are wrong"
    # all were judged: nothing is left to chance
    if found.low == found.high:
        return f"{wrong}: people judged all {found.judged:,} of them."
    return (
        f"{wrong} ({percent(found.low)} to {percent(found.high)} with 95 % confidence; "
        f"{found.judged:,} answers about labels drawn at random, {found.method})."
    )


def confusions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The most frequent confusions that the audit found; none where nobody named what is right."""
    if not rows:
        return []
    parts = []
    for row in rows[:CONFUSIONS]:
        parts.append(
            f"{percent(row['rate'])} of '{plain(row['given'])}' are '{plain(row['right'])}' "
            f"({percent(row['low'])} to {percent(row['high'])})"
        )
    return [f"In the audit, {', '.join(parts)}, each with 95 % confidence."]


def people(found: Share) -> str:
    """How often people err."""
    return (
        f"Two people disagreed about {found.counted} of {found.of} items. If they err "
        f"independently, each is wrong about {percent(found.value)} of the time "
        f"({percent(found.low)} to {percent(found.high)})."
    )


def stop(rank: int | None, size: int, target: float, confidence: float) -> str:
    """When a review may stop."""
    if rank is None:
        return (
            f"This audit is too small to promise that at most {percent(target)} wrong labels "
            "remain, no matter how much is reviewed."
        )
    if rank == 0:
        return (
            f"The review may stop here: at most {percent(target)} of the labels are still "
            f"wrong ({percent(confidence)} sure)."
        )
    return (
        f"Review down to rank {rank:,} of {size:,}, and at most {percent(target)} of the labels "
        f"are still wrong ({percent(confidence)} sure)."
    )


def late_target(target: float, committed: float) -> str:
    """A target that was not committed to."""
    return (
        f"But {percent(target)} was chosen after the answers were in; the promise holds for "
        f"the {percent(committed)} that the audit was begun with."
    )
