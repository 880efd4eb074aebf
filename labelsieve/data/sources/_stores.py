"""Where pictures lie that something else names: a folder, a zip or a tar file.

Members are read where they lie, when they are wanted; nothing is unpacked.
"""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from labelsieve.data.images import LARGEST_FILE
from labelsieve.data.sources._layout import is_image
from labelsieve.data.sources._remote import RemoteStore, url_of
from labelsieve.data.sources._tar import TarMember, is_packed, is_tar, members
from labelsieve.errors import DataError, ImageError
from labelsieve.files import Bounds, readable
from labelsieve.progress import counted, plain

# A member that unpacks to more than so many bytes, and to more than so many times what it takes,
# is a bomb: photos are packed already, and even plain bitmaps of one colour are small.
BOMB = 64 << 20
BOMB_RATIO = 100
ENDS = (".jpg", ".jpeg", ".png", ".webp", ".JPG", ".JPEG", ".PNG")  # that are left away
LOOKED_FOR = 3  # pictures by which their folder is known


class Store(Protocol):
    """Pictures by their names."""

    def names(self) -> Iterator[str]:
        """Names of all files, with slashes, in a fixed order."""
        ...

    def member(self, name: str) -> Any:
        """A path, or what has `read_bytes()` like one; what is missing fails when it is read."""
        ...


def open_store(root: Path, *homes: Path) -> Store:
    """The store of a folder, a zip or a tar file, or of a URL that pathlib holds.

    Args:
        homes: folders beside `root` into which links in it may lead.

    Raises:
        DataError: it is none of these, or damaged.
    """
    url = url_of(root)
    if url is not None:
        return RemoteStore(url)
    if root.is_dir():
        return FolderStore(root, homes)
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
    """Files below a folder.

    Attributes:
        homes: folders beside it into which links may lead.
    """

    root: Path
    homes: tuple[Path, ...] = ()

    @cached_property
    def bounds(self) -> Bounds:
        """Where files may lie, links followed."""
        return Bounds(self.root, *self.homes)

    def names(self) -> Iterator[str]:
        """As `Store.names`."""
        # sorted, as file systems list in any order
        for file in sorted(self.root.rglob("*")):
            if file.is_file():
                yield file.relative_to(self.root).as_posix()

    def member(self, name: str) -> Path | Missing:
        """As `Store.member`; a link that leads out fails, too."""
        path = self.root / name
        return path if self.bounds.hold(path) else led_out(path)


def as_written(root: Path, path: str) -> Path:
    """The file that a table names, also as other systems and competitions write names.

    A path with the signs of Windows is one of folders, and "1" is "1.jpg", where the file of the
    very name is not there and the other one is.
    """
    file = root / path
    # most names end like a picture and have no such sign: they are not looked for
    if "\\" not in path and is_image(path):
        return file
    if "\0" in path or file.exists():
        return file
    turned = path.replace("\\", "/")
    ends = ("",) if is_image(turned) else ENDS
    found = [
        root / f"{turned}{end}" for end in ends if (root / f"{turned}{end}").exists()
    ]
    # of two that it might be, none is taken
    return found[0] if len(found) == 1 else file


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

    @cached_property
    def _members(self) -> dict[str, str]:
        """Names with slashes -> as they stand in the file, in its order."""
        # of several the last, as unpacking would leave it
        return {_slashed(name): name for name in self._zip.namelist()}

    def names(self) -> Iterator[str]:
        """As `Store.names`; each once."""
        for name in self._members:
            if not name.endswith("/"):
                yield name

    def repeated(self) -> list[str]:
        """Names that several members have."""
        seen: set[str] = set()
        twice: dict[str, None] = {}
        for name in map(_slashed, self._zip.namelist()):
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
            info = self._zip.getinfo(self._members.get(_slashed(name), name))
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


def _slashed(name: str) -> str:
    """A name in a zip file, of which some programs on Windows part folders by their own sign.

    As unzip has it, a name with a slash means the other sign as it stands.
    """
    return name if "/" in name else name.replace("\\", "/")


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


def led_out(path: Path) -> Missing:
    """What stands for a picture that is a link out of the data, or lies behind one."""
    try:
        target = readable(os.path.realpath(path))
    except (OSError, ValueError):
        target = "?"
    return Missing(
        f"a link leads out of the data, to '{target}'; --root FOLDER allows links into "
        "that folder"
    )


def where_pictures_are(
    named: str | None, beside: Path, names: Iterable[str]
) -> tuple[Path, tuple[Path, ...]]:
    """The folder that pictures are looked for in, and others into which its links may lead.

    That is what --root names or, where they lie beside the annotations as links, the folder of
    these: then --root says where the links may lead.

    Args:
        names: of pictures; the first tell which folder is theirs.
    """
    if named is None:
        return beside, ()
    root = Path(named)
    some = list(islice((name for name in names if not leads_out(name)), LOOKED_FOR))
    is_elsewhere = root.is_dir() and not any(is_there(root, name) for name in some)
    if is_elsewhere and any(is_there(beside, name) for name in some):
        return beside, (root,)
    return root, (beside,)


@dataclass
class Outside:
    """Counts pictures that a table names outside of its own folders.

    Own tables do so; a stranger's would carry anybody's pictures into what is shared.
    """

    bounds: Bounds
    count: int = 0
    first: str = ""

    def add(self, image: Any) -> None:
        """The image of a row: only a path can lead anywhere."""
        if isinstance(image, Path) and not self.bounds.hold(image):
            self.count += 1
            self.first = self.first or readable(image)

    def notes(self) -> list[str]:
        """A line with their number, where there are any."""
        if not self.count:
            return []
        lie = counted(self.count, "picture", "lies", "lie")
        return [
            f"{lie} outside of the data, such as '{self.first}'; the report shows them, and "
            "export asks for their folder"
        ]


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
