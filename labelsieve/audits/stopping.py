"""When a review may stop, from a complete audit; see `labelsieve.estimation.audits.stop_rule`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelsieve.audits import words
from labelsieve.audits.guarantee import Audit, Promised
from labelsieve.estimation.audits import stop_rule
from labelsieve.runs.decisions import WRONG, open_decisions
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf


@dataclass(frozen=True)
class Stop:
    """How far a review is, and how far it must go.

    Attributes:
        rank: labels to review, from the start of the queue; None: the audit is too small.
        done: how many of them are decided.
        remaining: upper bound of the share of all labels that are wrong and not found, for
            those who stop now; it holds whenever one stops.
        reached: the target is met.
    """

    sentence: str
    rank: int | None
    done: int
    remaining: float
    target: float
    confidence: float
    reached: bool


def stop_now(
    opened: Run, promised: Promised, target: float | None = None
) -> Stop | None:
    """When the review of a run may stop; None where no audit tells. Arguments as `stop_of`."""
    audit = promised.serving("stop")
    if audit is None:
        return None
    judged = np.zeros(len(audit.population.ids), dtype=bool)
    decisions = open_decisions(opened)
    if decisions is not None:
        current = decisions.all_current()
        decisions.close()
        # who skipped an image has not decided about it
        known = [i for i, d in current.items() if d.verdict != "skip"]
        rows = audit.population.at.rows(known)
        judged[rows[rows >= 0]] = True
    return stop_of(audit, judged, target)


def sentences(opened: Run, promised: Promised) -> list[str]:
    """Everything that the audits of a run say, the end of its review included."""
    said = list(promised.sentences)
    stop = stop_now(opened, promised)
    if stop is not None:
        said.insert(len(said) - bool(promised.people), stop.sentence)
    return said


@dataclass(frozen=True)
class Overall:
    """Share of wrong labels among all scored ones of a run, with its 95 % interval."""

    rate: float
    low: float
    high: float


def overall(opened: Run, promised: Promised) -> Overall | None:
    """The audited share of wrong labels, what was decided outside of the audit included.

    An audit is about the labels that nobody had decided about before; of the others it is known
    which are wrong. None where no complete audit tells.
    """
    found, audit = promised.rate, promised.serving("rate")
    if found is None:
        return None
    bounds = np.array([found.rate, found.low, found.high])
    # one of an earlier version was drawn from all labels
    if audit is not None:
        asked = audit.population.open
        known = _wrong(opened, audit.population.at)
        outside = np.count_nonzero(~asked[known])
        bounds = (bounds * np.count_nonzero(asked) + outside) / len(asked)
    return Overall(*bounds.tolist())


def _wrong(opened: Run, at: RowsOf) -> np.ndarray:
    """Rows of the labels that people found wrong."""
    decisions = open_decisions(opened)
    if decisions is None:
        return np.zeros(0, dtype=np.int64)
    current = decisions.all_current()
    decisions.close()
    rows = at.rows([i for i, d in current.items() if d.verdict in WRONG])
    found: np.ndarray = rows[rows >= 0]
    return found


def stop_of(audit: Audit, judged: np.ndarray, target: float | None = None) -> Stop:
    """When the review of `audit.population.queue` may stop.

    Args:
        audit: complete, drawn with equal chances from all labels.
        judged: [M] bool, scored labels that somebody decided about by now.
        target: share of wrong labels that may remain; None: the one that was committed to.
    """
    wish = audit.design.wish
    queue = audit.population.queue
    labels = len(judged)
    wanted = wish.target_error if target is None else target
    alpha = 1 - wish.confidence
    # of the judged labels, how far from the start each wrong one lies
    places = _hits(audit, queue)
    rank = _rank(audit, places, int(wanted * labels), alpha)
    done = judged[queue]
    # the start of the order that is decided without a gap
    prefix = len(queue) if done.all() else int(np.argmin(done))
    beyond = int((places >= prefix).sum())
    left = stop_rule.remaining(len(queue), len(audit.sample), beyond, alpha)
    # no more can remain than nobody has decided about
    left = min(left + audit.answers.unclear, int((~done).sum()))
    # None takes all: then everything is to be reviewed
    reviewed = int(done[:rank].sum())
    sentence = words.stop(rank, len(queue), wanted, wish.confidence)
    if abs(wanted - wish.target_error) > 1e-12:
        sentence += " " + words.late_target(wanted, wish.target_error)
    return Stop(
        sentence,
        rank,
        reviewed,
        left / labels,
        wanted,
        wish.confidence,
        rank is not None and reviewed >= rank,
    )


def _hits(audit: Audit, queue: np.ndarray) -> np.ndarray:
    """Places in the queue of the judged labels that are wrong, or that nobody could judge."""
    place = np.full(len(audit.population.ids), -1)
    place[queue] = np.arange(len(queue))
    places: np.ndarray = place[audit.sample[audit.flags(unclear=True)]]
    return places


def _rank(
    audit: Audit, places: np.ndarray, may_remain: int, alpha: float
) -> int | None:
    # what nobody could judge may be wrong, and stays
    may_remain -= audit.answers.unclear
    if may_remain < 0:
        return None
    size = len(audit.population.queue)
    spare = stop_rule.spared(size, len(audit.sample), may_remain, alpha)
    return None if spare < 0 else stop_rule.rank_to_review(places, spare, size)
