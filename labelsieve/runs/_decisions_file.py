"""One decision, and the file that decisions lie in: its layout, and what it may be."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from labelsieve.errors import OptionError, RunError
from labelsieve.sqlite import is_in_the_way, transaction

VERDICTS = ("keep", "accept", "other", "none", "wrong", "skip")
# verdicts that say: the given label is wrong
WRONG = ("accept", "other", "none", "wrong")
# verdicts that say what the label is
SETTLED = ("keep", "accept", "other", "none")
# verdicts that name the right label
NAMING = ("accept", "other")
# what SQLite keeps beside a database, and writes as readily
SIDES = ("", "-wal", "-shm", "-journal")
SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sample_id TEXT NOT NULL, verdict TEXT NOT NULL,
    label TEXT, by TEXT NOT NULL, at TEXT NOT NULL, batch TEXT,
    undoes INTEGER UNIQUE REFERENCES decisions);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON decisions
    BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""
# added to files of earlier versions, whose rows have none
ADD_DIGEST = "ALTER TABLE decisions ADD COLUMN digest TEXT"
NAMED = " @"  # between a person's name and the window in `by`


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the history."""

    seq: int
    sample_id: str
    verdict: str
    label: str | None  # the label that is right, where it is known
    by: str
    at: str
    batch: str | None  # shared by decisions that are taken, and undone, together
    undoes: int | None = None

    def digest(self, before: str) -> str:
        """Checksum of the row and of the one before it, as 32 hex digits."""
        # JSON keeps None, numbers and text apart; a damaged row may hold bytes, hence repr
        values = [before, *(getattr(self, name) for name in NAMES)]
        text = json.dumps(values, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def is_one(self) -> bool:
        """Whether this could have been written; SQLite holds values of any kind in any column."""
        texts = (self.sample_id, self.by, self.at)
        maybe = (self.label, self.batch)
        if not all(isinstance(text, str) for text in texts) or not all(
            text is None or isinstance(text, str) for text in maybe
        ):
            return False
        if self.undoes is not None:
            return self.verdict == "undo" and isinstance(self.undoes, int)
        return self.verdict in VERDICTS and (
            self.verdict not in NAMING or bool(self.label)
        )


# in the order of the columns; `astuple` copies every value, of thousands of rows at each start
NAMES = tuple(field.name for field in fields(Decision))


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision that is to be written, if nobody decided since.

    Attributes:
        seen: number of the latest decision about the image that the decider knew of (0: none).
    """

    sample_id: str
    verdict: str
    label: str | None = None
    seen: int = 0


def by_whom(window: str, person: str = "") -> str:
    """What `by` of a decision says: the window, behind the name of a person if one is given."""
    return f"{person}{NAMED}{window}" if person else window


def window_of(by: str) -> str:
    """The window of `by`, or the script."""
    return by.rpartition(NAMED)[2]


def person_of(by: str) -> str:
    """The name in `by`; empty where none was given."""
    return by.rpartition(NAMED)[0]


class Conflict(OptionError):
    """Somebody else decided about the image since it was shown; `now` is what holds."""

    def __init__(self, now: Decision | None) -> None:
        super().__init__(
            "Another window decided about this image meanwhile.",
            "Look again and decide again.",
        )
        self.now = now


def refuse_links(path: Path) -> None:
    """Raise RunError where SQLite would write to something else than a file beside the run.

    Run folders come from strangers, too, and a link may lead to any file of the user's.
    """
    for side in SIDES:
        file = path.with_name(path.name + side)
        if not os.path.lexists(file):
            continue
        # the link itself is looked at, so one that leads nowhere is noticed as well
        about = file.lstat()
        # a hard link is a second name of a file, which SQLite would write into
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            raise RunError(
                f"'{file}' is a link, or not a regular file.",
                "Remove it, and put the decisions themselves there.",
            )


def create_private(path: Path) -> None:
    """Make the file, with its tables, where there is none.

    Only its owner reads it, and SQLite gives its own files the same rights. It takes its name
    when it is whole: a file without a table is always damage.
    """
    if os.path.lexists(path):
        return
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    os.close(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with closing(sqlite3.connect(scratch)) as db:
            db.executescript(SCHEMA)
            db.execute(ADD_DIGEST)
        # another process may have been faster: its file is not replaced
        if not os.path.lexists(path):
            _give_name(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _give_name(scratch: Path, path: Path) -> None:
    try:
        os.link(scratch, path)
    except FileExistsError:
        return
    except OSError:  # no hard links on this disk
        scratch.replace(path)


def refuse_empty(path: Path) -> None:
    """Raise RunError where the file holds nothing, and SQLite would begin it anew."""
    if path.exists() and not path.stat().st_size:
        raise RunError(
            f"'{path}' is empty: what was decided is lost.",
            "Restore it from a copy, or delete it to begin anew.",
        )


def unusable(path: Path, error: Exception) -> RunError:
    """What SQLite said of the file, and what to do: a full disk has not damaged it."""
    do = "Restore it from a copy, or move it away to begin anew."
    if is_in_the_way(error):
        do = "What it holds is sound: see to its disk, rights and users, and do that again."
    return RunError(f"'{path}' cannot be used: {error}.", do)


def add_digests(db: sqlite3.Connection) -> None:
    """Give a file of an earlier version the column of checksums."""
    if "digest" in columns_of(db):
        return
    with transaction(db):
        # another process may have been faster
        if "digest" not in columns_of(db):
            db.execute(ADD_DIGEST)


def columns_of(db: sqlite3.Connection) -> set[str]:
    """Names of the columns of the table; none where there is no table yet."""
    columns = db.execute("PRAGMA table_info(decisions)").fetchall()
    return {column[1] for column in columns}


def timestamp() -> str:
    """The time that a row bears."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def holds(stack: list[Decision]) -> Decision:
    """The latest decision that says something; to skip an image takes nothing back."""
    return next((d for d in reversed(stack) if d.verdict != "skip"), stack[-1])
