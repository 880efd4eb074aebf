"""SQLite files: transactions, and whether an error tells of damage or of something in the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What SQLite says when the file is sound and something else is in the way.
SOUND = ("locked", "readonly", "full", "unable to open")
# It calls all of these "disk I/O error", as it does what it cannot read: a disk without room
# for one more page, a limit on the size of files, a quota.
NOT_WRITTEN = {
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_CLOSE,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_NOMEM,
}


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and no other process writes meanwhile.

    Raises:
        sqlite3.Error: it could not begin, or nothing of the block is written.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    # also Ctrl-C: half of it must not be written
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk ends the transaction by itself
            database.execute("ROLLBACK")
        raise


def is_in_the_way(error: Exception) -> bool:
    """Whether the file is sound, and a lock, rights or room on the disk are missing."""
    if not isinstance(error, sqlite3.Error):
        return False
    # errors that Python itself raises have no code
    code = getattr(error, "sqlite_errorcode", None)
    return code in NOT_WRITTEN or any(words in str(error) for words in SOUND)
