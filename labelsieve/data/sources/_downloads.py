"""What was fetched from other machines, kept: it is fetched again only where it changed there.

One file per URL below `downloads/` of the cache: a line of JSON that says what the other side
told its version by (an ETag, size and time), the bytes, and a SHA-256 of URL, line and bytes. No
file says which URL it is of, as a URL may hold a password, and only its owner may read it.
Whatever is wrong with a file, the picture is fetched again; deleting the folder is always safe.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from labelsieve import progress
from labelsieve.cache import DIGEST, cache_folder, cache_limit, make_folder
from labelsieve.errors import LabelsieveError
from labelsieve.files import ABANDONED

FOLDER = "downloads"
LIMIT = "LABELSIEVE_DOWNLOADS_GB"  # 0 keeps nothing
LEAVES = (
    3 / 4
)  # of the room is filled after some was made: not again at the next picture
# Where kept files may be taken without asking whether the other side still has them: URLs of
# those that were.
_UNASKED: ContextVar[list[str] | None] = ContextVar("unasked", default=None)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was fetched once.

    Attributes:
        stamp: what told its version then, such as an ETag.
    """

    stamp: Mapping[str, str]
    data: bytes


@contextlib.contextmanager
def unasked() -> Iterator[list[str]]:
    """In this block what is kept is taken as it is, for callers who know its content's hash.

    Yields:
        URLs of what was taken; grows.
    """
    taken: list[str] = []
    token = _UNASKED.set(taken)
    try:
        yield taken
    finally:
        _UNASKED.reset(token)


def is_taken(url: str) -> bool:
    """Whether what is kept of a URL is taken without asking the other side."""
    taken = _UNASKED.get()
    if taken is None:
        return False
    taken.append(url)
    return True


@functools.lru_cache(maxsize=4)
def opened(folder: Path) -> Downloads:
    """The downloads in a cache folder, one object for all that fetch."""
    return Downloads(folder / FOLDER)


def of_cache() -> Downloads:
    """Those in the user's cache."""
    return opened(cache_folder())


class Downloads:
    """Files by URL within a limit. Never in the way: without room or rights nothing is kept.

    Safe to use from several threads, and by several processes.

    Args:
        folder: made when something is kept.
        room: bytes of all files; None: as `labelsieve.cache.cache_limit` says, or `LIMIT`.
    """

    def __init__(self, folder: Path, room: int | None = None) -> None:
        self.folder = folder
        self._room = room
        self._lock = threading.Lock()
        self._taken = 0
        self._begun = 0.0  # when this process first kept or found something
        self._ready = False  # the folder was made and looked at
        self._ends = False  # nothing is kept any more
        self._told: set[str] = set()

    def find(self, url: str) -> Kept | None:
        """What was kept of a URL, byte for byte; None where there is nothing, or only damage."""
        path = self._path(url)
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                return None
            whole = path.read_bytes()
        except OSError:
            return None
        kept = _unsealed(url, whole)
        if kept is None:
            self._tell("A download in the cache is damaged and is fetched again.")
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._use(path, status.st_mtime)
        return kept

    def put(self, url: str, stamp: Mapping[str, str], data: bytes) -> None:
        """Keep what a URL gave; without a stamp nothing would tell whether it changed."""
        if not stamp:
            return
        head = json.dumps(dict(stamp), sort_keys=True).encode() + b"\n"
        size = len(head) + len(data) + DIGEST
        # what cannot be written is fetched again the next time
        with contextlib.suppress(OSError):
            if self._has_room(size):
                self._write(self._path(url), url, head + data)

    def _path(self, url: str) -> Path:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        # folders of 256 parts: a million files in one are slow on some systems
        return self.folder / name[:2] / name[2:]

    def _write(self, path: Path, url: str, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        # two threads may fetch one picture at once, as it may have several boxes
        scratch = path.with_name(
            f"{path.name}.{os.getpid()}-{threading.get_ident()}.partial"
        )
        try:
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(handle, "wb") as file:
                file.write(content)
                file.write(_seal(url, content))
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise

    def _use(self, path: Path, used: float) -> None:
        """Note that it was of use: what was not goes first where room is needed."""
        with self._lock:
            self._begin()
        # once per process, so that reading writes next to nothing
        if used < self._begun:
            with contextlib.suppress(OSError):
                os.utime(path)

    def _begin(self) -> None:
        # clocks of file systems are coarser than the processor's
        self._begun = self._begun or time.time() - 1

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if not self._ready:
                self._prepare()
            room = self._room or 0
            if self._ends or size > room:
                return False
            if self._taken + size > room:
                self._make_room(room)
            self._ends = self._taken + size > room
            if self._ends:
                self._tell(
                    f"The cache of downloads is full ({room / 1e9:.3g} GB): what is fetched "
                    f"now is fetched again by the next scan. {LIMIT} gives it more."
                )
                return False
            self._taken += size
            return True

    def _prepare(self) -> None:
        """Make the folder, for its owner alone, and see what it holds."""
        self._ready = True
        self._begin()
        try:
            make_folder(self.folder)
            self.folder.chmod(0o700)
            self._taken = sum(size for _, size, _ in self._entries())
            if self._room is None:
                self._room = cache_limit(self._taken, LIMIT)
        except (OSError, LabelsieveError):
            self._room = 0

    def _entries(self) -> Iterator[tuple[float, int, str]]:
        """When each file was used last, bytes and path; scratch files of killed ones go."""
        for where, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(where, name)
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    old = time.time() - status.st_mtime > ABANDONED
                    if name.endswith(".partial") and old:
                        os.unlink(path)
                        continue
                    yield status.st_mtime, status.st_size, path

    def _make_room(self, room: int) -> None:
        """Delete what was not used for longest, but nothing that was used since the start.

        A data set that is larger than the room would else push itself out: each scan would
        fetch what the one before it had kept and dropped again.
        """
        entries = sorted(self._entries())
        self._taken = sum(size for _, size, _ in entries)
        for used, size, path in entries:
            if used >= self._begun or self._taken <= LEAVES * room:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                self._taken -= size

    def _tell(self, what: str) -> None:
        """One line of notice, however many files it is about."""
        if what not in self._told:
            self._told.add(what)
            progress.note(what)


def _seal(url: str, content: bytes) -> bytes:
    # with the URL: a picture of another one is no picture of this one
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass") + b"\0")
    digest.update(content)
    return digest.digest()


def _unsealed(url: str, whole: bytes) -> Kept | None:
    """A file as it was written; None where it is anything else."""
    content = whole[:-DIGEST]
    if len(whole) <= DIGEST or _seal(url, content) != whole[-DIGEST:]:
        return None
    head, _, data = content.partition(b"\n")
    return Kept(json.loads(head), data)
