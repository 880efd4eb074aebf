"""Which image each open window shows, so that no image is in two windows at once."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

# seconds without a sign of life after which a window counts as gone; an open page sends one
# every 20 s, and browsers slow hidden tabs down to one timer a minute
LEASE = 90.0


@dataclass(frozen=True)
class Lease:
    """One image in one window."""

    row: int
    ticket: int
    renewed: float  # seconds of the monotonic clock


class Leases:
    """Leases by window; every window holds one at most. The caller locks."""

    def __init__(self) -> None:
        self._held: dict[str, Lease] = {}
        # never the same number twice, so an old page cannot speak for a new one
        self._tickets = itertools.count(1)

    def take(self, window: str, row: int) -> None:
        """A window shows an image from now on, in place of what it showed before."""
        self._held[window] = Lease(row, next(self._tickets), time.monotonic())

    def ticket(self, window: str) -> int:
        """Number of the lease that a window holds; 0 for none."""
        return self._held[window].ticket if window in self._held else 0

    def renew(self, window: str, ticket: int) -> None:
        """The window is still open."""
        lease = self._held.get(window)
        if lease is not None and lease.ticket == ticket:
            self._held[window] = Lease(lease.row, ticket, time.monotonic())

    def release(self, window: str, ticket: int) -> None:
        """The window was closed.

        Browsers tell this after the page that follows in the same window was answered, so an
        older ticket than the current one says nothing about what is shown now.
        """
        if self.ticket(window) == ticket:
            self._held.pop(window, None)

    def rows(self, except_window: str) -> set[int]:
        """Rows that other windows show."""
        oldest = time.monotonic() - LEASE
        rows = set()
        for window, lease in list(self._held.items()):
            if lease.renewed <= oldest:
                del self._held[window]
            elif window != except_window:
                rows.add(lease.row)
        return rows
