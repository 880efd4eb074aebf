"""Where an export goes: a new file or folder, or one that this call wrote before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from labelsieve.errors import OptionError
from labelsieve.exports._receipt import (
    Receipt,
    compare,
    is_own,
    is_same,
    read_receipt,
    write_receipt,
)
from labelsieve.files import fingerprint, readable, remove, replacing, uri_to_path
from labelsieve.progress import counted, note

# Writes an export where it grows, and gives the files there that a person should know of.
Write = Callable[[Path], list[Path]]


def check_target(kind: str, target: Path) -> None:
    """Raises OptionError where an export of this kind can never go.

    Args:
        kind: "folder", or the suffix of a file.
    """
    if kind == "folder":
        if target.exists() and not target.is_dir():
            raise _taken(target)
    elif target.suffix.lower() != kind:
        raise OptionError(f"-o '{readable(target)}' must end in {kind}.")
    # renaming a file onto a folder fails at the very end
    elif target.is_dir():
        raise _taken(target)


def _taken(target: Path) -> OptionError:
    return OptionError(
        f"'{readable(target)}' exists already.", "Choose another name with -o."
    )


def final(path: Path, scratch: Path, target: Path) -> Path:
    """What a file of an export will be called when it is whole."""
    # the export is one file, or a file in its folder is meant, or one beside it
    if path == scratch:
        return target
    inside = path.is_relative_to(scratch)
    return target / path.relative_to(scratch) if inside else path


def put_file(target: Path, kind: str, write: Write, *, force: bool) -> list[Path]:
    """Write an export that is one file.

    Args:
        force: replace what is no earlier export.
    """
    # an earlier export makes room for a later one; what somebody else wrote does not
    if target.exists() and not force and not is_own(target):
        raise OptionError(
            f"'{readable(target)}' exists already, and is no export as it was written.",
            "Choose another name with -o, or replace it with --force.",
        )
    with replacing(target, alone=True) as scratch:
        written = write(scratch)
        write_receipt(scratch, target, kind, [])
    return [final(path, scratch, target) for path in written]


def put_folder(target: Path, what: str, write: Write, *, force: bool) -> list[Path]:
    """Write an export that is a folder; where it is there, what is missing in it.

    Args:
        what: names the export by all that it is written from.
        force: files of it that were changed are written again.

    Raises:
        OptionError: something else is there, or files of it were changed.
    """
    if not target.exists() or not any(target.iterdir()):
        return _new(target, what, write)
    receipt = read_receipt(target, what)
    if receipt is None:
        raise _taken(target)
    lacking = _lacking(target, receipt, force)
    if lacking:
        _complete(target, receipt, lacking, write)
    else:
        note(f"'{readable(target)}' holds this export already.")
    return [target / name for name in receipt.names]


def _new(target: Path, what: str, write: Write) -> list[Path]:
    with replacing(target, alone=True) as scratch:
        scratch.mkdir()
        written = write(scratch)
        names = [path.relative_to(scratch).as_posix() for path in written]
        # before the name: a call that is killed in between finds a folder that it knows
        write_receipt(scratch, target, what, names)
        # an empty one, as users make them; only POSIX replaces it
        if target.exists():
            target.rmdir()
    return [final(path, scratch, target) for path in written]


def _lacking(target: Path, receipt: Receipt, force: bool) -> list[str]:
    """What has to be written again; raises OptionError for what is somebody's own work."""
    found = compare(target, receipt)
    if found.strange:
        raise OptionError(
            f"'{readable(target)}' exists already, and"
            f" '{_shown(found.strange[0])}' in it is no part of this export.",
            "Move it away, or choose another name with -o.",
        )
    if found.changed and not force:
        raise OptionError(
            f"'{readable(target)}' exists already, and"
            f" '{_shown(found.changed[0])}' in it is not as it was written.",
            "Choose another name with -o, or write it again with --force.",
        )
    # folders come before what is in them
    return sorted([*found.missing, *found.changed])


def _complete(target: Path, receipt: Receipt, uris: list[str], write: Write) -> None:
    """Write the export once more beside its folder, and move in what is lacking there."""
    # short, whatever the length of the name
    again = target.with_name(f".{fingerprint(target.name)}.again")
    # of a call that was killed
    remove(again)
    with replacing(again, alone=True) as scratch:
        scratch.mkdir()
        write(scratch)
    try:
        # of two different exports no file would say that it is of the other
        for uri in uris:
            if not is_same(again / uri_to_path(uri), receipt.holds[uri]):
                raise OptionError(
                    f"'{readable(target)}' exists already, without '{_shown(uri)}' as it was"
                    " written, and today another would be written.",
                    "Choose another name with -o.",
                )
        for uri in uris:
            _move(again / uri_to_path(uri), target / uri_to_path(uri))
    finally:
        remove(again)
    count = counted(len(uris), "file", "was", "were")
    note(f"{count} missing or changed in '{readable(target)}', and written again.")


def _move(new: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if new.is_dir():
        # a file, or a link, that took the place of a folder
        if not place.is_dir() or place.is_symlink():
            remove(place)
        place.mkdir(exist_ok=True)
        return
    # only --force comes here with something in the place
    if place.is_dir():
        remove(place)
    new.replace(place)


def _shown(uri: str) -> str:
    return readable(uri_to_path(uri))
