"""Texts that wait on disk: written one after another, read by number, gone with the process."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import weakref
from array import array
from pathlib import Path
from typing import IO

# Bytes that stay in memory: data sets of some ten thousand texts never touch the disk.
IN_MEMORY = 64 << 20


class Spool:
    """Texts by number, in the order in which they were added. Safe to use from several threads.

    A million reviews take half a gigabyte: on disk they cost 8 bytes of memory each.

    Args:
        folder: that the file lies in, without a name where the system allows it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115
        # closed with the spool itself, wherever that is forgotten
        weakref.finalize(self, _close, self._file)
        self._ends = array("Q", [0])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, data: bytes) -> int:
        """Keep a text; gives its number."""
        with self._lock:
            self._file.seek(self._ends[-1])
            self._file.write(data)
            self._ends.append(self._ends[-1] + len(data))
            return len(self._ends) - 2

    def read(self, number: int) -> bytes:
        """A text. Raises IndexError where there is none of this number."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self._ends[number], self._ends[number + 1]
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)


def _close(file: IO[bytes]) -> None:
    # what a full disk did not take is written again here; nobody needs it any more
    with contextlib.suppress(OSError):
        file.close()
