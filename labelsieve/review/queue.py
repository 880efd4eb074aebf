"""Which images a person sees next: suspects in order, filtered, each in one window only."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from labelsieve.audits.headline import Sums
from labelsieve.data.labels import SET, SINGLE
from labelsieve.review.columns import Columns
from labelsieve.review.filters import (
    DEFAULT,
    MARKS,
    STATUSES,
    Filters,
    Sorting,
    inside,
)
from labelsieve.review.leases import Leases
from labelsieve.review.sets.columns import SetColumns
from labelsieve.review.similar import Similar, similar
from labelsieve.runs import standing
from labelsieve.runs.decisions import SETTLED, VERDICTS, WRONG, Decision, Decisions
from labelsieve.runs.reasons import neighbours
from labelsieve.runs.run import Run
from labelsieve.runs.standing import Standing

VIEWS = 12  # sorted lists that are kept: 8 MB each for a million images
# numbers of verdicts in arrays; 0 is none
CODE = {verdict: number for number, verdict in enumerate(VERDICTS, 1)}


def _is_one_of(verdicts: tuple[str, ...]) -> np.ndarray:
    """[verdicts + 1] bool, to be looked up by the numbers of verdicts."""
    return np.array([False, *(verdict in verdicts for verdict in VERDICTS)])


IS_SETTLED = _is_one_of(SETTLED)
IS_WRONG = _is_one_of(WRONG)
IS_CHANGED = _is_one_of(("accept", "other"))


class Suspects:
    """The scored images of a run, what is decided about them, and what follows.

    Safe to use from several threads.

    Args:
        learn: correct what nobody decided by what people did; else `refine` does it later.

    Attributes:
        columns: what the scan found.
        now: the posterior after the answers so far.
        offered: [n] int64 the class that a reviewer is offered; the given one if it is likeliest.
        verdict: [n] int8 number of what was decided, 0 for nothing.
        seen: [n] int64 number of the decision that holds, 0 for none.
        skipped: [n] bool skipped last.
    """

    def __init__(
        self, opened: Run, decisions: Decisions, *, learn: bool = True
    ) -> None:
        of_kind = {SINGLE: Columns, SET: SetColumns}
        self.columns: Columns = of_kind[opened.kind](opened)
        self.decisions = decisions
        self._opened = opened
        n = len(self.columns)
        self.verdict = np.zeros(n, dtype=np.int8)
        self.seen = np.zeros(n, dtype=np.int64)
        self.skipped = np.zeros(n, dtype=bool)
        self._last = 0  # the decision that these arrays know of
        self._views: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
        self._leases = Leases()
        # guards the leases, the views and the arrays; decisions have a lock of their own
        self._lock = threading.RLock()
        self.queues: dict[str, np.ndarray] = {}
        # [n, 2] places on the map, once it is computed
        self.places: np.ndarray | None = None
        # [n] rows in the order in which a review gains most; audits tell it
        self.by_gain: Callable[[], np.ndarray] = lambda: self._order
        self.use(standing.of_run(opened, decisions, learn=learn))
        self.take_in()

    @cached_property
    def alike(self) -> Any:
        """Trusted images by class, None without features."""
        return neighbours(self._opened)

    @cached_property
    def similar(self) -> Similar | None:
        """What looks like an image, None without features."""
        return similar(self._opened)

    def use(self, now: Standing) -> None:
        """Order what is left by a posterior."""
        # stable: equal probabilities keep the order of the scan
        order = np.argsort(-np.asarray(now.p_wrong), kind="stable")
        offered = self.columns.offered(now)
        with self._lock:
            self.now = now
            self.offered = offered
            self._order = order

    # --- what was decided

    def take_in(self) -> int:
        """Learn of decisions that anybody took since; gives the number of the latest."""
        last, changed = self.decisions.since(self._last)
        with self._lock:
            for sample_id, decision in changed.items():
                # a script may have decided about images that the scan could not read
                row = self.columns.at.get(sample_id)
                if row is not None:
                    self._put(row, sample_id, decision)
            self._last = max(self._last, last)
        return last

    def _put(self, row: int, sample_id: str, decision: Decision | None) -> None:
        self.verdict[row] = CODE[decision.verdict] if decision else 0
        self.seen[row] = decision.seq if decision else 0
        self.skipped[row] = self.decisions.last_was_skip(sample_id)

    # --- which images, and in which order

    def marks(self) -> np.ndarray:
        """[n] uint8: what the map tells apart, numbers of `MARKS`."""
        said = (
            self.columns.flagged,
            self.verdict == CODE["keep"],
            IS_CHANGED[self.verdict],
            IS_WRONG[self.verdict] & ~IS_CHANGED[self.verdict],
        )
        # what people said stands above what the scan did
        marks = np.zeros(len(self.columns), dtype=np.uint8)
        for number, mask in enumerate(said, 1):
            marks[mask] = number
        assert len(said) == len(MARKS) - 1
        return marks

    def rows(self, filters: Filters, sorting: Sorting | None = None) -> np.ndarray:
        """[m] rows that pass the filters, in order. Kept until somebody decides."""
        sorting = sorting or Sorting()
        last = self.take_in()
        key = (filters, sorting, last, id(self.now), len(self.queues))
        with self._lock:
            view = self._views.pop(key, None)
        if view is None:
            view = self._sorted(self.mask(filters), filters, sorting)
        with self._lock:
            self._views[key] = view
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return view

    def _sorted(
        self, mask: np.ndarray, filters: Filters, sorting: Sorting
    ) -> np.ndarray:
        by = sorting.by
        if by == "similar" and self.similar and 0 <= sorting.like < len(mask):
            rows = np.flatnonzero(mask)
            return self.similar.nearest(sorting.like, rows)
        if by == "name":
            return self._among(self.columns.by_name, mask)
        rows = self._among(self._order, mask)
        if by == "pair":
            return rows[np.argsort(-self._frequency(rows), kind="stable")]
        if by == "class":
            return rows[np.argsort(self.columns.given[rows], kind="stable")]
        if by == "gain":
            return self._among(self.by_gain(), mask)
        # a queue has an order of its own: the worst first
        if filters.show in self.queues and by == "suspicion":
            return self._among(self.queues[filters.show], mask)
        return rows

    @staticmethod
    def _among(order: np.ndarray, mask: np.ndarray) -> np.ndarray:
        # the mask is laid over the order, which costs less than sorting what passes
        return order[mask[order]]

    def _frequency(self, rows: np.ndarray) -> np.ndarray:
        """[m] how often the confusion of each row occurs among them; no two alike by chance."""
        pair = self.pair_codes(rows)
        values, inverse, counts = np.unique(
            pair, return_inverse=True, return_counts=True
        )
        # equally frequent pairs stay apart
        rank = np.lexsort((values, -counts))
        place = np.empty(len(rank))
        place[rank] = -np.arange(len(rank))
        return place[inverse]

    def pair_codes(self, rows: np.ndarray) -> np.ndarray:
        """[m] int64: number of the pair of given and offered label of each row."""
        classes = self.columns.width + 1
        offered = self.offered[rows]
        return self.columns.given[rows].astype(np.int64) * classes + offered

    def offers(self, rows: np.ndarray) -> tuple[np.ndarray, str]:
        """[m] what is offered at rows, and a digest of both, the same in any order of the rows."""
        # read once: learning replaces it at any time
        offered = self.offered
        mask = np.zeros(len(offered), dtype=bool)
        mask[rows] = True
        digest = hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=8)
        digest.update(offered[mask].tobytes())
        return offered[rows], digest.hexdigest()

    def mask(self, filters: Filters) -> np.ndarray:
        """[n] bool: rows that pass the filters."""
        columns = self.columns
        passing = self._decided(filters.decided) & self._scanned(filters.show)
        if filters.given is not None:
            passing &= columns.with_label(filters.given)
        if filters.suggested is not None:
            passing &= columns.offering(self.now, self.offered, filters.suggested)
        if filters.least > 0:
            passing &= np.asarray(self.now.p_wrong) >= filters.least
        if filters.text:
            passing &= columns.with_text(filters.text)
        if filters.lasso and self.places is not None:
            passing &= inside(self.places, filters.corners)
        return passing

    def _decided(self, decided: str) -> np.ndarray:
        """[n] bool by what people said."""
        if decided == "any":
            return np.ones(len(self.columns), dtype=bool)
        if decided == "open":
            return ~IS_SETTLED[self.verdict]
        if decided == "settled":
            return np.asarray(IS_SETTLED[self.verdict])
        if decided == "changed":
            return np.asarray(IS_CHANGED[self.verdict])
        if decided == "skip":
            return self.skipped & ~IS_SETTLED[self.verdict]
        return np.asarray(self.verdict == CODE[decided])

    def _scanned(self, show: str) -> np.ndarray:
        """[n] bool by what the scan said, or by queue."""
        if show in STATUSES:
            return STATUSES[show].holds(self.columns)
        mask = np.zeros(len(self.columns), dtype=bool)
        mask[self.queues.get(show, np.empty(0, dtype=np.int64))] = True
        return mask

    # --- what comes next

    def find(
        self, filters: Filters, window: str, count: int = 1, person: str = ""
    ) -> list[int]:
        """Rows to show next in a window; the first one is the window's from now on.

        Most suspicious first, then those that were skipped.
        """
        view = self.rows(filters)
        with self._lock:
            # this window gives up what it showed before
            taken = self._leases.rows(window)
            rows: list[int] = []
            # skipped ones come again when nothing else is left
            for part in (view[~self.skipped[view]], view[self.skipped[view]]):
                # among so many must be enough that no other window shows
                few = part[: count + len(taken)].tolist()
                rows += [row for row in few if row not in taken]
            rows = rows[:count]
            if rows:
                self._leases.take(window, rows[:1], person)
        return rows

    def hold(self, window: str, rows: list[int], person: str = "") -> None:
        """A window shows these rows, whatever would have been next."""
        with self._lock:
            self._leases.take(window, rows, person)

    def ticket(self, window: str) -> int:
        """Number of the lease of what a window shows, for `renew` and `release`."""
        with self._lock:
            return self._leases.ticket(window)

    def renew(self, window: str, ticket: int, person: str = "") -> None:
        """The window is still open."""
        with self._lock:
            self._leases.renew(window, ticket, person)

    def release(self, window: str, ticket: int) -> None:
        """The window was closed: what it showed may come next elsewhere."""
        with self._lock:
            self._leases.release(window, ticket)

    def held(self, window: str) -> list[tuple[str, frozenset[int]]]:
        """What other windows show: a name or nothing, and the rows."""
        with self._lock:
            return [(each.person, each.rows) for each in self._leases.others(window)]

    # --- how far it is

    def progress(self, filters: Filters) -> dict[str, Any]:
        """How many suspects are settled.

        Which images are suspects was decided by the scan, so that what is left only falls.
        """
        self.take_in()
        # scores and suggestions change with answers: what they leave out is counted, too
        everything = replace(filters, suggested=None, least=0.0, decided="any")
        mask = self.mask(everything)
        settled = IS_SETTLED[self.verdict]
        return {
            "done": int((mask & settled).sum()),
            "all": int(mask.sum()),
            "wrong": int(IS_WRONG[self.verdict].sum()),
            "learned_from": self.now.learned_from,
        }

    def sums(self) -> Sums:
        """What the headline counts, of what is decided by now."""
        wrong = IS_WRONG[self.verdict]
        # that a label is wrong is known before anybody names the right one
        judged = IS_SETTLED[self.verdict] | wrong
        expected, scanned = (
            # without a copy of what may be a million numbers
            float(np.sum(p, where=~judged))
            for p in (self.now.p_wrong, self._scanned_wrong)
        )
        return Sums(
            int(judged.sum()),
            int(wrong.sum()),
            expected,
            self._expected,
            scanned,
        )

    @cached_property
    def _scanned_wrong(self) -> np.ndarray:
        """[n] as the scan left them: `now` is replaced by answers, its scan never is."""
        return np.asarray(1 - self.now.scanned.p_clean)

    @cached_property
    def _expected(self) -> float:
        return float(self._scanned_wrong.sum())

    def pairs(self, count: int) -> list[tuple[str, str, int]]:
        """(given, offered, number) of open suspects, the most frequent first."""
        codes, counts = np.unique(
            self.pair_codes(self.rows(DEFAULT)), return_counts=True
        )
        width = self.columns.width + 1
        pairs = []
        for place in np.argsort(-counts, kind="stable")[:count]:
            given, offered = divmod(int(codes[place]), width)
            names = self.columns.name(given), self.columns.name(offered)
            pairs.append((str(names[0]), str(names[1]), int(counts[place])))
        return pairs

    def search(self, words: str, count: int = 12) -> list[str]:
        """Classes that match what was typed: the exact one, then by prefix, then inside."""
        wanted = words.strip().casefold()
        # casefold: ß finds ss, and İ finds i
        matches = [name for name in self.columns.classes if wanted in name.casefold()]

        def rank(name: str) -> tuple[bool, bool, str]:
            folded = name.casefold()
            return folded != wanted, not folded.startswith(wanted), folded

        return sorted(matches, key=rank)[:count]

    # --- learning from decisions

    def refine(self) -> None:
        """Bring the posterior, and the order of what is left, up to what was decided."""
        self.use(self.now.updated(self.decisions.all_current()))
