"""Checksums of a finished work folder, so that damage is named and never read as other numbers.

The record (run.json, training.json) carries the SHA-256 and the size of every file that the work
wrote, and a checksum of its own content. Folders of earlier versions have less and are read as
they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from labelsieve.errors import RunError
from labelsieve.files import read_json, sha256, write_json
from labelsieve.progress import plain

SEAL = "seal"  # key of the record's checksum over everything else in it
DIGESTS = "sha256"  # key of the checksums of files: name -> hex digits
SIZES = "bytes"  # key of their sizes: name -> bytes; earlier versions wrote none
RESTORE = "Restore it from a copy, or run the command again with --force."

# (path, size, time of change) of files that were verified: a process reads some several times
_verified: set[tuple[str, int, int]] = set()


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with the checksum of its content."""
    content = {name: value for name, value in record.items() if name != SEAL}
    write_json(path, {**content, SEAL: _seal(content)})


def read_record(path: Path) -> dict[str, Any]:
    """A record as it was given to `write_record`.

    Raises:
        RunError: it is missing, no JSON, not what was written, or no record of a work folder.
    """
    record = read_json(path)
    seal = record.pop(SEAL, None)
    if not _is_record(record):
        raise RunError(
            f"'{path}' is damaged: its command, checksums or sizes are not an object.",
            RESTORE,
        )
    # one that lists checksums had one of its own: without it, its key is what was hit
    if seal is None and DIGESTS not in record:
        return record
    if seal != _seal(record):
        raise RunError(
            f"'{path}' is damaged: its content does not match its checksum.", RESTORE
        )
    return record


def _is_record(record: Mapping[str, Any]) -> bool:
    """Whether what every record has is what this package writes; anybody can make a seal."""
    digests = record.get(DIGESTS, {})
    command = record.get("command", {})
    sizes = record.get(SIZES, {})
    if not all(isinstance(value, dict) for value in (digests, command, sizes)):
        return False
    return all(isinstance(digest, str) for digest in digests.values())


def _seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content as JSON spells it, whatever the order of keys and the spacing."""
    # twice through JSON: what is written as text (paths) is read back as text
    plain = json.loads(json.dumps(content, default=str))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the files among `names`, and of those in the folders among them."""
    digests = {}
    for name in names:
        path = folder / name
        # sorted: the same folder gives the same record
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                digests[file.relative_to(folder).as_posix()] = sha256(file)
    return digests


def sizes_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Bytes of files below a folder: another size is damage that is known without reading."""
    return {name: (folder / name).stat().st_size for name in names}


def verify(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """Path of a file of a work folder, once its bytes are known to be those that were written.

    A file that the record does not know (of an earlier version, or written since) passes.

    Args:
        name: path of the file below the folder, with slashes.
        record: what `read_record` gave.

    Raises:
        RunError: the bytes differ, the file is gone, or something else has its name.
    """
    path = folder / name
    expected = record.get(DIGESTS, {}).get(name)
    if expected is None:
        return path
    if not path.is_file():
        fault = "is not a file" if os.path.lexists(path) else "is missing"
        raise RunError(f"'{path}' {fault}.", RESTORE)
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        # the size first: a sparse file of terabytes takes no time to make, and hours to read
        same_size = record.get(SIZES, {}).get(name, stat.st_size) == stat.st_size
        if not same_size or sha256(path) != expected:
            raise RunError(
                f"'{path}' is damaged: its bytes are not those that were written.",
                RESTORE,
            )
        _verified.add(key)
    return path


def verify_all(folder: Path, record: Mapping[str, Any]) -> None:
    """Compare every file that a record lists with its checksum.

    Raises:
        RunError: one differs or is gone, or the record lists files elsewhere.
    """
    for name in record.get(DIGESTS, {}):
        path = Path(name)
        if path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
            raise RunError(
                f"'{folder}' is damaged: its record names the file '{plain(name)}'.",
                RESTORE,
            )
        verify(folder, name, record)
