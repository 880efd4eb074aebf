"""When a review may stop, from a complete audit; see `labelsieve.estimation.audits.stop_rule`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelsieve.audits import words
from labelsieve.audits.guarantee import Audit, Promised
from labelsieve.estimation.audits import stop_rule
from labelsieve.estimation.audits.shares import Rate
from labelsieve.runs.decisions import open_decisions
from labelsieve.runs.run import Run


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
class Left:
    """Wrong labels among all that is not decided, with an interval."""

    about: float
    low: float
    high: float


def left_of(
    rate: Rate, asked: np.ndarray, judged: np.ndarray, wrong: np.ndarray
) -> Left:
    """What is left to find, by an audited share with its 95 % interval.

    The audit's share is fixed, and what was found is taken off: an answer never adds to it.

    Args:
        rate: share of wrong labels among those that the audit was drawn from.
        asked: [M] bool, these: nobody had decided about them before.
        judged, wrong: [M] bool, what people decided by now.
    """
    found = np.count_nonzero(wrong & asked)
    undecided = np.count_nonzero(asked & ~judged)
    bounds = np.array([rate.rate, rate.low, rate.high]) * np.count_nonzero(asked)
    return Left(*np.clip(bounds - found, 0, undecided).tolist())


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
