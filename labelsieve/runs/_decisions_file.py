"""The file that decisions lie in: its layout, and what it may be on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from labelsieve.errors import RunError

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


def refuse_links(path: Path) -> None:
    """Raise RunError where SQLite would write to something else than a file beside the run.

    Run folders come from strangers, too, and a link may lead to any file of the user's.
    """
    for side in SIDES:
        file = path.with_name(path.name + side)
        # the link itself is looked at, so one that leads nowhere is noticed as well
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            raise RunError(
                f"'{file}' is a link or no regular file.",
                "Remove it, and put the decisions themselves there.",
            )


def create_private(path: Path) -> None:
    """An empty file that only its owner reads; SQLite gives its own files the same rights."""
    # a link that was put there since it was looked at is not followed; Windows has no such flag
    no_link = getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | no_link, 0o600))
