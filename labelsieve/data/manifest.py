"""From a source to what a method sees: every row read once, hashed, decoded into the pixel cache, and named.

`read` makes the manifest (and, apart from it, the table of true labels); `Dataset` is the view that methods get.
It has no true labels, so no method can use them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import progress
from labelsieve.cache import cache_folder
from labelsieve.data.images import (
    DECODING,
    Preprocess,
    content_hash,
    decode,
    from_object,
    read_bytes,
)
from labelsieve.data.pixel_cache import PixelCache, Stamp
from labelsieve.data.sources import Row, Source
from labelsieve.errors import DataError, ImageError
from labelsieve.files import path_to_uri
from labelsieve.tables import (
    CONFLICT,
    CORRUPT,
    MANIFEST,
    OK,
    SCORED,
    TRUTH,
    UNLABELLED,
    check_unique,
    make_sample_id,
)

CHUNK = 128  # rows per task of the reading pool
SHOWN = 5  # other labels of the same image that a reason names


@dataclass(frozen=True)
class Manifest:
    """Every row of a source, and the true labels where the user named a column for them."""

    table: pa.Table  # MANIFEST
    truth: pa.Table | None  # TRUTH
    notes: list[str]  # what listing left out


@dataclass(frozen=True, slots=True)
class _Read:
    """One row after reading: what goes into the manifest and what is new for the cache."""

    row: Row
    content_hash: str = ""
    slot: int = -1
    pixels: np.ndarray | None = None
    file: tuple[str, int, int, str] | None = None  # its stamp and what it holds
    reason: str = ""


def open_cache(preprocess: Preprocess) -> PixelCache:
    """The pixel cache for this geometry."""
    folder = cache_folder() / f"pixels{DECODING}-{preprocess.geometry}"
    return PixelCache(folder, preprocess.height, preprocess.width)


def read(
    source: Source,
    preprocess: Preprocess,
    cache: PixelCache,
    *,
    want_truth: bool = False,
    need_labels: bool = True,
) -> Manifest:
    """Read every image of a source once, in parallel; what the cache knows is not decoded again.

    Args:
        want_truth: make the table of true labels, too.
        need_labels: an image without a label is of no use; False for pictures to classify.

    Raises:
        DataError: no images at all, none readable, none labelled, or an id of the user's that appears twice.
    """
    parts, truths = [], []
    with progress.bar("Reading images", None) as shown:
        for batch in _read_all(source, preprocess, cache):
            parts.append(_manifest_batch(batch, cache))
            if want_truth:
                truths.append(_truth_batch(batch, parts[-1]))
            shown.advance(len(batch))
    table = pa.Table.from_batches(parts, MANIFEST)
    if not len(table):
        raise DataError(
            "There are no images.",
            "; ".join(source.notes[:3]) + "."
            if source.notes
            else "The data set is empty.",
        )
    check_unique(table)
    # what a method sees must not depend on the order of rows, even where one image occurs twice
    order = [(c, "ascending") for c in ("content_hash", "given_label", "sample_id")]
    table = _mark_conflicts(table.sort_by(order))
    _check_usable(table, SCORED if need_labels else (*SCORED, UNLABELLED))
    return Manifest(
        table,
        pa.Table.from_batches(truths, TRUTH) if want_truth else None,
        list(source.notes),
    )


def _read_all(
    source: Source, preprocess: Preprocess, cache: PixelCache
) -> Iterator[list[_Read]]:
    """Rows in source order, in chunks; a bounded number of chunks is in work at a time."""
    workers = min(
        16,
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
    )
    rows = iter(source.rows())
    chunks = iter(lambda: list(islice(rows, CHUNK)), [])
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[list[_Read]]] = []
        for chunk in chunks:
            waiting.append(pool.submit(_read_chunk, chunk, preprocess, cache))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        for task in waiting:
            yield task.result()


def _read_chunk(
    rows: Iterable[Row], preprocess: Preprocess, cache: PixelCache
) -> list[_Read]:
    rows = list(rows)
    here = os.getcwd()
    stamps = [
        _stamp(row.image, here) if isinstance(row.image, str | Path) else None
        for row in rows
    ]
    known = cache.find_files([stamp for stamp in stamps if isinstance(stamp, tuple)])
    found = []
    for row, stamp in zip(rows, stamps, strict=True):
        if isinstance(stamp, str):
            found.append(_Read(row, reason=stamp))
        elif stamp in known:
            found.append(_Read(row, *known[stamp]))
        else:
            try:
                found.append(_read_row(row, stamp, preprocess, cache))
            except ImageError as error:
                found.append(_Read(row, reason=error.what))
    return found


def _read_row(
    row: Row, stamp: Stamp | None, preprocess: Preprocess, cache: PixelCache
) -> _Read:
    item: Any = row.image
    encoded = item is None or isinstance(
        item, bytes | bytearray | memoryview | str | Path
    )
    item = read_bytes(item) if encoded else from_object(item)
    digest = content_hash(item)
    file = None if stamp is None else (*stamp, digest)
    slot = cache.find(digest)
    if slot is not None:
        return _Read(row, digest, slot, file=file)
    try:
        picture = decode(item, preprocess.about) if encoded else item
    except ImageError as error:
        return _Read(row, digest, reason=error.what)
    return _Read(row, digest, pixels=preprocess(picture), file=file)


def _stamp(path: str | Path, here: str) -> Stamp | str:
    """What a file is recognised by, or why it cannot be read; `here` is where a relative path starts."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
        return "cannot be opened: not a file"
    folder, name = os.path.split(path)
    return (
        path_to_uri(f"{_absolute(here, folder)}{os.sep}{name}"),
        status.st_size,
        status.st_mtime_ns,
    )


