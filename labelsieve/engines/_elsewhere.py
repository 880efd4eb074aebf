"""What a scan asks of others, as shards: reading, features, looks, judgements.

The process that asks keeps columns of the manifest and nothing else of each row; what comes back
is joined by row, and counted.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import progress, registry
from labelsieve.cache import cache_folder
from labelsieve.data import batches
from labelsieve.data.batches import Job
from labelsieve.data.modalities import Item, noun_of
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.sources import Source
from labelsieve.data.sources._remote import url_of
from labelsieve.data.spec import DataSpec
from labelsieve.engines import Options, Pool, _work
from labelsieve.engines._listing import Listing
from labelsieve.engines._parts import FolderParts, of_workers
from labelsieve.engines._shards import Piece, Shards, Tally, Work
from labelsieve.errors import OptionError
from labelsieve.features.cached import BATCH
from labelsieve.files import fingerprint

ENGINES = "engines"  # the room


@contextmanager
def working(engine: str, spec: DataSpec, options: Options) -> Iterator[Workers]:
    """Let an engine do the work on rows while the block runs.

    Raises:
        OptionError: the engine or an option is unknown, or other processes cannot open the data.
    """
    _check(spec, options)
    module = registry.load(ENGINES, engine)
    with ExitStack() as open_things:

        def open_pool() -> Pool:
            pool: Pool = module.open_pool(options)
            open_things.callback(pool.close)
            return pool

        workers = Workers(spec, options, open_pool)
        with batches.elsewhere(workers):
            yield workers
        # only of a scan that came to its end: another one goes on with what was kept
        workers.forget()


def _check(spec: DataSpec, options: Options) -> None:
    if not isinstance(spec.data, str | Path):
        raise OptionError(
            "Other processes cannot open data that are objects of this one.",
            "Name a folder, a file or a URL, or leave out --engine.",
        )
    if options.shard < 1 or options.shard % BATCH:
        raise OptionError(
            f"--shard {options.shard} is no multiple of {BATCH}.",
            f"Features are computed {BATCH} at a time, with other bits in another company.",
        )
    if options.workers is not None and options.workers < 1:
        raise OptionError(f"--workers {options.workers} must be at least 1.")


class Workers:
    """Those that work on the rows of one scan (`labelsieve.data.batches.Elsewhere`).

    Attributes:
        tally: of all jobs so far.
    """

    def __init__(
        self, spec: DataSpec, options: Options, open_pool: Callable[[], Pool]
    ) -> None:
        self._spec = _for_others(spec)
        self._options = options
        self._open_pool = open_pool
        self._pool: Pool | None = None
        # of this scan: parts of another one may have the same rows
        self._parts = FolderParts(cache_folder() / "shards")
        self._used: set[str] = set()
        self._manifest: pa.Table | None = None
        self._items: Any = None
        self.tally = Tally()

    def pool(self) -> Pool:
        """The workers, started when they are first needed: finished work needs none."""
        if self._pool is None:
            self._pool = self._open_pool()
        return self._pool

    def forget(self) -> None:
        """Remove the results that were kept for the case of a stop."""
        for key in self._used:
            self._parts.remove(key)

    def read(self, source: Source, items: Any) -> Iterator[list[Item]] | None:
        """As `Elsewhere.read`; texts are read here, which takes no time."""
        if not isinstance(items, ImageItems):
            return None
        return self._read(source, items)

    def know(self, source: Source, items: Any, manifest: pa.Table) -> None:
        """As `Elsewhere.know`."""
        self._items = items
        self._manifest = manifest.select(["sample_id", "uri", "path", "content_hash"])

    def _read(self, source: Source, items: ImageItems) -> Iterator[list[Item]]:
        shared = self._shared("read", items, {}, {})
        key = f"read-{fingerprint([shared.hex()])}"
        work = self._work(
            f"Reading {noun_of(items)}s", key, shared, "read", divides=True
        )
        # what lies in files is found again by their stamps, with what they hold now
        work = replace(work, keep=url_of(self._spec.data) is not None)
        listing = Listing(source, items, self._parts)
        pieces = listing.pieces(self._options.shard)
        for piece, result in self._shards(work, key, pieces):
            yield piece.belongs if piece.ready else listing.items(piece, result)

    def each(
        self, job: Job, rows: np.ndarray, what: str, done: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]] | None:
        """As `Elsewhere.each`."""
        if self._manifest is None or job.kind not in _work.KINDS:
            return None
        return self._each(job, rows, what, done)

    def _each(
        self, job: Job, rows: np.ndarray, what: str, done: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        shared = self._shared(job.kind, self._items, job.facts, job.tensors)
        work = self._work(what, job.key, shared, job.kind, divides=not job.whole)
        # features go into a file of their own at once
        work = replace(work, keep=job.kind != "features")
        # the engine guarantees nothing: each row is counted
        seen = np.zeros(len(rows), dtype=bool)
        pieces = self._pieces(job, rows)
        unit = f"{noun_of(self._items)}s"
        with progress.bar(what, done + len(rows), done, unit) as shown:
            for piece, result in self._shards(work, job.key, pieces):
                places = piece.rows["place"].to_numpy()
                values = _array(result, len(places))
                assert not seen[places].any(), "a row came back twice"
                seen[places] = True
                yield rows[places], values
                shown.advance(len(places))
        assert seen.all(), "a row did not come back"

    def _pieces(self, job: Job, rows: np.ndarray) -> Iterator[Piece]:
        """Fixed shards: the same rows always fall into the same one."""
        manifest = self._manifest
        assert manifest is not None
        numbers = job.numbers if job.numbers is not None else np.arange(len(job.ids))
        # once for all shards: each look-up reads all ids, a second for a million of them
        all_places = pc.index_in(job.ids, manifest["sample_id"])
        assert not all_places.null_count, "a row is not in the manifest"
        # by the grid of all rows: a scan that goes on meets the shards that it knows
        cells = rows // self._options.shard
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        for places in np.split(np.arange(len(rows)), starts[1:]):
            chosen = rows[places]
            at = all_places.take(pa.array(chosen))
            table = manifest.select(["uri", "path", "content_hash"]).take(at)
            # columns of one shard at a time: bounded, however many rows there are
            table = table.add_column(0, "number", pa.array(numbers[chosen]))
            yield Piece(table.append_column("place", pa.array(places)))

    def _shards(
        self, work: Work, key: str, pieces: Iterator[Piece]
    ) -> Iterator[tuple[Piece, bytes]]:
        self._used.add(key)
        return Shards(work, self.pool, self._parts, self.tally).results(pieces)

    def _work(
        self, what: str, key: str, shared: bytes, kind: str, *, divides: bool
    ) -> Work:
        def lost(rows: pa.Table) -> bytes | None:
            return _work.lost(kind, rows)

        return Work(what, key, shared, _encode, lost, divides, keep=True)

    def _shared(self, kind: str, items: Any, facts: Any, tensors: Any) -> bytes:
        whites = getattr(items, "range", None)
        changed = {} if whites is None or kind == "read" else whites.changed()
        return _work.pack(kind, self._spec, items.preprocess, changed, facts, tensors)


def _array(data: bytes, n: int) -> np.ndarray:
    """Numbers of `n` rows that a worker sent; raises DataError for anything else."""
    with of_workers():
        values: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        if not values.ndim or len(values) != n or values.dtype.kind not in "fiub":
            raise ValueError(f"{n} rows were asked for")
    return values


def _encode(rows: pa.Table) -> bytes:
    """Rows for a worker, without what only this process knows."""
    return _work.to_bytes(
        rows.select(_work.ROWS.names).cast(_work.ROWS).combine_chunks()
    )


def _for_others(spec: DataSpec) -> DataSpec:
    """The data as processes in other folders find them."""
    named = {}
    for name in ("data", "root"):
        value = getattr(spec, name)
        named[name] = value
        # hub ids, patterns and URLs stay what they are
        if value is not None and url_of(value) is None and Path(value).exists():
            named[name] = str(Path(value).absolute())
        elif isinstance(value, Path):
            named[name] = str(value)
    return replace(spec, **named)
