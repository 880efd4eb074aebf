"""Which image a person sees next: suspects in order, filtered, no image in two windows, refined as decisions come in."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsieve.review import reranking
from labelsieve.runs import audit
from labelsieve.runs.decisions import SETTLED, WRONG, Decision, Decisions
from labelsieve.runs.pictures import cached_features
from labelsieve.runs.reasons import neighbours
from labelsieve.runs.run import Run

LEASE = (
    600.0  # seconds for which an image that one window shows is not shown in another
)
BATCH = 10  # decisions after which the ranking is refined


@dataclass(frozen=True)
class Filters:
    """What a person wants to see; None and 0 leave everything in."""

    given: str | None = None
    suggested: str | None = None
    least: float = 0.0  # probability that the label is wrong
    everything: bool = False  # also labels that are not flagged


class Suspects:
    """The scored images of a run and what is decided about them. Safe to use from several threads."""

    def __init__(self, opened: Run, decisions: Decisions) -> None:
        scored = opened.scores.filter(opened.scores["p_clean"].is_valid())
        self.rows: list[dict[str, Any]] = scored.to_pylist()
        self.at = {row["sample_id"]: number for number, row in enumerate(self.rows)}
        self.classes = opened.classes
        self.at_class = frozenset(self.classes)
        self.decisions = decisions
        self.alike = neighbours(opened)
        self._given = np.array([row["given_label"] for row in self.rows], dtype=object)
        self._suggested = np.array(
            [row["suggested_label"] for row in self.rows], dtype=object
        )
        self._issue = np.array([row["is_label_issue"] for row in self.rows], dtype=bool)
        self.scored_wrong = np.array([1 - row["p_clean"] for row in self.rows])
        self.p_wrong = self.scored_wrong.copy()
        self._order = np.arange(len(self.rows))
        self._audit_order = audit.order([row["sample_id"] for row in self.rows])
        self._features = _features_by_row(opened, self.at)
        self._leases: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self.refined_on = 0
        self.refine()

    def find(self, filters: Filters, window: str, count: int = 1) -> list[int]:
        """Rows to show next in a window: undecided ones, most suspicious first, then those that were skipped."""
        current, put_off = self.decisions.all_current(), self.decisions.skipped()
        found: list[int] = []
        with self._lock:
            taken = self._taken(window)
            for skipped in (False, True):
                for row in self._open(filters, current):
                    if len(found) == count:
                        break
                    if (
                        row not in taken
                        and (self.rows[row]["sample_id"] in put_off) is skipped
                    ):
                        found.append(row)
            if found:
                self._leases[found[0]] = (window, time.monotonic())
        return found

    def _taken(self, window: str) -> set[int]:
        """Rows that other windows show; this one gives up its own."""
        now = time.monotonic()
        self._leases = {
            r: (w, t)
            for r, (w, t) in self._leases.items()
            if now - t < LEASE and w != window
        }
        return set(self._leases)

    def _open(self, filters: Filters, current: Mapping[str, Decision]) -> Iterator[int]:
        """Undecided rows that pass the filters, in order."""
        passing = self._mask(filters)
        for row in self._order[passing[self._order]]:
            decision = current.get(self.rows[row]["sample_id"])
            if decision is None or decision.verdict not in SETTLED:
                yield int(row)

    def _mask(self, filters: Filters, *, settled: bool = False) -> np.ndarray:
        """[n] bool: rows that pass the filters; `settled`: whatever their scores."""
        passing = np.ones(len(self.rows), dtype=bool)
        for wanted, column in (
            (filters.given, self._given),
            (filters.suggested, self._suggested),
        ):
            if wanted is not None:
                passing &= column == wanted
        if not settled:
            passing &= self.p_wrong >= filters.least
            passing &= self._issue | filters.everything
        return passing

    def bulk(self, given: str, suggested: str, above: float) -> list[int]:
        """Undecided flagged rows of a pair whose suggestion has at least this probability, most suspicious first."""
        rows = self._open(Filters(given, suggested), self.decisions.all_current())
        return [r for r in rows if self.rows[r]["suggested_prob"] >= above]

    def pairs(self) -> list[tuple[str, str, int]]:
        """Given and suggested label of undecided flagged rows with their number, most frequent first."""
        rows = self._open(Filters(), self.decisions.all_current())
        found = Counter(
            (self.rows[r]["given_label"], self.rows[r]["suggested_label"]) for r in rows
        )
        return [(given, suggested, n) for (given, suggested), n in found.most_common()]

    def progress(self, filters: Filters) -> dict[str, Any]:
        """Decided and all suspects under the filters, and how many wrong labels are expected among all undecided images."""
        current = {
            self.at[i]: d.verdict
            for i, d in self.decisions.all_current().items()
            if i in self.at
        }
        settled = np.zeros(len(self.rows), dtype=bool)
        settled[[row for row, verdict in current.items() if verdict in SETTLED]] = True
        p = np.where(settled, 0.0, self.p_wrong)
        p[[row for row, verdict in current.items() if verdict == "wrong"]] = 1.0
        done = settled & self._mask(filters, settled=True)
        return {
            "done": int(done.sum()),
            "all": int((done | self._mask(filters)).sum()),
            "left": float(p.sum()),
            "found": sum(v in WRONG for v in current.values()),
            "refined_on": self.refined_on,
        }

    def search(self, words: str, count: int = 12) -> list[str]:
        """Classes that match what was typed: exact ones first, then by prefix, then containing it."""
        wanted = words.strip().casefold()
        ranked = [
            (name.casefold(), name)
            for name in self.classes
            if wanted in name.casefold()
        ]
        ranked.sort(key=lambda p: (p[0] != wanted, not p[0].startswith(wanted), p[0]))
        return [name for _, name in ranked[:count]]

    def refine(self) -> None:
        """Order what is left by what people found so far."""
        current = self.decisions.all_current()
        known = sorted(
            (d for i, d in current.items() if i in self.at and d.verdict != "skip"),
            key=lambda d: d.seq,
        )
        if known:
            judged = reranking.Judged(
                np.array([self.at[d.sample_id] for d in known]),
                np.array([d.verdict in WRONG for d in known]),
            )
            p_wrong = reranking.refine(
                self.scored_wrong, self._given, self._features, judged
            )
        else:
            p_wrong = self.scored_wrong.copy()
        order = np.argsort(-p_wrong, kind="stable")
        with self._lock:
            self.p_wrong, self._order, self.refined_on = p_wrong, order, len(known)

    def refine_if_due(self) -> bool:
        """Refine when a batch of decisions came in since the last time."""
        current = self.decisions.all_current()
        due = (
            abs(
                sum(d.verdict != "skip" and i in self.at for i, d in current.items())
                - self.refined_on
            )
            >= BATCH
        )
        if due:
            self.refine()
        return due

    def audit_state(self, window: str = "") -> dict[str, Any]:
        """The audit so far: its estimate, how many images were judged, and the next one for a window."""
        current = self.decisions.all_current()
        ids, wrong, unclear = audit.judged(self._audit_order, current)
        found = (
            audit.estimate(
                self.scored_wrong, np.array([self.at[i] for i in ids]), np.array(wrong)
            )
            if ids
            else None
        )
        with self._lock:
            taken = self._taken(window)
            left = (
                i
                for i in self._audit_order[len(ids) + unclear :]
                if i not in current and self.at[i] not in taken
            )
            upcoming = next(left, None)
            if upcoming is not None:
                self._leases[self.at[upcoming]] = (window, time.monotonic())
        return {
            "found": found,
            "judged": len(ids),
            "unclear": unclear,
            "next": upcoming,
            "wanted": audit.SIZE,
        }


def _features_by_row(opened: Run, at: Mapping[str, int]) -> np.ndarray | None:
    """Cached features in the order of the rows, None when they are gone."""
    found = cached_features(opened)
    if found is None:
        return None
    ids, features = found
    order = np.empty(len(at), dtype=np.int64)
    for position, sample_id in enumerate(ids):
        order[at[str(sample_id)]] = position
    return np.asarray(features)[order]