@lru_cache(maxsize=1024)
def _absolute(here: str, folder: str) -> str:
    """An absolute path, without a separator at its end; `here` is where relative ones start."""
    return os.path.normpath(os.path.join(here, folder)).rstrip(os.sep)


def _manifest_batch(batch: list[_Read], cache: PixelCache) -> pa.RecordBatch:
    new = [(r.content_hash, r.pixels) for r in batch if r.pixels is not None]
    files = [r.file for r in batch if r.file is not None]
    slots = cache.add(new, files) if new or files else {}
    columns: dict[str, list[Any]] = {name: [] for name in MANIFEST.names}
    for r in batch:
        status = CORRUPT if r.reason else OK if r.row.label is not None else UNLABELLED
        reason = r.reason or ("" if r.row.label is not None else "no label")
        values = (
            make_sample_id(r.row.key, r.content_hash),
            r.row.uri,
            r.row.path,
            r.row.label,
            r.row.split,
            r.content_hash,
            slots.get(r.content_hash, r.slot) if not r.reason else -1,
            status,
            reason,
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.RecordBatch.from_pydict(columns, MANIFEST)


def _truth_batch(batch: list[_Read], manifest: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [manifest["sample_id"], pa.array([r.row.truth for r in batch], pa.string())],
        schema=TRUTH,
    )


def _mark_conflicts(table: pa.Table) -> pa.Table:
    """Rows whose very same image carries another label elsewhere get the status duplicate-conflict.

    Args:
        table: sorted by content and label, so that such rows are neighbours.
    """
    usable = (
        table.select(["content_hash", "given_label"])
        .filter(pc.equal(table["status"], OK))
        .combine_chunks()
    )
    (digests, later), (labels, other) = (
        (column, column.slice(1)) for column in usable.columns
    )
    same = pc.equal(later, digests.slice(0, len(later)))
    rivals = pc.unique(
        later.filter(pc.and_(same, pc.not_equal(other, labels.slice(0, len(later)))))
    )
    if not len(rivals):
        return table
    conflicting = pc.and_(
        pc.equal(table["status"], OK), pc.is_in(table["content_hash"], rivals)
    )
    return _with_reasons(table, conflicting.combine_chunks())


def _with_reasons(table: pa.Table, conflicting: pa.BooleanArray) -> pa.Table:
    """Say of each conflicting row, [n] bool, which other labels its image has."""
    rows = table.select(["content_hash", "given_label"]).filter(conflicting).to_pylist()
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["content_hash"], set()).add(row["given_label"])
    reasons = [
        _other_labels(found[row["content_hash"]] - {row["given_label"]}) for row in rows
    ]
    status = pc.if_else(conflicting, CONFLICT, table["status"])
    reason = pc.replace_with_mask(
        table["reason"], conflicting, pa.array(reasons, pa.string())
    )
    table = table.set_column(table.column_names.index("status"), "status", status)
    return table.set_column(table.column_names.index("reason"), "reason", reason)


def _other_labels(labels: Iterable[str]) -> str:
    rivals = sorted(labels)
    more = f" and {len(rivals) - SHOWN} more" if len(rivals) > SHOWN else ""
    return (
        "the same image is also labelled "
        + ", ".join(repr(rival) for rival in rivals[:SHOWN])
        + more
    )


def _check_usable(table: pa.Table, states: Sequence[str]) -> None:
    usable = table.filter(pc.is_in(table["status"], pa.array(states)))
    if len(usable):
        return
    first = table.slice(0, 1).to_pylist()[0]
    raise DataError(
        f"None of the {len(table)} images can be used.",
        f"The first one, '{first['path']}': {first['reason']}.",
    )
