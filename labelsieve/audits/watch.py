"""An audit while people answer: what is asked next, what holds so far, when the review may stop."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from labelsieve.audits import design as designs
from labelsieve.audits.design import Wish
from labelsieve.audits.guarantee import Audit, of_run
from labelsieve.audits.population import Population
from labelsieve.audits.stopping import Left, Stop, left_of, stop_of
from labelsieve.estimation.audits.shares import Rate
from labelsieve.runs.decisions import WRONG, Decisions, person_of
from labelsieve.runs.run import Run


@dataclass(frozen=True)
class State:
    """An audit so far.

    Attributes:
        answered, planned: images; `unclear` of the answered ones could not be judged.
        rate: share of wrong labels by the answers in the order of the draw, up to the first that
            is lacking; None before there is one, and for slices.
        people: how often people err; "" without second answers.
        sentences: what is promised, once the audit is complete.
        refused: why nothing is promised; "" where something is.
    """

    goal: str
    answered: int
    planned: int
    unclear: int
    complete: bool
    rate: Rate | None
    people: str
    sentences: list[str]
    refused: str
    stop: Stop | None


class Watch:
    """The audits of a run under review. Reads the scores once; then cheap for every answer."""

    def __init__(self, opened: Run, decisions: Decisions) -> None:
        self._opened = opened
        self._decisions = decisions
        self._committed = designs.version(opened)
        self._promised = of_run(opened, decisions)
        self._all = Population.of(opened, ())
        # [M] labels that somebody judged, kept up as answers come in
        self._judged = np.zeros(len(self._all.ids), dtype=bool)
        self._wrong = np.zeros(len(self._all.ids), dtype=bool)
        # the last audit that told a rate, as computing it takes a moment for a million labels
        self._rate: tuple[Audit, Rate | None] | None = None
        self._seen = 0  # number of the last decision that was looked at
        self._refresh()

    def begin(self, wish: Wish | None = None) -> None:
        """Commit an audit. Raises as `labelsieve.audits.design.commit`."""
        designs.commit(self._opened, self._decisions, wish or Wish())
        self._take_audits()

    def _take_audits(self) -> None:
        """Read the audits anew where one was begun, by this process or another."""
        now = designs.version(self._opened)
        if now != self._committed:
            self._promised = of_run(self._opened, self._decisions)
            self._committed = now

    def _refresh(self) -> None:
        """Take in audits and answers that came since, from this process or another."""
        self._take_audits()
        self._seen, changed = self._decisions.since(self._seen)
        if not changed:
            return
        # only these rows: a million others stay as they are
        rows = self._all.at.rows(list(changed))
        verdicts = [d.verdict if d else "skip" for d in changed.values()]
        self._judged[rows[rows >= 0]] = np.array([v != "skip" for v in verdicts])[
            rows >= 0
        ]
        self._wrong[rows[rows >= 0]] = np.isin(verdicts, WRONG)[rows >= 0]
        asked = [
            a
            for a in self._promised.audits
            if not changed.keys().isdisjoint(a.design.ids)
        ]
        if asked:
            self._promised = self._promised.updated(designs.history(self._decisions))

    @property
    def _audit(self) -> Audit | None:
        return self._promised.audits[-1] if self._promised.audits else None

    def next(self, taken: Collection[str] = ()) -> str | None:
        """The next image to ask about; None when the audit is complete.

        An audit of the default kind is begun where none is there.

        Args:
            taken: images that other windows show.
        """
        self._refresh()
        if self._audit is None:
            self.begin()
        for sample_id in self._asked():
            if sample_id not in self._answered() and sample_id not in taken:
                return sample_id
        return None

    def _asked(self) -> tuple[str, ...]:
        return self._audit.design.ids if self._audit else ()

    def _answered(self) -> Collection[str]:
        return self._audit.answers.wrong if self._audit else ()

    def again(self, person: str, taken: Collection[str] = ()) -> str | None:
        """An image of the audit that somebody else answered and nobody answered twice.

        Args:
            person: who is asked, as `person_of` tells.
        """
        self._refresh()
        # two answers are enough to compare
        twice = self._audit.answers.second if self._audit else {}
        for sample_id in self._asked():
            first = self._decisions.current(sample_id)
            # undone since, or nobody could tell
            if first is None or first.verdict == "skip":
                continue
            if sample_id in twice or sample_id in taken:
                continue
            if person_of(first.by) != person:
                return sample_id
        return None

    @property
    def _population(self) -> Population:
        """What is reviewed: the population of the audit that a stop rests on."""
        # before an audit is complete its order holds already
        audit = self._promised.serving("stop") or self._audit
        return audit.population if audit else self._all

    @property
    def queue(self) -> np.ndarray:
        """[m] rows of the scored labels in the committed order of review."""
        return self._population.queue

    def queue_ids(self, count: int) -> list[str]:
        """The first ids of `queue`."""
        rows = pa.array(self.queue[:count])
        ids: list[str] = self._population.ids.take(rows).to_pylist()
        return ids

    def left(self) -> Left | None:
        """What is left to find; None while no complete audit tells."""
        self._refresh()
        audit = self._promised.serving("rate")
        if audit is None:
            earlier = self._promised.rate
            everything = np.ones(len(self._judged), dtype=bool)
            if earlier is None:
                return None
            return left_of(earlier, everything, self._judged, self._wrong)
        if self._rate is None or self._rate[0] is not audit:
            self._rate = audit, audit.rate()
        rate, asked = self._rate[1], audit.population.open
        if rate is None:
            return None
        return left_of(rate, asked, self._judged, self._wrong)

    def state(self) -> State | None:
        """The latest audit so far; None where none was begun."""
        self._refresh()
        audit = self._audit
        if audit is None:
            return None
        complete = audit.answers.complete_at is not None
        rests_on = self._promised.serving("stop")
        goal = audit.design.wish.goal
        return State(
            goal,
            len(audit.answers.wrong),
            len(audit.design.ids),
            audit.answers.unclear,
            complete,
            # strata that nobody has looked at would count as clean
            audit.so_far().rate() if complete or goal == "any" else None,
            audit.people(),
            self._promised.promises if complete and not audit.refused else [],
            audit.refused if complete else "",
            stop_of(rests_on, self._judged) if rests_on else None,
        )
