"""Which images each open window shows, so that no two people judge the same one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

# seconds without a sign of life after which a window counts as gone; an open page sends one
# every 20 s, and browsers slow hidden tabs down to one timer a minute
LEASE = 90.0


@dataclass(frozen=True)
class Lease:
    """What one window shows: one image, or a screen of them."""

    rows: frozenset[int]
    ticket: int
    renewed: float  # seconds of the monotonic clock
    person: str = ""


class Leases:
    """Leases by window; every window holds one at most. The caller locks."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        # never the same number twice, so an old page cannot speak for a new one
        self._tickets = itertools.count(1)

    def take(self, window: str, rows: Iterable[int], person: str = "") -> None:
        """A window shows these images from now on, in place of what it showed before."""
        # a name that was told once stays until another is told
        before = self._held.get(window)
        person = person or (before.person if before else "")
        ticket = next(self._tickets)
        now = time.monotonic()
        self._held[window] = Lease(frozenset(rows), ticket, now, person)

    def ticket(self, window: str) -> int:
        """Number of the lease that a window holds; 0 for none."""
        return self._held[window].ticket if window in self._held else 0

    def renew(self, window: str, ticket: int, person: str = "") -> None:
        """The window is still open."""
        lease = self._held.get(window)
        if lease is not None and lease.ticket == ticket:
            now = time.monotonic()
            named = person or lease.person
            self._held[window] = replace(lease, renewed=now, person=named)

    def release(self, window: str, ticket: int) -> None:
        """The window was closed.

        Browsers tell this after the page that follows in the same window was answered, so an
        older ticket than the current one says nothing about what is shown now.
        """
        if self.ticket(window) == ticket:
            self._held.pop(window, None)

    def others(self, window: str) -> list[Lease]:
        """What other windows show, those that are gone left out."""
        oldest = time.monotonic() - LEASE
        for name, lease in list(self._held.items()):
            if lease.renewed <= oldest:
                del self._held[name]
        return [lease for name, lease in self._held.items() if name != window]

    def rows(self, except_window: str) -> set[int]:
        """Rows that other windows show."""
        rows: set[int] = set()
        for lease in self.others(except_window):
            rows |= lease.rows
        return rows
