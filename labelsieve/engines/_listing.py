"""The rows of a source as they are listed: what the cache knows, and what others are to read.

Files are known by their stamps (`labelsieve.data.pixel_cache`), taken before anybody reads them, so
that what changes meanwhile is read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.data.decoding.depth import Extent
from labelsieve.data.modalities import Item
from labelsieve.data.modalities.images import ImageItems, stamp_of
from labelsieve.data.pixel_cache import Stamp
from labelsieve.data.sources import Row, Source
from labelsieve.engines import _work
from labelsieve.engines._parts import Parts, of_workers
from labelsieve.engines._shards import Piece
from labelsieve.files import fingerprint


class Listing:
    """One source, listed as a stream: no row of it is kept."""

    def __init__(self, source: Source, items: ImageItems, parts: Parts) -> None:
        self._source = source
        self._items = items
        self._parts = parts
        # Files that are no pictures, or kill whoever reads them: nobody is asked a second time.
        # With other decoders they may be readable.
        self._bad = f"unreadable-{items.folder.name}"
        self._any_bad = bool(parts.names(self._bad))

    def pieces(self, size: int) -> Iterator[Piece]:
        """Rows in pieces of at most `size`; those that are ready belong to no worker."""
        rows = iter(self._source.rows())
        first = 0
        while some := list(islice(rows, size)):
            ready, unread = [], {}
            for number, item in enumerate(self._looked_up(some), first):
                if item.slot >= 0 or item.reason:
                    ready.append(item)
                else:
                    unread[number] = item
            first += len(some)
            if ready:
                yield Piece(_work.ROWS.empty_table(), ready, ready=True)
            if unread:
                yield Piece(_table_of(unread), unread)

    def items(self, piece: Piece, result: bytes) -> list[Item]:
        """What others read of a piece, or of a part of one: each row of it once."""
        items = []
        for found in _read(result, piece.rows["number"].to_pylist()):
            known: Item = piece.belongs[found["number"]]
            content, reason = found["content_hash"], found["reason"]
            extent = Extent.from_json(found["extent"]) if found["extent"] else None
            item = replace(known, content_hash=content, reason=reason, waits=extent)
            if reason:
                self._remember(item)
                # a stamp stands for a picture that can be read
                item = replace(item, stamp=None)
            items.append(item)
        return items

    def _looked_up(self, rows: list[Row]) -> Iterator[Item]:
        """Rows with what the cache knows of them; those to be read have neither slot nor reason."""
        here = str(Path.cwd())
        stamps = [stamp_of(row.image, here) for row in rows]
        sure = [stamp for stamp in stamps if isinstance(stamp, Stamp)]
        found = self._items.cache.find_files(sure)
        for row, stamp in zip(rows, stamps, strict=True):
            row = _without_bytes(row)
            if not isinstance(stamp, Stamp):
                # also what cannot be opened here: it may be there for others
                yield Item(row)
            elif stamp in found:
                known = found[stamp]
                extent = Extent.from_json(known.extent) if known.extent else None
                yield Item(
                    row, known.content_hash, known.slot, stamp=stamp, waits=extent
                )
            else:
                yield self._bad_item(row, stamp) or Item(row, stamp=stamp)

    def _bad_item(self, row: Row, stamp: Stamp) -> Item | None:
        """A row whose file cannot be read, with the reason; None: it may be a picture."""
        if not self._any_bad:
            return None
        kept = self._parts.get(f"{self._bad}/{fingerprint(stamp)}")
        if kept is None:
            return None
        # the content is in the row's id, whatever it is
        content, _, reason = kept.decode().partition("\n")
        return Item(row, content, reason=reason)

    def _remember(self, item: Item) -> None:
        """Keep that a file cannot be read, where that is so of its content and not for a while."""
        lasts = item.content_hash or item.reason == _work.LOST
        if lasts and item.stamp is not None:
            kept = f"{item.content_hash}\n{item.reason}"
            self._parts.put(f"{self._bad}/{fingerprint(item.stamp)}", kept.encode())


def _read(data: bytes, numbers: list[int]) -> list[dict[str, Any]]:
    """Rows of `READ` with these numbers, in this order; raises DataError for others."""
    with of_workers():
        rows = pa.ipc.open_stream(data).read_all()
        # first: what is damaged inside would be read beyond its end
        rows.validate(full=True)
        rows = rows.cast(_work.READ)
        found: list[dict[str, Any]] = rows.to_pylist()
        if rows["number"].to_pylist() != numbers:
            raise ValueError(f"{len(numbers)} rows were asked for")
        for row in found:
            if None in row.values():
                raise ValueError("values are missing")
            # what it raises is told here, too
            _ = Extent.from_json(row["extent"]) if row["extent"] else None
    return found


def _table_of(unread: dict[int, Item]) -> pa.Table:
    """Rows for workers, of `labelsieve.engines._work.ROWS`."""
    rows = [item.row for item in unread.values()]
    columns = [
        pa.array(list(unread), pa.int64()),
        pa.array([row.uri for row in rows], pa.string()),
        pa.array([row.path for row in rows], pa.string()),
        pa.array([""] * len(rows), pa.string()),
    ]
    return pa.table(columns, schema=_work.ROWS)


def _without_bytes(row: Row) -> Row:
    """A row that waits for others takes no memory for its picture."""
    return row if isinstance(row.image, str | Path) else replace(row, image=None)
