"""Copies of files, and of whole data sets: written, and known again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from labelsieve.corrections.history import digest
from labelsieve.corrections.patch import patch_id
from labelsieve.data.sources import STATE
from labelsieve.errors import OptionError, RunError
from labelsieve.files import below, path_to_uri, read_json, readable, write_json

# What the system says of a place that takes no more bytes.
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def copy_file(old: Path, new: Path) -> None:
    """Copy a file with its times.

    Raises:
        OSError: of a full disk, it names `new`; Python names the file that was read.
    """
    try:
        shutil.copy2(old, new)
    except OSError as error:
        if error.errno in FULL:
            error.filename, error.filename2 = os.fspath(new), None
        raise


def write_mark(folder: Path, patch: pa.Table, files: Iterable[Path]) -> None:
    """Note in a finished copy which patch it is by, and what it wrote itself.

    Args:
        files: of the copy, which are not those of the data.
    """
    made = {}
    for file in files:
        made[path_to_uri(file.relative_to(folder).as_posix())] = digest(file)
    mark = _mark(folder, patch)
    mark.parent.mkdir(exist_ok=True)
    write_json(mark, {"files": made})


def read_mark(folder: Path, patch: pa.Table) -> dict[str, str] | None:
    """Uri -> digest, as `write_mark` noted; None where this is no copy by this patch."""
    mark = _mark(folder, patch)
    try:
        # a pipe would be read for ever
        files = read_json(mark).get("files") if mark.is_file() else None
    except (RunError, OSError):  # earlier versions noted nothing in it
        return None
    return files if isinstance(files, dict) else None


def check_copy(
    folder: Path, made: Mapping[str, str], others: Iterable[tuple[Path, str]] = ()
) -> None:
    """Whether a finished copy still holds all that was written into it.

    Args:
        made: uri -> digest of files that were written anew.
        others: files of the data, and their uris in the copy.

    Raises:
        OptionError: one is missing, or is another now.
    """
    for uri, wanted in made.items():
        file = below(folder, uri)
        if file is None or not file.is_file() or digest(file) != wanted:
            raise _not_whole(folder / uri)
    for source, uri in others:
        file = below(folder, uri)
        if file is None or not _is_same(source, file):
            raise _not_whole(folder / uri)


def _is_same(source: Path, file: Path) -> bool:
    if not file.is_file():
        return False
    # most are second names, and are not read
    if file.samefile(source):
        return True
    same_size = file.stat().st_size == source.stat().st_size
    return same_size and digest(file) == digest(source)


def _not_whole(file: Path) -> OptionError:
    return OptionError(
        f"'{readable(file)}' is missing, or is not as this patch wrote it.",
        "Delete the copy and call again, or choose another name with -o.",
    )


def _mark(folder: Path, patch: pa.Table) -> Path:
    return folder / STATE / f"copied-{patch_id(patch)}"
