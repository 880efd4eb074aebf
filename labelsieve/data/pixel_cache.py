"""The pixel cache: decoded, resized pictures on disk, found by the hash of their content.

One folder per preprocessing: `pixels.u8` holds uint8 [height, width, 3] after one another,
`index.sqlite` knows which content is where, and what a file with a given stamp held. Pictures
are read, not mapped, so that the memory of a long run does not grow with the data.

Nothing that is read back is trusted: each row of the index carries a checksum of itself, and
one of its content's name and pixels together. What is damaged is computed anew. Deleting the
folder is always safe.
"""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelsieve import progress
from labelsieve.cache import OTHER_PLACE, cache_limit, make_folder
from labelsieve.data import _pixel_index as index
from labelsieve.errors import DataError
from labelsieve.files import remove
from labelsieve.sqlite import transaction

# The -wal goes with its index: left behind, it would be played into a new one.
FILES = ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "pixels.u8")
VARIABLES = 900  # in one query: old versions of SQLite take 999


class Stamp(NamedTuple):
    """What a file is recognised by: it holds what it held while all of these are the same.

    Numbers fit into SQLite's 64 bits with a sign.
    """

    path: str  # absolute, as `labelsieve.files.path_to_uri` writes it
    size: int  # bytes
    modified: int  # ns; anyone can set it, and archives do when they are unpacked
    inode: int  # another one when the file is replaced or a link points elsewhere
    changed: int  # ns, when contents or attributes last changed; nobody can set it


class Known(NamedTuple):
    """A picture that is in the cache."""

    content_hash: str
    slot: int
    extent: str  # `labelsieve.data.decoding.depth.Extent` as JSON; empty for 8 bits


class New(NamedTuple):
    """A picture to store."""

    content_hash: str
    # uint8 [height, width, 3]; None: they are read from the data when they are wanted
    pixels: np.ndarray | None
    extent: str = ""


