"""Changes of files, written down as steps before they are done.

So an interrupted call can be finished by the next one. A step moves one file or folder; doing it
again changes nothing, and none goes to where another began. No step leads out of the data, and
steps that somebody else wrote down are not carried out: they would move this user's files.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from labelsieve.corrections._copies import FULL, copy_file
from labelsieve.errors import DataError, RunError
from labelsieve.files import (
    fingerprint,
    is_inside,
    path_to_uri,
    read_json,
    readable,
    state_folder,
    sync,
    uri_to_path,
    write_json,
)
from labelsieve.progress import note

Step = dict[str, str]
NAME = "journal.json"
# what a step may do, see `step`
VERBS = ("move", "replace", "swap", "link", "remove-empty")
SECRET = "secret"  # file in the user's state folder
SECRET_BYTES = 32  # as long as the digest that it keys


def step(verb: str, old: Path, new: Path, keep: Path | None = None) -> Step:
    """One change.

    Args:
        verb: move; replace (what is there goes); swap (what is there goes to `keep`);
            link (a second name, or a copy); remove-empty (`old` is a folder; `new` is not used).
    """
    todo = {"do": verb, "from": _uri(old), "to": _uri(new)}
    if keep is not None:
        todo["keep"] = _uri(keep)
    return todo


def _uri(path: Path) -> str:
    return path_to_uri(os.path.abspath(path))


def _path(uri: str) -> Path:
    return Path(uri_to_path(uri))


def in_words(todo: Step) -> str:
    """A step for a person to read."""
    old = readable(_path(todo["from"]))
    if todo["do"] == "remove-empty":
        return f"{todo['do']}: {old}"
    return f"{todo['do']}: {old} → {readable(_path(todo['to']))}"


def carry_out(state: Path, steps: list[Step]) -> None:
    """Write the steps down in a folder beside or in the data, then do them.

    Args:
        state: the folder of the history; no step may leave the folder that holds it.

    Raises:
        DataError: a step would; nothing was done.
    """
    _check_inside(state, steps)
    _check_distinct(steps)
    content = {"steps": steps, "check": fingerprint(steps)}
    write_json(state / NAME, {**content, "owner": _owner(state, steps)})
    # on the disk before the first change is, or a power cut leaves half of them unexplained
    sync(state / NAME)
    sync(state)
    # these very steps: without a home nothing that is read again can be known to be ours
    _finish(state, steps)


def is_begun(state: Path) -> bool:
    """Whether steps are written down there, by whomever."""
    return os.path.lexists(state / NAME)


def pending(state: Path, *, trusted: bool = False) -> list[Step] | None:
    """The steps that an interrupted call wrote down; None where there was none.

    Args:
        trusted: the user has looked at steps that somebody else wrote down.

    Raises:
        RunError: the list of steps is damaged, or not this user's.
        DataError: a step leads out of the data.
    """
    journal = state / NAME
    if not is_begun(state):
        return None
    # a pipe would never end, and a link may lead to a file of somebody else
    if journal.is_symlink() or not journal.is_file():
        raise _damaged(journal)
    content = _content(journal)
    steps: Any = content.get("steps")
    if not _are_steps(steps) or content.get("check") != fingerprint(steps):
        raise _damaged(journal)
    if not trusted and not _is_ours(state, steps, content.get("owner")):
        raise RunError(
            f"'{readable(journal)}' lists unfinished changes that you did not begin here.",
            "Look at the file: --finish carries its steps out inside the data, and"
            " deleting it discards them.",
        )
    _check_inside(state, steps)
    return steps


def finish(state: Path, *, trusted: bool = False) -> bool:
    """Do what an interrupted call left undone.

    Returns:
        Whether there was anything.

    Raises:
        RunError, DataError: as `pending`.
        DataError: a file is neither where it was nor where it belongs.
    """
    steps = pending(state, trusted=trusted)
    if steps is None:
        return False
    _finish(state, steps)
    return True


def _finish(state: Path, steps: list[Step]) -> None:
    for todo in steps:
        # again at each step: the one before may have put a link on the way of this one
        _check_inside(state, [todo])
        try:
            _carry_out(todo)
        except OSError as error:  # no room, no right, a folder where a file should be
            raise DataError(
                f"{_in_vain(todo, error)}: {error.strerror}.",
                "Call again when that is repaired; it goes on from there.",
            ) from error
    (state / NAME).unlink()


def _in_vain(todo: Step, error: OSError) -> str:
    # of a full disk, what was read says nothing
    if error.errno in FULL:
        return f"'{readable(_path(todo['to']))}' could not be written"
    return f"'{readable(_path(todo['from']))}' could not be changed"


def _damaged(journal: Path) -> RunError:
    return RunError(
        f"'{readable(journal)}' is damaged.",
        "Compare the data with the patch by hand, then delete it.",
    )


def _content(journal: Path) -> dict[str, Any]:
    try:
        return read_json(journal)
    except (RunError, TypeError) as error:  # no JSON, or JSON of another shape
        raise _damaged(journal) from error


def _are_steps(steps: Any) -> bool:
    """Whether this is a list of steps, each with all that it needs."""
    return isinstance(steps, list) and all(map(_is_step, steps))


def _is_step(todo: Any) -> bool:
    if not isinstance(todo, dict) or todo.get("do") not in VERBS:
        return False
    needed = ["from", "to"]
    if todo["do"] == "swap":
        needed.append("keep")
    return all(_is_uri(todo.get(name)) for name in needed)


def _is_uri(value: Any) -> bool:
    """Whether `path_to_uri` could have written this."""
    try:
        # no path has a NUL byte, and asking the system for one is an error
        path = uri_to_path(value)
        return "\0" not in path and path_to_uri(path) == value
    except (TypeError, ValueError):  # no text, or text that has no bytes
        return False


def _check_inside(state: Path, steps: list[Step]) -> None:
    """Raises DataError where a step leads out of the folder that holds the history."""
    root = state.parent
    for todo in steps:
        for name in ("from", "to", "keep"):
            # what is removed goes nowhere; such steps name the root
            unused = name == "to" and todo["do"] == "remove-empty"
            if name in todo and not unused and not _stays(root, todo[name]):
                raise DataError(
                    f"'{readable(_path(todo[name]))}' lies outside of"
                    f" '{readable(root)}', where changes are made.",
                    "Is a folder there a link? Replace it by what it leads to.",
                )


def _check_distinct(steps: list[Step]) -> None:
    """Raises DataError where two steps are about the same file; half would be done."""
    for name in ("from", "to"):
        uris = [todo[name] for todo in steps if todo["do"] != "remove-empty"]
        # a table that is kept is linked first and replaced then
        if name == "from":
            uris = [t["from"] for t in steps if t["do"] in ("move", "swap", "replace")]
        if len(set(uris)) < len(uris):
            raise DataError(
                "Two corrections are about the same file.",
                "The patch, or the history of the data, is damaged.",
            )


def _stays(root: Path, uri: str) -> bool:
    path = _path(uri)
    return path.is_absolute() and is_inside(root, path)


def _is_ours(state: Path, steps: list[Step], owner: Any) -> bool:
    """Whether this user wrote these steps down in this folder."""
    known = _owner(state, steps)
    if known is None or not isinstance(owner, str):
        return False
    # as bytes: text that is not ASCII is an error for compare_digest
    return hmac.compare_digest(known.encode(), owner.encode("utf-8", "replace"))


def _owner(state: Path, steps: list[Step]) -> str | None:
    """What only this user can write beside these steps in this folder: a keyed digest of both."""
    try:
        secret = _secret()
    except (
        OSError
    ):  # no home that can be written: nothing can be told from a stranger's
        return None
    text = json.dumps([os.fspath(state.resolve()), steps], sort_keys=True)
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _secret() -> bytes:
    """Random bytes of this user, made when they are needed first."""
    path = state_folder() / SECRET
    known = _read_secret(path)
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{SECRET}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    # no one else may read it, not even for a moment
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(SECRET_BYTES))
    # its bytes before its name: a power cut would leave an empty one, which anybody knows
    sync(scratch)
    if os.path.lexists(path):
        note(
            f"'{readable(path)}' was damaged, and is new: what it signed is confirmed anew."
        )
        os.replace(scratch, path)
    _give_name(scratch, path)
    sync(path.parent)
    made = _read_secret(path)
    if made is None:
        raise OSError(f"'{readable(path)}' cannot be made")
    return made


def _give_name(scratch: Path, path: Path) -> None:
    try:
        os.link(scratch, path)
    except (FileExistsError, FileNotFoundError):
        pass  # another process was first: its secret holds
    except OSError:  # no hard links on this disk
        if not os.path.lexists(path):
            scratch.replace(path)
    scratch.unlink(missing_ok=True)


def _read_secret(path: Path) -> bytes | None:
    """The secret that lies there, or None: with another length it keeps nothing secret."""
    # a pipe would be read for ever
    secret = path.read_bytes() if path.is_file() else b""
    return secret if len(secret) == SECRET_BYTES else None


def _carry_out(todo: Step) -> None:
    old = _path(todo["from"])
    new = _path(todo["to"])
    # of a swap, the first half is done where one of both is gone
    if todo["do"] == "swap" and os.path.lexists(old) and os.path.lexists(new):
        _do("move", new, _path(todo["keep"]))
    _do(todo["do"], old, new)


def _do(verb: str, old: Path, new: Path) -> None:
    """One step; doing it again changes nothing."""
    if verb == "remove-empty":
        # it holds files of somebody else, or is gone already
        with contextlib.suppress(OSError):
            old.rmdir()
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    there = os.path.lexists(new)
    if not os.path.lexists(old):
        _check_done(there, old, new)
        return
    if verb == "move" and there:
        raise DataError(
            f"'{readable(new)}' appeared meanwhile.", "Move it away and call again."
        )
    if verb != "link":
        os.replace(old, new)
    elif not there:
        _link_or_copy(old, new)
    sync(new.parent)


def _check_done(there: bool, old: Path, new: Path) -> None:
    """Raises DataError where what is to be moved is neither here nor there."""
    if not there:
        raise DataError(
            f"'{readable(old)}' is gone, and it is not at '{readable(new)}' either.",
            "Put it back and call again.",
        )


def _link_or_copy(old: Path, new: Path) -> None:
    """A second name for a file; of a link, and where there are no hard links, a copy."""
    # a link that is relative would lead elsewhere from another folder
    if not old.is_symlink():
        with contextlib.suppress(OSError):
            os.link(old, new)
            return
    part = new.with_name(f".{new.name}.partial")
    part.unlink(missing_ok=True)
    copy_file(old, part)
    part.replace(new)
