"""Cells of texts: bytes when a table is listed, and one of them again by its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelsieve.cache import cache_folder, make_folder
from labelsieve.data.sources._formats import open_table
from labelsieve.data.text.reading import text_bytes
from labelsieve.data.text.spool import Spool
from labelsieve.errors import ImageError


def cell(value: Any) -> Any:
    """What a row has as its item: bytes, or what fails with the reason when it is read."""
    try:
        return text_bytes(value)
    except ImageError as error:
        return NoText(error.what)


class NoText:
    """A cell that is no text."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read_bytes(self) -> bytes:
        """Raises ImageError."""
        raise ImageError(self._reason)


def spooled(path: Path, column: str) -> Spool:
    """Every text of a table by the number of its row.

    A table in lines has no way to a row but through all before it, so it is read once for all.
    """
    folder = cache_folder()
    make_folder(folder)
    spool = Spool(folder)
    for part in open_table(path, [column]).parts:
        for record in part:
            value = cell(record[column])
            spool.add(value if isinstance(value, bytes) else b"")
    return spool
