"""What was exported to which folder or file, so that the same command knows its own work again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.errors import RunError
from labelsieve.files import (
    below,
    fingerprint,
    path_to_uri,
    read_json,
    sha256,
    state_folder,
    write_json,
)

ALONE = "."  # how an export that is one file is called in its own receipt
FOLDER = "folder"  # what is known of a folder: that it is one
LITTLE = 65_536  # bytes; what is no longer is read again whatever the file system says


@dataclass(frozen=True)
class Receipt:
    """What an export was made of.

    Attributes:
        names: files in it that a person should know of.
        holds: every file and folder below it, as a uri -> how it was written (`_stamp`).
    """

    names: list[str]
    holds: dict[str, str]


@dataclass(frozen=True)
class Found:
    """What became of an export, as uris below it: files and folders that are not as written."""

    missing: list[str]
    changed: list[str]
    strange: list[str]


def write_receipt(folder: Path, target: Path, what: str, names: list[str]) -> None:
    """Note that a folder or file that is about to become `target` is an export.

    It lies in the user's state folder: other tools list the files of an export, and would take
    one more for data. Without such a folder the next call only says that `target` exists.

    Args:
        what: names the export: its format and its content.
        names: files in it that a person should know of.
    """
    with contextlib.suppress(OSError):
        holds = {uri: _stamp(path) for uri, path in _listed(folder)}
        content = {"export": what, "holds": holds, "files": names}
        write_json(_receipt(target), content)


def read_receipt(target: Path, what: str) -> Receipt | None:
    """The receipt of `target` where it once was this very export; `compare` says what it is now."""
    content = _content(target)
    if content.get("export") != what:
        return None
    return Receipt(list(content["files"]), content["holds"])


def compare(target: Path, receipt: Receipt) -> Found:
    """What is missing, what is not as it was written, and what somebody else added."""
    there = dict(_listed(target))
    holds = receipt.holds
    missing = [uri for uri in holds if uri not in there]
    strange = [uri for uri in there if uri not in holds]
    known = [(uri, path) for uri, path in there.items() if uri in holds]
    changed = [uri for uri, path in known if not _is_as_written(path, holds[uri])]
    return Found(missing, changed, strange)


def is_own(target: Path) -> bool:
    """Whether a file is an earlier export, whatever of, that nobody changed since."""
    stamp = _content(target).get("holds", {}).get(ALONE)
    # it will be replaced: not even what looks untouched goes unread
    return stamp is not None and is_same(target, stamp)


def is_same(path: Path, stamp: str) -> bool:
    """Whether a file, or a folder, has the content of one that was written."""
    # no export of ours has links
    if path.is_symlink():
        return False
    if stamp == FOLDER or not path.is_file():
        return stamp == FOLDER and path.is_dir()
    size, *_, digest = stamp.split()
    return str(path.stat().st_size) == size and sha256(path) == digest


def _is_as_written(path: Path, stamp: str) -> bool:
    if path.is_symlink() or not path.is_file():
        return is_same(path, stamp)
    # one of the two times is set by the system alone, whatever a program did to the other
    untouched = stamp.startswith(f"{_status(path)} ")
    if untouched and path.stat().st_size > LITTLE:
        return True
    return is_same(path, stamp)


def _stamp(path: Path) -> str:
    """How a file is known again: size, number, two times, and the digest of its bytes."""
    return f"{_status(path)} {sha256(path)}" if path.is_file() else FOLDER


def _status(path: Path) -> str:
    is_now = path.stat()
    return f"{is_now.st_size} {is_now.st_ino} {is_now.st_mtime_ns} {is_now.st_ctime_ns}"


def _listed(folder: Path) -> Iterator[tuple[str, Path]]:
    """Uri below it -> file or folder, each folder before what is in it."""
    if not folder.is_dir():
        yield ALONE, folder
        return
    for path in sorted(folder.rglob("*")):
        yield path_to_uri(path.relative_to(folder).as_posix()), path


def _content(target: Path) -> dict[str, Any]:
    """What a receipt says; nothing where none was written, or it is damaged."""
    try:
        content = read_json(_receipt(target))
    except (RunError, OSError):
        return {}
    holds = content.get("holds")
    # earlier versions noted less, and could not tell
    if not isinstance(holds, dict) or not all(map(_is_stamp, holds.values())):
        return {}
    names = content.get("files")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return {}
    # what is missing is moved to where it is said to lie
    leads_out = any(below(target, uri) is None for uri in holds)
    return {} if leads_out else content


def _is_stamp(value: Any) -> bool:
    """Whether `_stamp` could have written this."""
    return isinstance(value, str) and (value == FOLDER or len(value.split()) == 5)


def _receipt(target: Path) -> Path:
    # by where it lies, whatever it is called from here
    name = fingerprint(os.fspath(target.resolve()))
    return state_folder() / "exports" / f"{name}.json"
