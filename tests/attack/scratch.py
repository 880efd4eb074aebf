"""One folder for whatever attacks write, which the next one sweeps: kills leave no litter."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from filelock import FileLock, Timeout


@cache
def own() -> Path:
    """A folder of this process alone, empty at first; it goes when the process ends.

    What processes left that were killed goes first: each holds a lock beside its folder for as
    long as it lives, whatever becomes of its number.
    """
    home = _home(Path(tempfile.gettempdir()))
    for folder in home.glob("run-*"):
        if folder.is_dir():
            _sweep(folder)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=home))
    lock = FileLock(_lock_of(folder))
    lock.acquire()
    # after (below) what multiprocessing itself removes from it, whose number is -100
    Finalize(None, _leave, args=(folder, lock), exitpriority=-200)
    return folder


def begin() -> Path:
    """For programs: all temporary files of this process and its children go into `own()`."""
    folder = own()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _home(where: Path) -> Path:
    home = where / f"labelsieve-attacks-{getpass.getuser()}"
    home.mkdir(mode=0o700, exist_ok=True)
    # names in a folder of all users can be taken by anybody, and what lies here is deleted
    getuid = getattr(os, "getuid", None)
    if home.is_symlink() or (getuid and home.stat().st_uid != getuid()):
        raise RuntimeError(f"{home} belongs to somebody else")
    return home


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"lock-{folder.name}")


def _sweep(folder: Path) -> None:
    lock = FileLock(_lock_of(folder))
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        _leave(folder, lock)


def _leave(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
