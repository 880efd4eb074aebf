"""Which image a person sees next: suspects in order, filtered, each in one window only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsieve.review import reranking
from labelsieve.review.leases import Leases
from labelsieve.runs import audit
from labelsieve.runs.decisions import SETTLED, WRONG, Decision, Decisions
from labelsieve.runs.pictures import cached_features
from labelsieve.runs.reasons import neighbours
from labelsieve.runs.run import Run

BATCH = 10  # decisions after which the ranking is refined: a minute's work of a person


@dataclass(frozen=True)
class Filters:
    """What a person wants to see; None and 0 leave everything in."""

    given: str | None = None
    suggested: str | None = None
    least: float = 0.0  # probability that the label is wrong
    everything: bool = False  # also labels that are not flagged


class Suspects:
    """The scored images of a run and what is decided about them.

    Safe to use from several threads.

    Attributes:
        rows: one dictionary per image, in the order of the run's scores.
        at: number of the row, by sample id.
        p_wrong: [n] probability that the label is wrong, refined by decisions.
        refined_on: number of decisions behind the present order.
    """

    def __init__(self, opened: Run, decisions: Decisions) -> None:
        scored = opened.scores.filter(opened.scores["p_clean"].is_valid())
        # images that could not be read are not shown: there is nothing to look at
        self.rows: list[dict[str, Any]] = scored.to_pylist()
        self.at = {row["sample_id"]: number for number, row in enumerate(self.rows)}
        self.classes = opened.classes
        # looked up at every decision
        self.known_classes = frozenset(self.classes)
        self.decisions = decisions
        self.alike = neighbours(opened)
        self._given = self._column("given_label", object)
        self._suggested = self._column("suggested_label", object)
        self._issue = self._column("is_label_issue", bool)
        self.scored_wrong = 1 - self._column("p_clean", float)
        self.p_wrong = self.scored_wrong.copy()
        self._order = np.arange(len(self.rows))
        # drawn among all scored images, not among suspects: that is what makes it a sample
        self._audit_order = audit.order([row["sample_id"] for row in self.rows])
        self._features = _features_by_row(opened, self.at)
        self._leases = Leases()
        # guards the leases and the order; decisions have a lock of their own
        self._lock = threading.Lock()
        self.refined_on = 0
        self.refine()

    def _column(self, name: str, dtype: type) -> np.ndarray:
        return np.array([row[name] for row in self.rows], dtype=dtype)

    # --- what comes next

    def find(self, filters: Filters, window: str, count: int = 1) -> list[int]:
        """Rows to show next in a window; the first one is the window's from now on.

        Undecided ones, most suspicious first, then those that were skipped.
        """
        current = self.decisions.all_current()
        skipped = self.decisions.skipped()
        with self._lock:
            # this window gives up what it showed before
            taken = self._leases.rows(window)
            # skipped ones come again when nothing else is left
            later = []
            rows: list[int] = []
            for row in self._open(filters, current):
                if len(rows) == count:
                    break
                if row in taken:
                    continue
                if self.rows[row]["sample_id"] in skipped:
                    later.append(row)
                else:
                    rows.append(row)
            rows += later[: count - len(rows)]
            if rows:
                self._leases.take(window, rows[0])
        return rows

    def hold(self, window: str, row: int) -> None:
        """A window shows this row, whatever would have been next."""
        with self._lock:
            self._leases.take(window, row)

    def ticket(self, window: str) -> int:
        """Number of the lease of what a window shows, for `renew` and `release`."""
        with self._lock:
            return self._leases.ticket(window)

    def renew(self, window: str, ticket: int) -> None:
        """The window is still open."""
        with self._lock:
            self._leases.renew(window, ticket)

    def release(self, window: str, ticket: int) -> None:
        """The window was closed: what it showed may come next elsewhere."""
        with self._lock:
            self._leases.release(window, ticket)

    def _open(self, filters: Filters, current: Mapping[str, Decision]) -> Iterator[int]:
        """Undecided rows that pass the filters, in order."""
        passing = self._mask(filters)
        # the mask is laid over the order, which costs less than sorting what passes
        for row in self._order[passing[self._order]]:
            decision = current.get(self.rows[row]["sample_id"])
            if decision is None or decision.verdict not in SETTLED:
                yield int(row)

    def _mask(self, filters: Filters, *, settled: bool = False) -> np.ndarray:
        """[n] bool: rows that pass the filters; `settled`: whatever their scores."""
        passing = np.ones(len(self.rows), dtype=bool)
        if filters.given is not None:
            passing &= self._given == filters.given
        if filters.suggested is not None:
            passing &= self._suggested == filters.suggested
        if not settled:
            passing &= self.p_wrong >= filters.least
            passing &= self._issue | filters.everything
        return passing

    def bulk(self, given: str, suggested: str, above: float) -> list[int]:
        """Undecided flagged rows of a pair, most suspicious first.

        Args:
            above: least probability of the suggestion.
        """
        rows = self._open(Filters(given, suggested), self.decisions.all_current())
        return [r for r in rows if self.rows[r]["suggested_prob"] >= above]

    def pairs(self) -> list[tuple[str, str, int]]:
        """(given, suggested, number) of undecided flagged rows, most frequent first."""
        counts: Counter[tuple[str, str]] = Counter()
        for row in self._open(Filters(), self.decisions.all_current()):
            about = self.rows[row]
            counts[about["given_label"], about["suggested_label"]] += 1
        return [(given, suggested, n) for (given, suggested), n in counts.most_common()]

    def search(self, words: str, count: int = 12) -> list[str]:
        """Classes that match what was typed: the exact one, then by prefix, then inside."""
        wanted = words.strip().casefold()
        # casefold: ß finds ss, and İ finds i
        matches = [name for name in self.classes if wanted in name.casefold()]

        def rank(name: str) -> tuple[bool, bool, str]:
            folded = name.casefold()
            return folded != wanted, not folded.startswith(wanted), folded

        return sorted(matches, key=rank)[:count]

    # --- how far it is

    def progress(self, filters: Filters) -> dict[str, Any]:
        """Decided and all suspects under the filters, and errors expected among the rest."""
        settled = np.zeros(len(self.rows), dtype=bool)
        p = self.p_wrong.copy()
        wrong = 0
        for sample_id, decision in self.decisions.all_current().items():
            row = self.at.get(sample_id)
            if row is None:
                continue
            settled[row] = decision.verdict in SETTLED
            # judged wrong in the audit, and the right label is still to be named
            p[row] = 1.0 if decision.verdict == "wrong" else p[row]
            wrong += decision.verdict in WRONG
        p[settled] = 0.0
        # a decided suspect stays counted when refinement makes it less suspicious
        done = settled & self._mask(filters, settled=True)
        return {
            "done": int(done.sum()),
            "all": int((done | self._mask(filters)).sum()),
            "left": float(p.sum()),
            "wrong": wrong,
            "refined_on": self.refined_on,
        }

    def audit_state(self, window: str = "") -> dict[str, Any]:
        """The audit so far: its estimate, how many were judged, and the next for a window."""
        current = self.decisions.all_current()
        with self._lock:
            # what other windows show was drawn too, and its answer is on the way
            taken = {self.rows[r]["sample_id"] for r in self._leases.rows(window)}
            upcoming = self._next_of_audit(current, taken)
            if upcoming is not None:
                self._leases.take(window, self.at[upcoming])
        ids, wrong, unclear = audit.judged(self._audit_order, current, pending=taken)
        result = None
        if ids:
            sample = np.array([self.at[i] for i in ids])
            result = audit.estimate(self.scored_wrong, sample, np.array(wrong))
        return {
            "estimate": result,
            "judged": len(ids),
            "unclear": unclear,
            "next": upcoming,
            "wanted": audit.SIZE,
        }

    def _next_of_audit(
        self, current: Mapping[str, Decision], taken: set[str]
    ) -> str | None:
        for sample_id in self._audit_order:
            if sample_id not in current and sample_id not in taken:
                return sample_id
        return None

    # --- learning from decisions

    def refine(self) -> None:
        """Order what is left by what people decided so far."""
        known = self._judgements()
        p_wrong = self.scored_wrong.copy()
        if known:
            judged = reranking.Judged(
                np.array([self.at[d.sample_id] for d in known]),
                np.array([d.verdict in WRONG for d in known]),
            )
            p_wrong = reranking.refine(
                self.scored_wrong, self._given, self._features, judged
            )
        # stable: equal probabilities keep the order of the scan
        order = np.argsort(-p_wrong, kind="stable")
        with self._lock:
            self.p_wrong = p_wrong
            self._order = order
            self.refined_on = len(known)

    def refine_if_due(self) -> bool:
        """Refine when a batch of decisions came in, or was undone, since the last time."""
        # undoing ten decisions is as good a reason as taking ten
        due = abs(len(self._judgements()) - self.refined_on) >= BATCH
        if due:
            self.refine()
        return due

    def _judgements(self) -> list[Decision]:
        """Decisions that say whether a label is right, oldest first."""
        known = []
        for sample_id, decision in self.decisions.all_current().items():
            if sample_id in self.at and decision.verdict != "skip":
                known.append(decision)
        return sorted(known, key=lambda d: d.seq)


def _features_by_row(opened: Run, at: Mapping[str, int]) -> np.ndarray | None:
    """Cached features in the order of the rows, None when they are gone."""
    cached = cached_features(opened)
    if cached is None:
        return None
    ids, features = cached
    order = np.empty(len(at), dtype=np.int64)
    for position, sample_id in enumerate(ids):
        order[at[str(sample_id)]] = position
    return np.asarray(features)[order]
