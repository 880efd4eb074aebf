"""The pixel cache: decoded, resized pictures on disk, found by the hash of their content.

One folder per preprocessing: `pixels.u8` holds uint8 [height, width, 3] after one another, `index.sqlite` knows which
content is where, and which content a file of a given path, size and time of change had. Pictures are read with pread,
not mapped, so that the memory of a long run does not grow with the data. Deleting the folder is always safe.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import numpy as np
import platformdirs

from labelsieve.errors import DataError


def cache_folder() -> Path:
    """Where caches lie: LABELSIEVE_CACHE, or the user's cache folder."""
    return Path(os.environ.get("LABELSIEVE_CACHE") or platformdirs.user_cache_path("labelsieve"))


def cache_limit() -> int:
    """Bytes that one cache may take: LABELSIEVE_CACHE_GB (default 50), at most nine tenths of what is free."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = float(os.environ.get("LABELSIEVE_CACHE_GB", 50)) * 1e9
    return int(min(wanted, 0.9 * shutil.disk_usage(folder).free))


class PixelCache:
    """Pictures of one size, by content hash. Safe to use from several threads and processes.

    Args:
        folder: made when missing.
        height, width: of every picture.
    """

    def __init__(self, folder: Path, height: int, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.shape = (height, width, 3)
        self._size = height * width * 3
        self._file = os.open(folder / "pixels.u8", os.O_RDWR | os.O_CREAT, 0o644)
        self._room = cache_limit()
        self._lock = threading.Lock()
        self._index = sqlite3.connect(
            folder / "index.sqlite", timeout=60, check_same_thread=False, isolation_level=None
        )
        self._index.execute("PRAGMA journal_mode=WAL")
        self._index.execute("PRAGMA synchronous=NORMAL")
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS pixels (hash TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE) WITHOUT ROWID"
        )
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, hash TEXT) WITHOUT ROWID"
        )

    def close(self) -> None:
        self._index.close()
        os.close(self._file)

    def find(self, content_hash: str) -> int | None:
        """Slot of a content, None when it is not here."""
        with self._lock:
            row = self._index.execute("SELECT slot FROM pixels WHERE hash = ?", (content_hash,)).fetchone()
        return None if row is None else int(row[0])

    def find_file(self, path: str, size: int, changed: int) -> tuple[str, int] | None:
        """(hash, slot) of a file that was here with the same size and time of change."""
        query = "SELECT f.hash, p.slot FROM files f JOIN pixels p USING (hash) WHERE f.path = ? AND f.size = ? AND f.changed = ?"
        with self._lock:
            row = self._index.execute(query, (path, size, changed)).fetchone()
        return None if row is None else (row[0], int(row[1]))

    def add(self, batch: list[tuple[str, np.ndarray]], files: list[tuple[str, int, int, str]]) -> dict[str, int]:
        """Store pictures (hash, uint8 [height, width, 3]) and what files they came from; gives hash -> slot.

        The pixels are on disk before the index names them, so that a run killed here leaves nothing half-written.

        Raises:
            DataError: the cache's size limit is reached.
        """
        slots: dict[str, int] = {}
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                (used,) = self._index.execute("SELECT COALESCE(MAX(slot) + 1, 0) FROM pixels").fetchone()
                for content_hash, pixels in batch:
                    row = self._index.execute("SELECT slot FROM pixels WHERE hash = ?", (content_hash,)).fetchone()
                    slots[content_hash] = used if row is None else int(row[0])
                    if row is None:
                        self._write(used, pixels)
                        self._index.execute("INSERT INTO pixels VALUES (?, ?)", (content_hash, used))
                        used += 1
                self._index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)
                os.fdatasync(self._file)
                self._index.execute("COMMIT")
            except BaseException:
                self._index.execute("ROLLBACK")
                raise
        return slots

    def _write(self, slot: int, pixels: np.ndarray) -> None:
        if (slot + 1) * self._size > self._room:
            raise DataError(
                f"The pixel cache is full ({self._room / 1e9:.0f} GB).",
                "Set LABELSIEVE_CACHE to a folder on a larger disk, raise LABELSIEVE_CACHE_GB, or run labelsieve cache --clear.",
            )
        os.pwrite(self._file, np.ascontiguousarray(pixels).tobytes(), slot * self._size)

    def read(self, slots: np.ndarray) -> np.ndarray:
        """uint8 [b, height, width, 3] of the pictures at `slots` [b]."""
        out = np.empty((len(slots), *self.shape), dtype=np.uint8)
        flat = out.reshape(len(slots), -1)
        for row, slot in enumerate(slots):
            os.preadv(self._file, [flat[row]], int(slot) * self._size)
        return out


def used() -> int:
    """Bytes that all caches take."""
    return sum(p.stat().st_size for p in cache_folder().rglob("*") if p.is_file())


def clear() -> int:
    """Delete all caches; gives the number of bytes freed."""
    freed = used()
    shutil.rmtree(cache_folder(), ignore_errors=True)
    return freed
