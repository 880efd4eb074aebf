"""The pixel cache: decoded, resized pictures on disk, found by the hash of their content.

One folder per preprocessing: `pixels.u8` holds uint8 [height, width, 3] after one another, `index.sqlite` knows which
content is where, and which content a file of a given path, size and time of change had. Pictures are read with pread,
not mapped, so that the memory of a long run does not grow with the data. Deleting the folder is always safe.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelsieve.cache import OTHER_PLACE, cache_limit, make_folder
from labelsieve.errors import DataError


class Stamp(NamedTuple):
    """What a file is recognised by: it holds what it held while all of these are the same.

    Numbers fit into SQLite's 64 bits with a sign.
    """

    path: str  # absolute, as `labelsieve.files.path_to_uri` writes it
    size: int  # bytes
    modified: int  # ns; anyone can set it, and archives do when they are unpacked
    inode: int  # another one when the file is replaced or a link points elsewhere
    changed: int  # ns, when contents or attributes last changed; nobody can set it



class PixelCache:
    """Pictures of one size, by content hash. Safe to use from several threads and processes.

    Args:
        folder: made when missing.
        height, width: of every picture.

    Raises:
        DataError: the folder cannot be made or written, or the cache is damaged.
    """

    def __init__(self, folder: Path, height: int, width: int) -> None:
        make_folder(folder)
        self.folder = folder
        self.shape = (height, width, 3)
        self._size = height * width * 3
        self._lock = threading.Lock()
        try:
            self._file = os.open(folder / "pixels.u8", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(
                f"The pixel cache '{folder}' cannot be opened: {error.strerror}.",
                OTHER_PLACE,
            ) from error
        try:
            self._room = cache_limit(os.fstat(self._file).st_size)
            self._open_index()
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, sqlite3.Error):
                raise DataError(*self._damage(str(error))) from error
            raise

    def _open_index(self) -> None:
        folder = self.folder
        self._index = sqlite3.connect(
            folder / "index.sqlite",
            timeout=60,
            check_same_thread=False,
            isolation_level=None,
        )
        self._index.execute("PRAGMA journal_mode=WAL")
        self._index.execute("PRAGMA synchronous=NORMAL")
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS pixels (hash TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE) WITHOUT ROWID"
        )
        # stamps of earlier versions lacked inode and change; their files are hashed again
        self._index.execute("DROP TABLE IF EXISTS files")
        self._index.execute(
            "CREATE TABLE IF NOT EXISTS stamps (path TEXT PRIMARY KEY, size INTEGER,"
            " modified INTEGER, inode INTEGER, changed INTEGER, hash TEXT) WITHOUT ROWID"
        )
        # a file of pixels that was cut or deleted: what is not there is read anew. Locked first: another process may be writing
        self._index.execute("BEGIN IMMEDIATE")
        whole = os.fstat(self._file).st_size // self._size
        self._index.execute("DELETE FROM pixels WHERE slot >= ?", (whole,))
        self._index.execute("COMMIT")

    def _damage(self, why: str) -> tuple[str, str]:
        return (
            f"The pixel cache '{self.folder}' is damaged ({why}).",
            "Delete the folder: it is made again.",
        )

    def close(self) -> None:
        self._index.close()
        os.close(self._file)

    def find(self, content_hash: str) -> int | None:
        """Slot of a content, None when it is not here."""
        with self._lock:
            row = self._index.execute(
                "SELECT slot FROM pixels WHERE hash = ?", (content_hash,)
            ).fetchone()
        return None if row is None else int(row[0])

    def find_files(self, stamps: Sequence[Stamp]) -> dict[Stamp, tuple[str, int]]:
        """(hash, slot) of the files that had the very same stamp when they were read."""
        query = (
            "SELECT path, size, modified, inode, changed, hash, slot"
            " FROM stamps JOIN pixels USING (hash) WHERE path IN"
        )
        with self._lock:
            rows = self._index.execute(
                f"{query} ({','.join('?' * len(stamps))})", [s[0] for s in stamps]
            ).fetchall()
        here = {
            Stamp(*stamp): (content_hash, slot) for *stamp, content_hash, slot in rows
        }
        return {stamp: here[stamp] for stamp in stamps if stamp in here}

    def add(
        self,
        batch: list[tuple[str, np.ndarray]],
        files: list[tuple[Stamp, str]],
    ) -> dict[str, int]:
        """Store pictures (hash, uint8 [height, width, 3]) and what files hold (stamp, hash); gives hash -> slot.

        The pixels are on disk before the index names them, so that a run killed here leaves nothing half-written.

        Raises:
            DataError: the cache's size limit is reached.
        """
        slots: dict[str, int] = {}
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                (used,) = self._index.execute(
                    "SELECT COALESCE(MAX(slot) + 1, 0) FROM pixels"
                ).fetchone()
                for content_hash, pixels in batch:
                    row = self._index.execute(
                        "SELECT slot FROM pixels WHERE hash = ?", (content_hash,)
                    ).fetchone()
                    slots[content_hash] = used if row is None else int(row[0])
                    if row is None:
                        self._write(used, pixels)
                        self._index.execute(
                            "INSERT INTO pixels VALUES (?, ?)", (content_hash, used)
                        )
                        used += 1
                self._index.executemany(
                    "INSERT OR REPLACE INTO stamps VALUES (?, ?, ?, ?, ?, ?)",
                    [(*stamp, content_hash) for stamp, content_hash in files],
                )
                os.fdatasync(self._file)
                self._index.execute("COMMIT")
            except BaseException:
                self._index.execute("ROLLBACK")
                raise
        return slots

    def _write(self, slot: int, pixels: np.ndarray) -> None:
        if (slot + 1) * self._size > self._room:
            raise DataError(
                f"The pixel cache '{self.folder}' is full ({self._room / 1e9:.3g} GB).",
                "Set LABELSIEVE_CACHE to a folder on a larger disk, raise LABELSIEVE_CACHE_GB, or run labelsieve cache --clear.",
            )
        try:
            written = os.pwrite(
                self._file, np.ascontiguousarray(pixels).tobytes(), slot * self._size
            )
        except OSError as error:
            raise DataError(
                f"The pixel cache cannot be written: {error.strerror}.", OTHER_PLACE
            ) from error
        if written < self._size:
            raise DataError(
                "The pixel cache cannot be written: the disk is full.", OTHER_PLACE
            )

    def read(self, slots: np.ndarray) -> np.ndarray:
        """uint8 [b, height, width, 3] of the pictures at `slots` [b]. Raises DataError when they are not there any more."""
        out = np.empty((len(slots), *self.shape), dtype=np.uint8)
        flat = out.reshape(len(slots), -1)
        for row, slot in enumerate(slots):
            if os.preadv(self._file, [flat[row]], int(slot) * self._size) < self._size:
                raise DataError(*self._damage(f"picture {slot} is not there"))
        return out
