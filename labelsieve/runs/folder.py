"""The life of a folder that one command fills: find, begin, note, finish, abandon.

A record in the folder says which command it belongs to and how far the work got. The same
command continues it, another one is refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.errors import RunError
from labelsieve.files import (
    FOREVER,
    fingerprint,
    locked,
    readable,
    remove,
)
from labelsieve.runs.digests import (
    DIGESTS,
    SIZES,
    digests_of,
    read_record,
    sizes_of,
    verify_all,
    write_record,
)
from labelsieve.versions import environment

RUNNING = "running"
FINISHED = "finished"
CHECKPOINTS = "checkpoints"  # folder of work under way, of every kind of work


@dataclass(frozen=True)
class WorkFolder:
    """A folder that one command fills, a scan or a training.

    Attributes:
        path: the folder; it need not exist.
        record: name of the file that says which command it belongs to.
        owned: names of files and folders that the work writes besides; nothing else in the
            folder is ever removed.
        noun: what the folder holds, in messages: "run" or "model".
        changing: those of `owned` that may be written again later, and have no checksum.
        private: nobody but the user may read the folder and its files.
    """

    path: Path
    record: str
    owned: tuple[str, ...]
    noun: str
    changing: tuple[str, ...] = ()
    private: bool = False

    def read(self) -> dict[str, Any]:
        """The record, without checksums.

        Raises:
            RunError: it is missing or damaged.
        """
        record = read_record(self.path / self.record)
        record.pop(DIGESTS, None)
        record.pop(SIZES, None)
        return record

    def find(self, command: Mapping[str, Any], *, force: bool = False) -> str | None:
        """How far this command got here before; None where it can begin.

        Args:
            command: everything that decides the result.
            force: finished work, or work of another command, may be replaced.

        Returns:
            RUNNING, FINISHED or None.

        Raises:
            RunError: the folder holds something else, or work to continue that lies behind
                links.
        """
        # also a folder whose record was never written: scratch files are all it holds
        if not (self.path / self.record).exists():
            self._refuse_strangers()
            return None
        # with --force a damaged record is no obstacle: the work is done again
        record = self._read_or_replace(force)
        state = str(record.get("state"))
        if record.get("identity") == fingerprint(command):
            if state == FINISHED:
                # of a process that was killed after its last word
                remove(self.path / CHECKPOINTS)
            else:
                self._refuse_links()
            return None if force and state == FINISHED else state
        if force:
            return None
        changed = _differences(_as_json(command), record.get("command", {}))
        raise RunError(
            f"'{self.path}' holds another {self.noun} "
            f"({', '.join(changed) or 'other options'} differ).",
            "Choose another folder with -o, or replace it with --force.",
        )

    def begin(self, command: Mapping[str, Any], *, force: bool = False) -> str:
        """Take the folder for a command, or find it taken by the same one.

        Returns:
            RUNNING, or FINISHED where nothing is left to do.

        Raises:
            RunError: as `find`.
        """
        # looked up again: while the lock was waited for, another process may have finished
        state = self.find(command, force=force)
        if state is not None:
            return state
        self._forget()
        self.path.mkdir(0o700 if self.private else 0o777, parents=True, exist_ok=True)
        if self.private:
            self.path.chmod(0o700)  # it may have been there, empty and open to all
        started = {
            "state": RUNNING,
            "identity": fingerprint(command),
            "command": dict(command),
            "environment": environment(),
            # what relative paths of the command are relative to
            "working_folder": str(Path.cwd()),
        }
        write_record(self.path / self.record, started)
        return RUNNING

    @contextlib.contextmanager
    def locked(self, longest: float = FOREVER) -> Iterator[None]:
        """Keep other processes from working in the folder; waits, with a line, while one does.

        Several locks of one thread on the same folder are one lock.

        Args:
            longest: seconds to wait; without end for a scan, as another may take a day.

        Raises:
            RunError: another process has it for longer.
        """
        with locked(self.path, f"'{readable(self.path)}'", longest=longest):
            yield

    def verify(self) -> None:
        """Compare the files of finished work with their checksums.

        Raises:
            RunError: one is damaged or gone.
        """
        verify_all(self.path, read_record(self.path / self.record))

    def note(self, results: Mapping[str, Any]) -> None:
        """Add results to the record."""
        path = self.path / self.record
        write_record(path, {**read_record(path), **results})

    def finish(self, results: Mapping[str, Any]) -> None:
        """Mark the work as done, with its last results and the checksums of its files."""
        # of earlier processes that were killed; the folder is locked, so none is in use
        for scratch in self.path.glob(".*.partial*"):
            remove(scratch)
        # what is written again later would pass for damaged
        lasting = [name for name in self.owned if name not in self.changing]
        digests = digests_of(self.path, lasting)
        sizes = sizes_of(self.path, digests)
        self.note({**results, "state": FINISHED, DIGESTS: digests, SIZES: sizes})
        # after the last word: killed in between, hours of training would be done again
        remove(self.path / CHECKPOINTS)
        if self.private:
            self._hide_files()

    def _hide_files(self) -> None:
        """Let nobody but the user read what was written, wherever the folder is moved."""
        for name in (*self.owned, self.record):
            path = self.path / name
            for file in (path, *path.glob("*")):
                if file.exists():
                    file.chmod(0o700 if file.is_dir() else 0o600)

    def abandon(self) -> None:
        """Take back work that failed before it got anywhere.

        With a checkpoint it is kept, for the same command to continue.
        """
        # hours of training are not thrown away for a mistake in the last step
        if any((self.path / CHECKPOINTS).glob("*")):
            return
        self._forget()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _forget(self) -> None:
        """Remove what earlier work wrote; nothing else in the folder is touched."""
        # the record goes last: a folder that lost it half way would pass for a stranger's
        for name in (*self.owned, CHECKPOINTS, self.record):
            remove(self.path / name)

    def _refuse_links(self) -> None:
        """Raise RunError where continued work would write to what a link leads to.

        Work that begins removes the links of earlier work, and needs no such care.
        """
        for name in (*self.owned, CHECKPOINTS):
            path = self.path / name
            for file in (path, *path.rglob("*")):
                if file.is_symlink():
                    raise RunError(
                        f"'{file}' is a link.",
                        f"Remove it, or choose another folder for the {self.noun}.",
                    )

    def _refuse_strangers(self) -> None:
        # a file in the middle of the path would else be told by the system's words
        for path in (self.path, *self.path.parents):
            if path.exists() and not path.is_dir():
                raise RunError(f"'{path}' is a file.", "Choose another folder with -o.")
        if self.path.exists() and any(map(_matters, self.path.iterdir())):
            raise RunError(
                f"'{self.path}' is not empty and is not a {self.noun} folder.",
                "Choose another folder with -o.",
            )

    def _read_or_replace(self, force: bool) -> dict[str, Any]:
        """The record; a damaged one belongs to no command where it may be replaced."""
        try:
            return self.read()
        except RunError:
            if force:
                return {}
            raise


def _matters(file: Path) -> bool:
    """Whether a file keeps a folder from being taken; scratch of a killed process does not."""
    return ".partial" not in file.name


def _as_json(command: Mapping[str, Any]) -> dict[str, Any]:
    """A command as it is read back from a record: tuples are lists, paths are text."""
    return dict(json.loads(json.dumps(dict(command), default=str)))


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Names of what differs; of nested settings the names of the settings."""
    names = []
    for name, new in now.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and name == "settings":
            changed = [k for k in old.keys() | new.keys() if old.get(k) != new.get(k)]
            names.extend(sorted(changed))
        elif old != new:
            names.append(name)
    return names
