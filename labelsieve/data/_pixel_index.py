"""The index of the pixel cache: one SQLite file whose rows carry checksums of themselves."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from labelsieve.sqlite import is_in_the_way, transaction

# Of the tables below; an index of another version is emptied. Version 0 had no checksums.
LAYOUT = 3
TABLES = (
    "CREATE TABLE pixels (hash TEXT PRIMARY KEY, slot INTEGER NOT NULL UNIQUE,"
    " extent TEXT, sum INTEGER, mark INTEGER) WITHOUT ROWID",
    "CREATE TABLE stamps (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER,"
    " inode INTEGER, changed INTEGER, hash TEXT, mark INTEGER) WITHOUT ROWID",
)
SECONDS_FOR_LOCK = 60  # that another process may write without a break
TRIES = 600  # within them, where SQLite does not wait by itself: ten a second
# Bytes of an index that is checked in a second; of a larger one only its pages are checked.
CHECKED_WHOLE = 64 << 20


def open_index(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open, made when missing; one of another layout is emptied.

    Raises:
        sqlite3.Error: it is damaged (`is_damage`), or cannot be opened.
    """
    index = _connect(path) if writable else _connect_read_only(path)
    # a flipped bit makes text that is no UTF-8; its checksum tells, not an exception
    index.text_factory = _decode
    try:
        _check(index, path.stat().st_size)
        if writable:
            _empty_other_layout(index)
        tables = index.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")
        if sorted(sql for (sql,) in tables) != sorted(TABLES):
            raise sqlite3.DatabaseError("it holds other tables")
    except BaseException:
        index.close()
        raise
    return index


def _connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        str(path),
        timeout=SECONDS_FOR_LOCK,
        check_same_thread=False,
        isolation_level=None,
        uri=uri,
    )


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """An index in a folder where SQLite cannot put its files for locking."""
    log = path.with_name(path.name + "-wal")
    if not log.exists() or not log.stat().st_size:
        # "immutable" reads without those files
        return _connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    # a process that was killed left its newest rows beside the index, and "immutable" would
    # not see them: both are put together elsewhere
    with tempfile.TemporaryDirectory(prefix="labelsieve-") as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder) / file.name)
        # a database without a name is on the disk, and gone with its connection
        whole = _connect("")
        with closing(_connect(Path(folder) / path.name)) as parts:
            parts.backup(whole)
        return whole


def _check(index: sqlite3.Connection, size: int) -> None:
    """So that no later query fails in the middle of a run."""
    check = "integrity_check" if size <= CHECKED_WHOLE else "quick_check"
    (answer,) = index.execute(f"PRAGMA {check}(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)


def _use_log(index: sqlite3.Connection) -> None:
    """Write ahead, so that one process reads while another writes.

    SQLite waits for locks, but not for this one: two processes that begin a cache at once.
    """
    for tried in range(TRIES):
        try:
            index.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or tried == TRIES - 1:
                raise
            time.sleep(SECONDS_FOR_LOCK / TRIES)


def _empty_other_layout(index: sqlite3.Connection) -> None:
    _use_log(index)
    index.execute("PRAGMA synchronous=NORMAL")
    with transaction(index):
        (layout,) = index.execute("PRAGMA user_version").fetchone()
        if layout == LAYOUT:
            return
        for table in ("pixels", "files", "stamps"):
            index.execute(f"DROP TABLE IF EXISTS {table}")
        for command in TABLES:
            index.execute(command)
        index.execute(f"PRAGMA user_version={LAYOUT}")


def is_damage(error: Exception) -> bool:
    """Whether the files are at fault, and not a lock, rights or the disk."""
    return isinstance(error, sqlite3.Error) and not is_in_the_way(error)


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def marked(*values: Any) -> tuple[Any, ...]:
    """A row with the checksum of its values at its end."""
    text = "\0".join(map(str, values))
    return (*values, zlib.crc32(text.encode("utf-8", "surrogatepass")))


def is_marked(row: Sequence[Any]) -> bool:
    """Whether a row is as it was written."""
    *values, mark = row
    return bool(marked(*values)[-1] == mark)
