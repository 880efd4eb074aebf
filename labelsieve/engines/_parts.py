"""Results of shards, kept until they are merged: in a folder, or in an object store.

A part is written aside and renamed, or put as one object, and carries a digest of its bytes; what
does not match is no part. Writing the same part twice does no harm: its name stands for all that
its bytes depend on.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from labelsieve import registry
from labelsieve.data.sources._remote import url_of
from labelsieve.errors import DataError, OptionError
from labelsieve.files import remove, replacing
from labelsieve.progress import plain

DIGEST = 32  # bytes of SHA-256 behind each part


class Parts(Protocol):
    """Named bytes that several processes share."""

    def put(self, name: str, data: bytes) -> None:
        """Write whole or not at all."""
        ...

    def get(self, name: str) -> bytes | None:
        """What was written; None where there is none, or only a damaged one."""
        ...

    def claim(self, name: str) -> bool:
        """Take a name for oneself; False where another one has it."""
        ...

    def age(self, name: str) -> float | None:
        """Seconds since it was written; None where there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names below a folder, sorted."""
        ...

    def remove(self, name: str) -> None:
        """Remove a part, or a folder of them, if it is there."""
        ...


def open_parts(where: str | Path) -> Parts:
    """Parts in a folder, or below a URL of an object store."""
    url = url_of(where)
    return FolderParts(Path(where)) if url is None else ObjectParts(url)


def sealed(data: bytes) -> bytes:
    """Bytes and their digest."""
    return data + hashlib.sha256(data).digest()


def opened(data: bytes) -> bytes | None:
    """The inverse of `sealed`; None where a bit has changed."""
    content, digest = data[:-DIGEST], data[-DIGEST:]
    return content if hashlib.sha256(content).digest() == digest else None


@contextlib.contextmanager
def of_workers() -> Iterator[None]:
    """Names what a worker sent where its bytes are read.

    Raises:
        DataError: they are not what is asked for, as of a worker of another version.
    """
    try:
        yield
    # libraries raise errors of many kinds for bytes that are not theirs
    except Exception as error:
        raise DataError(
            f"A worker sent what cannot be read: {plain(str(error))[:200]}.",
            "All workers need the same version of labelsieve, and the same data.",
        ) from error


class FolderParts:
    """Parts as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, data: bytes) -> None:
        """As `Parts.put`."""
        with replacing(self.folder / name) as scratch:
            scratch.write_bytes(sealed(data))

    def get(self, name: str) -> bytes | None:
        """As `Parts.get`."""
        with contextlib.suppress(OSError):
            return opened((self.folder / name).read_bytes())
        return None

    def claim(self, name: str) -> bool:
        """As `Parts.claim`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # one of several wins, also on network file systems
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        return True

    def age(self, name: str) -> float | None:
        """As `Parts.age`, by the clock of the file system."""
        try:
            return time.time() - (self.folder / name).stat().st_mtime
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """As `Parts.names`."""
        found = []
        for file in sorted((self.folder / folder).rglob("*")):
            # what begins with a dot is being written
            if file.is_file() and not file.name.startswith("."):
                found.append(file.relative_to(self.folder).as_posix())
        return found

    def remove(self, name: str) -> None:
        """As `Parts.remove`."""
        remove(self.folder / name)


class ObjectParts:
    """Parts as objects, through fsspec.

    Raises:
        OptionError: the URL cannot be written to.
    """

    def __init__(self, url: str) -> None:
        fsspec = registry.need("fsspec")
        try:
            self._system, self._root = fsspec.core.url_to_fs(
                url, use_listings_cache=False
            )
        except ImportError as error:
            raise OptionError(
                f"'{url}' needs a library: {error}.",
                "Install it with: pip install 'labelsieve[remote]'.",
            ) from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def put(self, name: str, data: bytes) -> None:
        """As `Parts.put`: an object appears whole."""
        try:
            self._system.pipe_file(self._path(name), sealed(data))
        # clients raise errors of many kinds
        except Exception as error:
            raise DataError(
                f"'{self._path(name)}' cannot be written: {error}."
            ) from error

    def get(self, name: str) -> bytes | None:
        """As `Parts.get`."""
        try:
            return opened(self._system.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def claim(self, name: str) -> bool:
        """As `Parts.claim`: put on condition that there is none."""
        try:
            self._system.pipe_file(self._path(name), b"", mode="create")
        except FileExistsError:
            return False
        return True

    def age(self, name: str) -> float | None:
        """As `Parts.age`."""
        try:
            info: dict[str, Any] = self._system.info(self._path(name), refresh=True)
        except FileNotFoundError:
            return None
        written = info.get("LastModified") or info.get("mtime")
        # some stores do not say: what is there may be new
        return 0.0 if written is None else time.time() - written.timestamp()

    def names(self, folder: str) -> list[str]:
        """As `Parts.names`."""
        try:
            found = self._system.find(self._path(folder))
        except FileNotFoundError:
            return []
        below = self._root.rstrip("/") + "/"
        return sorted(path.removeprefix(below) for path in found)

    def remove(self, name: str) -> None:
        """As `Parts.remove`."""
        with contextlib.suppress(FileNotFoundError):
            self._system.rm(self._path(name), recursive=True)
