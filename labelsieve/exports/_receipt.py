"""What was exported to which folder or file, so that the same command knows its own work again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from labelsieve.errors import RunError
from labelsieve.files import fingerprint, read_json, state_folder, write_json


def write_receipt(folder: Path, target: Path, what: str, names: list[str]) -> None:
    """Note that a folder or file that is about to become `target` is an export.

    It lies in the user's state folder: other tools list the files of an export, and would take
    one more for data. Without such a folder the next call only says that `target` exists.

    Args:
        what: names the export: its format and its content.
        names: files in it that a person should know of.
    """
    content = {"export": what, "folder": _identity(folder), "files": names}
    with contextlib.suppress(OSError):
        write_json(_receipt(target), content)


def read_receipt(target: Path, what: str) -> list[str] | None:
    """The files to know of, where `target` is this export and nobody added to it since."""
    try:
        content = read_json(_receipt(target))
    except (RunError, OSError):  # none was written, or it is damaged
        return None
    if content.get("export") != what or content.get("folder") != _identity(target):
        return None
    return list(content["files"])


def is_own(target: Path) -> bool:
    """Whether a file is an earlier export, whatever of, that nobody changed since."""
    try:
        return read_json(_receipt(target)).get("folder") == _identity(target)
    except (RunError, OSError):  # none was written, or it is damaged
        return False


def _receipt(target: Path) -> Path:
    # by where it lies, whatever it is called from here
    name = fingerprint(os.fspath(target.resolve()))
    return state_folder() / "exports" / f"{name}.json"


def _identity(folder: Path) -> list[int]:
    """Tells a folder from a later one of the same name; renaming it changes neither number."""
    # adding or removing a file changes the time, another folder has another number
    status = folder.stat()
    return [status.st_ino, status.st_mtime_ns]
