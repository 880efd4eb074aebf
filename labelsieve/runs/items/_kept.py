"""Small pictures kept on the disk between reviews: found by content, checked, within a limit."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from labelsieve.cache import cache_folder, cache_limit, make_folder, make_way
from labelsieve.errors import LabelsieveError
from labelsieve.sqlite import is_in_the_way

ROOM = 2_000_000_000  # bytes of all of them: 200,000 of a screen's small ones
SHARE = 10  # of the whole cache they take this part at most
DAY = 86_400  # seconds; when a picture was wanted last is kept to the day
PATIENCE = 0.2  # seconds that a page waits for another process before it does without
LAYOUT = (
    "CREATE TABLE IF NOT EXISTS pictures (key TEXT PRIMARY KEY, sum BLOB, day INTEGER,"
    " data BLOB)"
)


class Kept:
    """Made pictures by key. Never in the way: what cannot be kept or read is made again.

    Safe to use from several threads, and by several processes.

    Args:
        path: of the file; None: in the cache.
        room: bytes of all pictures; None: `ROOM`, or less where the cache is small.
    """

    def __init__(self, path: Path | None = None, room: int | None = None) -> None:
        self.path = path or cache_folder() / "shown" / "pictures.sqlite"
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        # a cache that cannot be made stops no review
        with contextlib.suppress(LabelsieveError, OSError, sqlite3.Error):
            self.room = min(ROOM, cache_limit() // SHARE) if room is None else room
            self._open()

    def _open(self) -> None:
        make_folder(self.path.parent)
        # they show the user's pictures
        self.path.parent.chmod(0o700)
        make_way(self.path)
        if self.path.is_symlink():
            return
        self.path.touch(mode=0o600)
        self.path.chmod(0o600)
        try:
            self._begin()
        except sqlite3.DatabaseError as error:
            # another review uses what is locked
            if is_in_the_way(error):
                self.close()
                return
            self._afresh()

    def _begin(self) -> None:
        self._file = sqlite3.connect(
            self.path, PATIENCE, isolation_level=None, check_same_thread=False
        )
        self._file.execute("PRAGMA journal_mode = WAL")
        # what a crash loses is made again
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute(LAYOUT)
        (taken,) = self._file.execute(
            "SELECT coalesce(sum(length(data)), 0) FROM pictures"
        ).fetchone()
        self._taken = int(taken)

    def _afresh(self) -> None:
        """In place of a damaged file an empty one."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.touch(mode=0o600)
        self._begin()

    def get(self, key: str) -> bytes | None:
        """What was kept, byte for byte; None where there is nothing, or only damage."""
        found = None
        with self._lock, self._harmless():
            if self._file is not None:
                found = self._read(self._file, key)
        return found

    def _read(self, file: sqlite3.Connection, key: str) -> bytes | None:
        row = file.execute(
            "SELECT sum, day, data FROM pictures WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if row[0] != _sum(key, row[2]):
            file.execute("DELETE FROM pictures WHERE key = ?", (key,))
            return None
        # once a day, so that looking writes next to nothing
        if row[1] != _today():
            file.execute("UPDATE pictures SET day = ? WHERE key = ?", (_today(), key))
        return bytes(row[2])

    def put(self, key: str, data: bytes) -> None:
        """Keep a picture; those wanted longest ago go where there is no room."""
        with self._lock, self._harmless():
            if self._file is None or len(data) > self.room:
                return
            self._file.execute(
                "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)",
                (key, _sum(key, data), _today(), data),
            )
            self._taken += len(data)
            if self._taken > self.room:
                self._make_room(self._file)

    def _make_room(self, file: sqlite3.Connection) -> None:
        # to three quarters: not again at the next picture
        rows = file.execute(
            "SELECT key, length(data) FROM pictures ORDER BY day, rowid"
        )
        entries = rows.fetchall()
        taken = sum(size for _, size in entries)
        file.execute("BEGIN")
        for key, size in entries:
            if taken <= self.room * 3 // 4:
                break
            file.execute("DELETE FROM pictures WHERE key = ?", (key,))
            taken -= size
        file.execute("COMMIT")
        self._taken = taken

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever the file says, the page goes on."""
        try:
            yield
        except sqlite3.OperationalError:
            pass  # locked or full: another time
        except (sqlite3.DatabaseError, TypeError):
            with contextlib.suppress(OSError, sqlite3.Error):
                self._afresh()

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
            self._file = None


def _sum(key: str, data: bytes) -> bytes:
    # with the key: a picture of another one is no picture of this one
    return hashlib.sha256(key.encode() + b"\0" + data).digest()


def _today() -> int:
    return int(time.time() // DAY)
