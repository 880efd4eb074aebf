"""What the answers of a run promise: lists of wrong labels, corrections, a clean part.

The mathematics is in `labelsieve.estimation.audits.selection`. What counts for a promise is kept
apart structurally: the scores are those of the scan, whose digest was written down before the first
answer, and the answers are those of the drawn images, none of which had a decision before. So what
the ranking of a review has learned from answers never comes near a promise.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from labelsieve.audits import design as designs
from labelsieve.audits import words
from labelsieve.audits.answers import Answers
from labelsieve.audits.design import Design
from labelsieve.audits.population import Population
from labelsieve.data.labels import SET
from labelsieve.errors import RunError
from labelsieve.estimation.audits import shares
from labelsieve.estimation.audits.selection import Selection, Share, select
from labelsieve.estimation.audits.shares import Rate
from labelsieve.runs import audit as earlier_audit
from labelsieve.runs.decisions import Decision, Decisions, open_decisions
from labelsieve.runs.run import Run

WRONG = "wrong"
CORRECTIONS = "corrections"
CLEAN = "clean"
# Goals of audits that serve a promise, the best first.
SERVES = {
    WRONG: ("list", "any"),
    CORRECTIONS: ("list", "any"),
    CLEAN: ("any",),
    "rate": ("rate", "any"),
    "stop": ("any",),
}
Rows: TypeAlias = Sequence[Decision]  # of the history, oldest first
# Pairs of answers with which the error rate of people says anything: ±25 points at worst.
PAIRS = 10


@dataclass(frozen=True)
class Certificate:
    """A list and what is promised about it.

    Attributes:
        kind: "wrong", "corrections" or "clean".
        ids: of labels that nobody judged in the audit, the surest first.
        level: promised share of mistakes.
        expected: estimated share of mistakes, at most `level`.
        tail: share of mistakes beside the end of the list; None where nothing was judged there.
        sentence: the promise with its conditions, or why there is none.
        empty: why the list is empty, and how many answers would help; "" where it is not.
        refused: why nothing is promised at all; "" where it is.
    """

    kind: str
    ids: list[str]
    level: float
    expected: float = 0.0
    tail: Share | None = None
    sentence: str = ""
    empty: str = ""
    refused: str = ""

    def require(self) -> Certificate:
        """This certificate; raises RunError where nothing is promised."""
        if self.refused:
            raise RunError(self.refused)
        return self

    def require_rows(self) -> Certificate:
        """As `require`; raises RunError for an empty list, too."""
        if self.require().empty:
            raise RunError(self.empty)
        return self


@dataclass(frozen=True, eq=False)
class Audit:
    """One audit of a run with its answers, checked.

    Attributes:
        changed: why it is not the one that was committed; "" where it is.
        refused: why it promises nothing; "" where it does.
    """

    design: Design
    population: Population
    answers: Answers
    changed: str
    refused: str

    @classmethod
    def read(cls, opened: Run, design: Design, rows: Rows) -> Audit:
        """The audit `design` of a run with the answers in the history `rows`."""
        population = Population.of(opened, designs.decided(rows, design.after))
        return cls._of(design, population, designs.check(design, population), rows)

    @classmethod
    def _of(
        cls, design: Design, population: Population, changed: str, rows: Rows
    ) -> Audit:
        answers = designs.answers_of(design, population, rows)
        refused = words.changed(changed) if changed else _incomplete(design, answers)
        return cls(design, population, answers, changed, refused)

    def updated(self, rows: Rows) -> Audit:
        """The same audit with the answers in a longer history; what it was drawn from stays."""
        return self._of(self.design, self.population, self.changed, rows)

    def so_far(self) -> Audit:
        """With the answers up to the first question that has none: these are a random sample.

        Answers from the pages of suspects count, too, and of an unfinished audit they would be the
        suspicious part of the draw.
        """
        answered = self.answers.wrong
        first = list(itertools.takewhile(answered.__contains__, self.design.ids))
        kept = {sample_id: answered[sample_id] for sample_id in first}
        return replace(self, answers=replace(self.answers, wrong=kept))

    @cached_property
    def sample(self) -> np.ndarray:
        """[n] rows of the scored labels that were judged, in the order of the draw.

        Raises:
            RunError: an answer to an image that the run has no score of.
        """
        rows: np.ndarray = self.population.at.rows(list(self.answers.wrong))
        # -1 would be taken for the last row
        if len(rows) and rows.min() < 0:
            lost = list(self.answers.wrong)[int(rows.argmin())]
            raise RunError(
                f"The audit has an answer to {lost!r}, which the run has not."
            )
        return rows

    def flags(self, unclear: bool) -> np.ndarray:
        """[n] bool: labels judged wrong; what nobody could tell is `unclear`."""
        answers = self.answers.wrong.values()
        return np.array([unclear if a is None else a for a in answers], dtype=bool)

    def certify(self, kind: str, level: float) -> Certificate:
        """The list of a kind at a level, or why it is empty."""
        rows, scores, null = self._problem(kind)
        # where each label stands among those that may be listed; -1: it may not
        # the score is a probability, of a mistake where the list is one of right labels
        expected = -scores if kind == CLEAN else 1 - scores
        place = np.full(len(self.population.ids), -1)
        place[rows] = np.arange(len(rows))
        asked = place[self.sample]
        inside = asked >= 0
        found = select(scores, asked[inside], null[inside], level, expected)
        return self._certificate(kind, level, rows, found)

    def _certificate(
        self, kind: str, level: float, rows: np.ndarray, found: Selection
    ) -> Certificate:
        ids = self.population.ids.take(pa.array(rows[found.rows])).to_pylist()
        told = words.About(kind, level, self.design, len(rows))
        if not ids:
            named = bool(self.answers.named)
            wrong = sum(map(bool, self.answers.wrong.values()))
            why = words.why_empty(told, found.needed, named, wrong)
            return Certificate(kind, [], level, sentence=why, empty=why)
        sentence = words.promise(told, len(ids), found.tail)
        return Certificate(kind, ids, level, found.expected, found.tail, sentence)

    def _problem(self, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that may be listed, their scores, and which judged labels would be mistakes."""
        population = self.population
        rows = population.rows(self.design.first)
        if kind == CLEAN:
            return rows, -population.p_wrong[rows], self.flags(unclear=True)
        if kind == WRONG:
            return rows, population.p_wrong[rows], ~self.flags(unclear=False)
        # corrections are listed only where the scan suggests one; so it was before the answers
        suggested = np.array(
            population.scored["suggested_label"].to_pylist(), dtype=object
        )
        given = np.array(population.scored["given_label"].to_pylist(), dtype=object)
        named = self.answers.named
        # what nobody named counts as a mistake, also where the suggestion may be right
        right = [named.get(i) for i in self.answers.wrong]
        mistake = np.array(right, dtype=object) != suggested[self.sample]
        has_other = (suggested != given) & (suggested != None)  # noqa: E711
        rows = rows[has_other[rows]]
        return rows, population.scored["suggested_prob"].to_numpy()[rows], mistake

    def rate(self) -> Rate | None:
        """Share of wrong labels among those nobody had decided about; None for a slice."""
        if self.design.wish.goal == "list" or not len(self.sample):
            return None
        rows = self.population.rows(0)
        place = np.full(len(self.population.ids), -1)
        place[rows] = np.arange(len(rows))
        # who cannot tell says nothing here: there is no side to err on
        known = [a is not None for a in self.answers.wrong.values()]
        asked = place[self.sample[known]]
        wrong = self.flags(unclear=False)[known]
        p_wrong = self.population.p_wrong[rows]
        if not len(wrong):
            return None
        if self.design.wish.goal == "rate":
            stratum = self.population.strata(len(self.design.ids))
            return shares.stratified(p_wrong, stratum, asked, wrong)
        return shares.estimate(p_wrong, asked, wrong)

    def people(self) -> str:
        """How often people err, from images that two of them judged; "" with too few."""
        second = self.answers.second.values()
        if len(second) < PAIRS:
            return ""
        differ = sum(first != other for first, other in second)
        return words.people(shares.error_of_people(differ, len(second)))


