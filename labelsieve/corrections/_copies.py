"""Copies of files, and of whole data sets: written, and known again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from labelsieve.corrections.history import digest
from labelsieve.corrections.patch import patch_id
from labelsieve.data.sources import STATE
from labelsieve.errors import OptionError, RunError
from labelsieve.files import (
    below,
    path_to_uri,
    read_json,
    readable,
    remove,
    uri_to_path,
    write_json,
)

MARK = "copying"  # file in the history of a copy under way: which patch it is by
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


def begin_copy(output: Path, wanted: str, uris: Iterable[str]) -> Path:
    """The mark of a copy under way; what does not belong to it is removed.

    What an interrupted call left behind may have been damaged since, or be somebody else's.

    Args:
        wanted: names the patch; what another one left there goes as a whole.
        uris: files that the copy will hold.
    """
    mark = output / STATE / MARK
    is_ours = mark.is_file() and mark.read_text("utf-8", "replace") == wanted
    # no copy of ours has links: files would be written to where they lead
    if os.path.lexists(output) and not (is_ours and not _has_links(output)):
        remove(output)
    mark.parent.mkdir(parents=True, exist_ok=True)
    try:
        mark.write_text(wanted, encoding="utf-8")
    except OSError as error:
        # of a full disk, the write knows no name
        error.filename = error.filename or str(mark)
        raise
    _sweep(output, {mark, *(output / uri_to_path(uri) for uri in uris)})
    return mark


def _has_links(folder: Path) -> bool:
    return any(path.is_symlink() for path in (folder, *folder.rglob("*")))


def _sweep(folder: Path, wanted: set[Path]) -> None:
    """Remove all but files that are wanted, and the folders that these lie in."""
    above = {parent for path in wanted for parent in path.parents}
    for path in sorted(folder.rglob("*")):
        kept = path in above if path.is_dir() else path in wanted
        if not kept and os.path.lexists(path):
            remove(path)


def put(old: Path, new: Path, links: bool) -> None:
    """A second name for a file, or a copy that takes its name when it is whole.

    Args:
        links: the copy may share its bytes with the original.
    """
    if os.path.lexists(new):
        if _is_put(old, new, links):
            return
        remove(new)
    new.parent.mkdir(parents=True, exist_ok=True)
    if links and not old.is_symlink():
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(old, new)
            return
    # hashed, as the name may be as long as the file system allows
    name = hashlib.sha256(os.fsencode(new.name)).hexdigest()[:16]
    part = new.with_name(f".{name}.partial")
    copy_file(old, part)
    part.replace(new)


def _is_put(old: Path, new: Path, links: bool) -> bool:
    """Whether an interrupted call put a file there that may stay."""
    if not _is_same(old, new):
        return False
    if new.samefile(old):
        return links
    return (
        new.stat().st_nlink == 1
    )  # a second name of yet another file would change with it