class PixelCache:
    """Pictures of one size, by content hash. Safe to use from several threads and processes.

    Args:
        folder: made when missing; one that cannot be written is used for what it holds.
        height, width: of every picture.

    Attributes:
        restore: slot -> (content hash, uint8 [height, width, 3]) from the data themselves, for
            a stored picture that turns out to be damaged; None where they are not at hand.

    Raises:
        DataError: the folder cannot be made, read or written.
    """

    def __init__(self, folder: Path, height: int, width: int) -> None:
        make_folder(folder)
        self.folder = folder
        self.shape = (height, width, 3)
        self.restore: Callable[[int], tuple[str, np.ndarray]] | None = None
        self.read_only = False
        self._size = height * width * 3
        self._lock = threading.Lock()  # of the index
        self._seeking = threading.Lock()  # of the position in the file of pixels
        # slots that were verified: training reads the same pictures in every epoch
        self._verified = np.zeros(0, dtype=bool)
        self._told = False
        with self._errors():
            self._open()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What the system or SQLite says becomes an error that names the folder."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or error
            what = f"The pixel cache '{self.folder}' cannot be used: {why}."
            if not index.is_damage(error) or self.read_only:
                raise DataError(what, OTHER_PLACE) from error
            self._remove_files()  # its slots are in use: it cannot be made anew right now
            raise DataError(what, "It was removed; run the command again.") from error

    def _open(self) -> None:
        try:
            self._remove_strange()
            self._open_files(writable=True)
        except (OSError, sqlite3.DatabaseError) as error:
            if index.is_damage(error):
                self._tell("The index of the pixel cache is damaged")
                self._remove_files()
                self._open_files(writable=True)
                return
            if not self._open_read_only():
                raise

    def _open_files(self, *, writable: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        # Windows would else translate line ends
        flags |= getattr(os, "O_BINARY", 0)
        handle = os.open(self.folder / "pixels.u8", flags, 0o644)
        self._close_file = weakref.finalize(self, os.close, handle)
        self._file = io.FileIO(handle, "r+" if writable else "r", closefd=False)
        try:
            taken = os.fstat(handle).st_size
            self._room = cache_limit(taken) if writable else 0
            self._index = index.open_index(self.folder / FILES[0], writable=writable)
            if writable:
                self._forget_missing()
        except BaseException:  # Ctrl-C, too, must not leave it open
            self._close_file()
            raise

    def _forget_missing(self) -> None:
        """Of a file of pixels that was cut or deleted, what is not there is read anew."""
        # locked before the size is taken: another process may be writing more
        with transaction(self._index):
            whole = os.fstat(self._file.fileno()).st_size // self._size
            self._index.execute("DELETE FROM pixels WHERE slot >= ?", (whole,))

    def _open_read_only(self) -> bool:
        """Use what a folder holds that cannot be written."""
        with suppress(OSError, sqlite3.Error):
            self._open_files(writable=False)
            self.read_only = True
            return True
        return False

    def _remove_files(self) -> None:
        """Start anew. Removed, not emptied: another process may be reading them."""
        for name in FILES:
            (self.folder / name).unlink(missing_ok=True)

    def _remove_strange(self) -> None:
        """What is no file of its own cannot be this cache's: SQLite would follow a link."""
        for name in FILES:
            path = self.folder / name
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                self._tell(f"'{name}' in the pixel cache is no file")
                remove(path)

    def _tell(self, what: str) -> None:
        """One line of notice, however much is damaged."""
        if not self._told:
            progress.note(f"{what} ('{self.folder}'); pictures are decoded anew.")
        self._told = True

    def close(self) -> None:
        """Give files back; reading and writing end."""
        # where nobody calls this, the finalizer closes the file, and never twice
        self._index.close()
        self._close_file()

    def find(self, content_hash: str) -> Known | None:
        """A content, None when it is not here."""
        with self._lock, self._errors():
            row = self._row(content_hash)
        return None if row is None else Known(content_hash, row[1], row[2])

    def _row(self, content_hash: str) -> tuple[Any, ...] | None:
        """A row of the index that is as it was written."""
        row = self._index.execute(
            "SELECT * FROM pixels WHERE hash = ?", (content_hash,)
        ).fetchone()
        return row if row is not None and index.is_marked(row) else None

    def find_files(self, stamps: Sequence[Stamp]) -> dict[Stamp, Known]:
        """What those files hold that had the very same stamp when they were read."""
        wanted = set(stamps)
        known = {}
        for row in self._select(
            "stamps JOIN pixels USING (hash)", "path", [s.path for s in stamps]
        ):
            # the columns are hash, the rest of the stamp and its mark, the rest of the pixels
            content_hash, *values, mark, slot, extent, total, pixels_mark = row
            stamp = Stamp(*values)
            if (
                stamp in wanted
                and index.is_marked((*stamp, content_hash, mark))
                and index.is_marked((content_hash, slot, extent, total, pixels_mark))
            ):
                known[stamp] = Known(content_hash, slot, extent)
        return known

    def _select(
        self, tables: str, column: str, values: Sequence[Any]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows whose `column` is one of these values."""
        columns = "*"
        if tables != "pixels":
            stamp = "path, size, modified, inode, changed, stamps.mark"
            columns = f"hash, {stamp}, slot, extent, sum, pixels.mark"
        for start in range(0, len(values), VARIABLES):
            part = values[start : start + VARIABLES]
            marks = ",".join("?" * len(part))
            query = f"SELECT {columns} FROM {tables} WHERE {column} IN ({marks})"
            with self._lock, self._errors():
                rows = self._index.execute(query, part).fetchall()
            yield from rows

    def add(
        self, batch: Sequence[New], files: Sequence[tuple[Stamp, str]]
    ) -> dict[str, int]:
        """Store pictures, and what files hold (stamp, content hash); gives hash -> slot.

        The pixels are on disk before the index names them, so that a run killed here leaves
        nothing half-written.

        Raises:
            DataError: the cache's size limit is reached, or it cannot be written.
        """
        slots: dict[str, int] = {}
        if self.read_only and batch:
            what = f"The pixel cache '{self.folder}' cannot be written."
            raise DataError(what, OTHER_PLACE)
        if self.read_only:
            return slots
        rows = [index.marked(*stamp, content_hash) for stamp, content_hash in files]
        with self._lock, self._errors(), transaction(self._index):
            (used,) = self._index.execute(
                "SELECT COALESCE(MAX(slot) + 1, 0) FROM pixels"
            ).fetchone()
            for new in batch:
                # another process may have stored it meanwhile; now none can
                row = self._row(new.content_hash)
                slots[new.content_hash] = used if row is None else int(row[1])
                if row is None:
                    self._put(used, new)
                    used += 1
            self._index.executemany(
                "INSERT OR REPLACE INTO stamps VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._sync()
        return slots

    def _put(self, slot: int, new: New) -> None:
        """Write a picture, and its row into the open transaction."""
        total = None  # of a promise: no pixels have this sum, so they are read again
        end = (slot + 1) * self._size
        if new.pixels is None:
            # a hole: what lies beyond the end of the file would be forgotten
            if os.fstat(self._file.fileno()).st_size < end:
                os.ftruncate(self._file.fileno(), end)
        else:
            pixels = np.ascontiguousarray(new.pixels)
            self._write(slot, pixels)
            total = _sum(new.content_hash, pixels)
        self._index.execute(
            "INSERT OR REPLACE INTO pixels VALUES (?, ?, ?, ?, ?)",
            index.marked(new.content_hash, slot, new.extent, total),
        )

    def _write(self, slot: int, pixels: np.ndarray) -> None:
        if (slot + 1) * self._size > self._room:
            raise DataError(
                f"The pixel cache '{self.folder}' is full ({self._room / 1e9:.3g} GB).",
                "Set LABELSIEVE_CACHE to a folder on a larger disk, raise "
                "LABELSIEVE_CACHE_GB, or run labelsieve cache --clear.",
            )
        what = f"The pixel cache '{self.folder}' cannot be written"
        try:
            with self._seeking:
                self._file.seek(slot * self._size)
                written = self._file.write(pixels.data)
        except OSError as error:
            raise DataError(f"{what}: {error.strerror}.", OTHER_PLACE) from error
        if written < self._size:  # a raw file may write less without an error
            raise DataError(f"{what}: the disk is full.", OTHER_PLACE)

    def _sync(self) -> None:
        # fdatasync leaves out the time of change, which nobody needs; only Linux has it
        getattr(os, "fdatasync", os.fsync)(self._file.fileno())

    def read(self, slots: np.ndarray) -> np.ndarray:
        """uint8 [b, height, width, 3] of the pictures at `slots` [b], as they were stored.

        Raises:
            DataError: a picture is damaged and cannot be read from the data again.
        """
        # zeros where the file ends too early: their sum does not fit
        pixels = np.zeros((len(slots), *self.shape), dtype=np.uint8)
        with self._errors(), self._seeking:
            for row, slot in enumerate(slots):
                self._file.seek(int(slot) * self._size)
                self._file.readinto(pixels[row])
        for row, promised in self._missing(slots, pixels).items():
            pixels[row] = self._anew(int(slots[row]), promised)
        return pixels

    def _missing(self, slots: np.ndarray, pixels: np.ndarray) -> dict[int, bool]:
        """Rows whose pixels are not what was stored under the name of their content.

        Returns:
            Row -> whether they were only promised; damaged ones are told of.
        """
        last = int(slots.max(initial=-1))
        if last >= len(self._verified):
            # doubled, for pictures come one by one
            more = np.zeros(last + 1, dtype=bool)
            self._verified = np.concatenate([self._verified, more])
        rows = np.flatnonzero(~self._verified[slots])
        unverified = slots[rows].tolist()
        sums = {}
        for content_hash, slot, extent, total, mark in self._select(
            "pixels", "slot", unverified
        ):
            if index.is_marked((content_hash, slot, extent, total, mark)):
                sums[slot] = content_hash, total
        missing = {}
        for row in rows:
            slot = int(slots[row])
            name, total = sums.get(slot, ("", None))
            if total is not None and _sum(name, pixels[row]) == total:
                self._verified[slot] = True
            else:
                missing[int(row)] = slot in sums and total is None
        return missing

    def _anew(self, slot: int, promised: bool) -> np.ndarray:
        """A picture that is damaged, or was only promised, from the data; stored again."""
        if self.restore is None:
            raise DataError(
                f"The pixel cache '{self.folder}' is damaged (picture {slot}).",
                "Delete the folder: it is made again.",
            )
        if not promised:
            self._tell("The pixel cache is damaged")
        content_hash, pixels = self.restore(slot)
        if not self.read_only:
            with self._lock, self._errors(), transaction(self._index):
                row = self._row(content_hash)
                self._put(slot, New(content_hash, pixels, row[2] if row else ""))
                self._sync()
        return pixels


def _sum(content_hash: str, pixels: np.ndarray) -> int:
    """CRC-32 of a content's name and its pixels: 40 us at 224 x 224, which an encoder hides."""
    return zlib.crc32(pixels.data, zlib.crc32(content_hash.encode()))