def _incomplete(design: Design, answers: Answers) -> str:
    # who could see a promise before the end would stop where it suits
    if answers.complete_at is None:
        return words.incomplete(design.number, len(answers.wrong), len(design.ids))
    if answers.edited:
        return words.edited(answers.edited)
    return ""


@dataclass(frozen=True, eq=False)
class Promised:
    """Everything that the audits of a run promise.

    Attributes:
        audits: oldest first.
        refused: why nothing is promised; "" where something is.
        earlier: share of wrong labels from an audit of an earlier version, which promises
            nothing.
    """

    audits: list[Audit] = field(default_factory=list)
    refused: str = ""
    earlier: Rate | None = None

    def updated(self, rows: Rows) -> Promised:
        """The same with the answers in a longer history."""
        return _promised([audit.updated(rows) for audit in self.audits])

    def serving(self, what: str) -> Audit | None:
        """The latest audit that a promise can rest on."""
        # a better suited audit outweighs a later one
        for goal in SERVES[what]:
            for audit in reversed(self.audits):
                if audit.design.wish.goal == goal and not audit.refused:
                    return audit
        return None

    def certificate(self, kind: str, level: float | None = None) -> Certificate:
        """The list of a kind; at the level that was committed to, where none is named."""
        audit = self.serving(kind)
        if audit is None:
            return Certificate(kind, [], level or 0.0, refused=self.why_not(kind))
        wish = audit.design.wish
        # another level is possible; the sentence says that it was chosen afterwards
        committed = wish.max_wrong if kind == CLEAN else wish.max_false_alarms
        return audit.certify(kind, committed if level is None else level)

    def why_not(self, what: str) -> str:
        """Why no audit serves a promise."""
        fitting = [a for a in self.audits if a.design.wish.goal in SERVES[what]]
        if not fitting:
            return self.refused or words.other_goal(what)
        return fitting[-1].refused

    @cached_property
    def wrong(self) -> Certificate:
        """Labels that are wrong, but for a promised share."""
        return self.certificate(WRONG)

    @cached_property
    def corrections(self) -> Certificate:
        """Labels whose suggestion is right, but for a promised share."""
        return self.certificate(CORRECTIONS)

    @cached_property
    def clean(self) -> Certificate:
        """Labels that are right, but for a promised share."""
        return self.certificate(CLEAN)

    @cached_property
    def rate(self) -> Rate | None:
        """Share of wrong labels from the latest complete audit, or one of an earlier version."""
        audit = self.serving("rate")
        return audit.rate() if audit else self.earlier

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """Share of wrong labels of each class with enough answers."""
        audit = self.serving("stop")  # drawn with equal chances from all labels
        # a set that is wrong does not say in which of its classes
        if audit is None or audit.population.opened.kind == SET:
            return []
        given = audit.population.given[audit.sample]
        classes = audit.population.opened.classes
        return shares.per_class(given, audit.flags(unclear=True), classes)

    @cached_property
    def confusions(self) -> list[dict[str, Any]]:
        """How often a label stands for another class."""
        audit = self.serving("stop")
        if audit is None:
            return []
        labels = audit.population.scored["given_label"]
        given = labels.take(pa.array(audit.sample)).to_pylist()
        right = [audit.answers.named.get(i) for i in audit.answers.wrong]
        return shares.confusions(given, right)

    @cached_property
    def people(self) -> str:
        """How often people err, in a sentence; "" without second answers."""
        return self.audits[-1].people() if self.audits else ""

    @cached_property
    def sentences(self) -> list[str]:
        """The share of wrong labels, what is promised, and how often people err."""
        said = [words.rate(self.rate)] if self.rate else []
        if self.refused:
            return [*said, self.refused]
        said += self.promises
        said += words.confusions(self.confusions)
        return [*said, self.people] if self.people else said

    @cached_property
    def promises(self) -> list[str]:
        """What is promised, each in a sentence with its conditions."""
        said = []
        for kind in (WRONG, CORRECTIONS, CLEAN):
            certificate = self.certificate(kind)
            # that an audit for another purpose says nothing about this need not be told
            if certificate.sentence:
                said.append(certificate.sentence)
        return said


def of_run(opened: Run, decisions: Decisions | None = None) -> Promised:
    """What the audits of a run promise; never raises where there is none.

    Args:
        decisions: open ones; None reads those of the run folder.

    Raises:
        RunError: files of the run are damaged.
    """
    found = designs.ledger(opened)
    own = open_decisions(opened) if decisions is None else None
    try:
        if not found:
            earlier = earlier_audit.of_run(opened, decisions or own)
            return Promised([], words.NO_AUDIT, earlier)
        rows = designs.history(decisions or own)
    finally:
        if own is not None:
            own.close()
    return _promised([Audit.read(opened, design, rows) for design in found])


def _promised(audits: list[Audit]) -> Promised:
    refused = audits[-1].refused if all(audit.refused for audit in audits) else ""
    return Promised(audits, refused)
