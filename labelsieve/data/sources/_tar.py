"""Members of tar files, read where they lie; nothing is unpacked and no link is followed."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import Any

from labelsieve.data.images import LARGEST_FILE
from labelsieve.errors import DataError, ImageError
from labelsieve.files import readable, refuse_endless
from labelsieve.progress import plain

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
# Bytes of a header that gives a long name: one of gigabytes would be read whole.
LONGEST_HEADER = 1 << 20
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
DAMAGED = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
FAULTS = (tarfile.TarError, OSError, EOFError, zlib.error, LZMAError, ValueError)


class _Info(tarfile.TarInfo):
    """A header that is refused where it is damaged, instead of taken for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Info:
        try:
            return super().fromtarfile(tar)
        except DAMAGED as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset:,}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in EXTENDED and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class TarMember:
    """A member of an unpacked tar file, read when it is wanted."""

    path: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Its bytes.

        Raises:
            ImageError: they cannot be read, or are more than a picture has.
        """
        if self.size > LARGEST_FILE:
            raise ImageError(f"too large: {self.size:,} bytes")
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageError(f"cannot be opened: {error.strerror or error}") from error


def is_tar(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.name.lower().endswith(SUFFIXES)


def is_packed(path: Path) -> bool:
    """Whether it is compressed, so that it can only be read from its start on."""
    return not path.name.lower().endswith(".tar")


def members(path: Path, notes: list[str]) -> Iterator[TarMember | tuple[str, bytes]]:
    """Its files in their order: members, or of a compressed one names and bytes.

    Args:
        notes: is told of what was left out: links, devices.

    Raises:
        DataError: it is damaged; says where.
    """
    left_out = 0
    try:
        refuse_endless(path)
        # "|" reads what is compressed in one go, and never seeks in it
        mode: Any = "r|*" if is_packed(path) else "r:"
        with tarfile.open(path, mode, tarinfo=_Info) as tar:
            for info in tar:
                # the library keeps them all, which takes a gigabyte of a million
                tar.members = []  # type: ignore[attr-defined]
                if info.type in FILES:
                    yield _member(path, tar, info)
                elif not info.isdir():
                    left_out += 1
    except FAULTS as error:
        text = str(error).strip() or type(error).__name__
        raise DataError(
            f"'{readable(path)}' cannot be read as tar: {plain(text)}.",
            "Is the file whole? Copy it again.",
        ) from error
    if left_out:
        notes.append(
            f"{left_out} links and devices in '{readable(path.name)}' were left out"
        )


def _member(
    path: Path, tar: tarfile.TarFile, info: tarfile.TarInfo
) -> TarMember | tuple[str, bytes]:
    if not is_packed(path):
        return TarMember(path, info.name, info.offset_data, info.size)
    file = tar.extractfile(info)
    # one byte more tells that it is too large to be a picture
    return info.name, file.read(LARGEST_FILE + 1) if file else b""
