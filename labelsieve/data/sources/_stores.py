"""Where pictures lie that something else names: a folder, a zip or a tar file.

Members are read where they lie, when they are wanted; nothing is unpacked.
"""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from labelsieve.data.images import LARGEST_FILE
from labelsieve.data.sources._remote import RemoteStore, url_of
from labelsieve.data.sources._tar import TarMember, is_packed, is_tar, members
from labelsieve.errors import DataError, ImageError
from labelsieve.files import readable
from labelsieve.progress import plain

# A member that unpacks to more than so many bytes, and to more than so many times what it takes,
# is a bomb: photos are packed already, and even plain bitmaps of one colour are small.
BOMB = 64 << 20
BOMB_RATIO = 100


class Store(Protocol):
    """Pictures by their names."""

    def names(self) -> Iterator[str]:
        """Names of all files, with slashes, in a fixed order."""
        ...

    def member(self, name: str) -> Any:
        """A path, or what has `read_bytes()` like one; what is missing fails when it is read."""
        ...


def open_store(root: Path) -> Store:
    """The store of a folder, a zip or a tar file, or of a URL that pathlib holds.

    Raises:
        DataError: it is none of these, or damaged.
    """
    url = url_of(root)
    if url is not None:
        return RemoteStore(url)
    if root.is_dir():
        return FolderStore(root)
    if not root.is_file():
        raise DataError(
            f"--root '{root}' is not a folder.",
            "Name the folder that the image paths are relative to.",
        )
    if root.suffix.lower() == ".zip":
        return ZipStore(root)
    # of a compressed one each picture would be looked for from the start
    if is_tar(root) and not is_packed(root):
        return TarStore(root)
    raise DataError(
        f"--root '{readable(root)}' is neither a folder nor a zip or tar file.",
        "Pictures in a compressed tar file cannot be read one by one: unpack it.",
    )


@dataclass(frozen=True)
class FolderStore:
    """Files below a folder."""

    root: Path

    def names(self) -> Iterator[str]:
        """As `Store.names`."""
        # sorted, as file systems list in any order
        for file in sorted(self.root.rglob("*")):
            if file.is_file():
                yield file.relative_to(self.root).as_posix()

    def member(self, name: str) -> Path:
        """As `Store.member`."""
        return self.root / name


class ZipStore:
    """Members of a zip file.

    Raises:
        DataError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"'{readable(path)}' cannot be read as zip: {plain(str(error))}.",
                "Is the file whole? Copy it again.",
            ) from error

    def names(self) -> Iterator[str]:
        """As `Store.names`; each once, as unpacking would leave it."""
        # a dictionary keeps the order of the file
        for name in dict.fromkeys(self._zip.namelist()):
            if not name.endswith("/"):
                yield name

    def repeated(self) -> list[str]:
        """Names that several members have."""
        seen: set[str] = set()
        twice: dict[str, None] = {}
        for name in self._zip.namelist():
            if name in seen:
                twice[name] = None
            seen.add(name)
        return list(twice)

    def member(self, name: str) -> ZipMember:
        """As `Store.member`."""
        return ZipMember(self, name)

    def read(self, name: str) -> bytes:
        """Bytes of a member; raises ImageError with the reason."""
        try:
            info = self._zip.getinfo(name)
            # a header may say that it takes nothing
            packed = max(1, info.compress_size)
            if info.file_size > BOMB and info.file_size > BOMB_RATIO * packed:
                raise ImageError("decompression bomb")
            with self._zip.open(info) as file:
                # what the header says of its size need not be true
                return file.read(LARGEST_FILE + 1)
        except ImageError:
            raise
        except KeyError as error:
            raise ImageError(f"not in '{readable(self.path.name)}'") from error
        # a RuntimeError, too
        except NotImplementedError as error:
            raise ImageError(
                f"packed in a way that is not read: {plain(str(error))}"
            ) from error
        except RuntimeError as error:  # what the library raises for a password
            raise ImageError("encrypted") from error
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError) as error:
            raise ImageError(f"damaged in the zip file: {error}") from error


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of a zip file, read when it is wanted."""

    store: ZipStore
    name: str

    def read_bytes(self) -> bytes:
        """Its bytes; raises ImageError with the reason."""
        return self.store.read(self.name)


class TarStore:
    """Members of a tar file that is not compressed.

    Raises:
        DataError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._members: dict[str, TarMember] = {}
        self._twice: dict[str, None] = {}
        # the headers alone: no content is read
        for member in members(path, self.notes):
            if isinstance(member, TarMember):
                if member.name in self._members:
                    self._twice[member.name] = None
                # the last of several, as unpacking would leave it
                self._members[member.name] = member

    def names(self) -> Iterator[str]:
        """As `Store.names`."""
        yield from self._members

    def repeated(self) -> list[str]:
        """Names that several members have."""
        return list(self._twice)

    def member(self, name: str) -> Any:
        """As `Store.member`."""
        return self._members.get(name) or Missing(
            f"not in '{readable(self.path.name)}'"
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """What fails when it is read, with a reason."""

    reason: str

    def read_bytes(self) -> bytes:
        """Raises ImageError."""
        raise ImageError(self.reason)


def is_there(root: Path, name: str) -> bool:
    """Whether a name of the data is a file below a folder; False where it can be none."""
    try:
        return (root / name).is_file()
    # a name of thousands of letters, or with a zero byte
    except (OSError, ValueError):
        return False


def leads_out(name: str) -> bool:
    """Whether unpacking a member would write outside of the folder it is unpacked to."""
    # zip files of Windows have backslashes
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name
