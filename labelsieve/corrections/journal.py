"""Changes of files written down as steps before they are done, so that an interrupted call can be finished by the next.

A step moves one file or folder. Each is such that doing it again changes nothing, and none goes to where another began.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from labelsieve.errors import DataError, RunError
from labelsieve.files import (
    fingerprint,
    path_to_uri,
    read_json,
    uri_to_path,
    write_json,
)

Step = dict[str, str]
NAME = "journal.json"


def step(verb: str, old: Path, new: Path, keep: Path | None = None) -> Step:
    """One change.

    Args:
        verb: move; replace (what is there goes); swap (what is there goes to `keep`); link (a second name, or a copy);
            remove-empty (`old` is a folder; `new` is not used).
    """
    return {
        "do": verb,
        "from": _uri(old),
        "to": _uri(new),
        **({"keep": _uri(keep)} if keep else {}),
    }


def _uri(path: Path) -> str:
    return path_to_uri(os.path.abspath(path))


def _path(uri: str) -> Path:
    return Path(uri_to_path(uri))


def carry_out(state: Path, steps: list[Step]) -> None:
    """Write the steps down in a folder, then do them."""
    write_json(state / NAME, {"steps": steps, "check": fingerprint(steps)})
    _sync(state / NAME)
    _sync(state)
    finish(state)


def finish(state: Path) -> bool:
    """Do what an interrupted call left undone; gives whether there was anything.

    Raises:
        RunError: the list of steps is damaged.
        DataError: a file is neither at its old nor at its new place.
    """
    journal = state / NAME
    if not journal.exists():
        return False
    found = read_json(journal)
    if found.get("check") != fingerprint(found.get("steps")):
        raise RunError(
            f"'{journal}' is damaged.", "Compare the data with the patch by hand."
        )
    for todo in found["steps"]:
        old, new = _path(todo["from"]), _path(todo["to"])
        if todo["do"] == "swap" and os.path.lexists(old) and os.path.lexists(new):
            _do("move", new, _path(todo["keep"]))
        _do(todo["do"], old, new)
    journal.unlink()
    return True


def _do(verb: str, old: Path, new: Path) -> None:
    """One step; doing it again changes nothing."""
    if verb == "remove-empty":
        with contextlib.suppress(
            OSError
        ):  # it holds files of somebody else, or is gone already
            old.rmdir()
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(old):
        if not os.path.lexists(new):
            raise DataError(
                f"'{old}' is gone, and it is not at '{new}' either.",
                "Put it back and call again.",
            )
        return
    if verb == "link":
        if not new.exists():
            _link_or_copy(old, new)
    elif verb == "move" and os.path.lexists(new):
        raise DataError(f"'{new}' appeared meanwhile.", "Move it away and call again.")
    else:
        os.replace(old, new)
    _sync(new.parent)


def _link_or_copy(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        part = new.with_name(f".{new.name}.partial")
        shutil.copy2(old, part)
        part.replace(new)


def _sync(place: Path) -> None:
    """Make a file, or renames in a folder, durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
