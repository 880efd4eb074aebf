"""Every row of a source, read once: the manifest, and apart from it the table of true labels.

What an item is, is the matter of its modality; here rows become tables.
"""

from __future__ import annotations

import errno
import functools
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import progress
from labelsieve.data.batches import others
from labelsieve.data.labels import SINGLE, occurring
from labelsieve.data.modalities import Item, Items, noun_of
from labelsieve.data.sources import Source
from labelsieve.errors import DataError
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

# Rows per task of the reading pool: large enough for one query of the index to pay, small
# enough for the pictures of all tasks to fit into memory.
CHUNK = 128
WORKERS = 16  # more threads than that wait for each other when they decode
AGREEMENT = pa.schema([("sample_id", pa.string()), ("agreement", pa.float64())])
SHOWN = 5  # other labels of the same image that a reason names
T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """Every row of a source, and the true labels where the user named a column for them."""

    table: pa.Table  # MANIFEST
    truth: pa.Table | None  # TRUTH
    notes: list[str]  # what listing left out, and what is odd about the items
    kind: str  # of its labels: `labelsieve.data.labels.SINGLE` or SET
    # Every class of the data, also without an item: as its source declares them, then what
    # else occurs, sorted. For what is written for others; methods see what occurs, sorted.
    classes: tuple[str, ...]
    # Where several people labelled: sample_id, and the share of them that gave the label.
    agreement: pa.Table | None = None
    # What is odd about items, with examples, found when it is asked for: it takes a while.
    findings: Callable[[], list[Any]] = list
    noun: str = "image"  # what people call an item
    # [n] rows of the table in the order in which the source lists them.
    listed: np.ndarray | None = None


def read(
    source: Source, items: Items, *, want_truth: bool = False, need_labels: bool = True
) -> Manifest:
    """Read every item of a source once, in parallel; what the cache knows is not prepared again.

    Args:
        want_truth: also give the table of true labels.
        need_labels: an item without a label is of no use; False for items to classify.

    Returns:
        Rows sorted by content, label and id: what a method sees must not depend on the order
        of files, even where one image occurs twice.

    Raises:
        DataError: no items at all, none readable, none labelled, or an id that appears twice.
    """
    batches: list[pa.RecordBatch] = []
    truths: list[pa.RecordBatch] = []
    agreements: list[pa.RecordBatch] = []
    places = array("q")
    noun = noun_of(items)
    with progress.bar(f"Reading {noun}s", None, unit=f"{noun}s") as shown:
        # stored here, in one thread: the order of slots is that of the rows
        for batch, slots in _read_all(source, items, places):
            batches.append(_manifest_batch(batch, slots))
            agreements.append(_agreement_batch(batch, batches[-1]))
            if want_truth:
                truths.append(_truth_batch(batch, batches[-1]))
            shown.advance(len(batch))
    table = pa.Table.from_batches(batches, MANIFEST)
    _check_some(table, source, noun)
    check_unique(table)
    order = [(c, "ascending") for c in ("content_hash", "given_label", "sample_id")]
    by_content = pc.sort_indices(table, sort_keys=order)
    table = _mark_conflicts(table.take(by_content), noun)
    # only now: a damaged cache is read again by rows of the finished table
    items.remember(source, table)
    helpers = others()
    if helpers is not None:
        helpers.know(source, items, table)
    usable = _usable(table, SCORED if need_labels else (*SCORED, UNLABELLED), noun)
    kind = kind_of(source)
    return Manifest(
        table,
        pa.Table.from_batches(truths, TRUTH) if want_truth else None,
        [*source.notes, *items.notes(usable["slot"].to_numpy())],
        kind,
        _all_classes(source, occurring(usable["given_label"], kind)),
        _agreement(agreements),
        functools.partial(items.findings, usable)
        if hasattr(items, "findings")
        else list,
        noun,
        np.argsort(np.asarray(places)[by_content.to_numpy()]),
    )


def _agreement(batches: list[pa.RecordBatch]) -> pa.Table | None:
    """None where nobody voted."""
    table = pa.Table.from_batches(batches, AGREEMENT)
    return table if table["agreement"].null_count < len(table) else None


def _check_some(table: pa.Table, source: Source, noun: str) -> None:
    """Raises DataError where the source has no rows; what it left out may say why."""
    if not len(table):
        left_out = "; ".join(source.notes[:3]) or "The data set is empty"
        raise DataError(f"There are no {noun}s.", f"{left_out}.")


def kind_of(source: Source) -> str:
    """The kind of a source's labels; most sources know a single one and do not say so."""
    kind: str = getattr(source, "labels_are", SINGLE)
    return kind


def _all_classes(source: Source, occurring: Sequence[str]) -> tuple[str, ...]:
    declared: Sequence[str] = getattr(source, "classes", ())
    # a dictionary keeps the order of what comes first, a set would not
    return tuple(dict.fromkeys([*declared, *occurring]))


def _read_all(
    source: Source, items: Items, places: array[int]
) -> Iterator[tuple[list[Item], dict[str, int]]]:
    """Items with the slots of those that are new; last those that wait for all others.

    Args:
        places: gets the number of each item in the source's own order.
    """
    waiting: list[Item] = []
    later = array("q")
    count = 0
    helpers = others()
    known = None if helpers is None else helpers.read(source, items)
    for batch in known or in_chunks(source.rows(), items.read):
        slots = items.store(batch)
        ready = []
        for item in batch:
            if item.waits is None:
                ready.append(item)
                places.append(count)
            else:
                waiting.append(_light(item, slots))
                later.append(count)
            count += 1
        yield ready, slots
    places.extend(later)
    for batch in in_chunks(waiting, functools.partial(items.settle, source)):
        yield batch, {}


def _light(item: Item, slots: dict[str, int]) -> Item:
    """What is kept of an item that waits: nothing that takes memory."""
    row = item.row
    # encoded or decoded pictures of a whole data set would not fit into memory
    if not isinstance(row.image, str | Path):
        row = replace(row, image=None)
    slot = slots.get(item.content_hash, item.slot)
    return replace(item, row=row, slot=slot, prepared=None)


def in_chunks(
    rows: Iterable[T], read: Callable[[list[T]], list[Item]]
) -> Iterator[list[Item]]:
    """Rows in their order, in chunks; a bounded number of chunks is in work at a time."""
    workers = min(WORKERS, cores())
    rows = iter(rows)
    # calls the function until it gives an empty list
    chunks = iter(lambda: list(islice(rows, CHUNK)), [])
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[list[Item]]] = []
        for chunk in chunks:
            waiting.append(pool.submit(read, chunk))
            # without a bound a fast source would fill the memory with what waits
            if len(waiting) > 2 * workers:
                # the oldest, not the first that is done: rows stay in their order
                yield waiting.pop(0).result()
        for task in waiting:
            yield task.result()


def cores() -> int:
    """Processor cores this process may use; only Linux tells which are denied to it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _manifest_batch(batch: list[Item], slots: dict[str, int]) -> pa.RecordBatch:
    columns: dict[str, list[object]] = {name: [] for name in MANIFEST.names}
    for item in batch:
        row = item.row
        status = OK
        reason = item.reason
        if reason:
            status = CORRUPT
        elif row.label is None:
            status = UNLABELLED
            reason = "no label"
        values = (
            make_sample_id(row.key, item.content_hash),
            row.uri,
            row.path,
            row.label,
            row.split,
            item.content_hash,
            # the same content may have been read, while this row of it could not be
            -1 if item.reason else slots.get(item.content_hash, item.slot),
            status,
            reason,
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.RecordBatch.from_pydict(columns, MANIFEST)


def _agreement_batch(batch: list[Item], manifest: pa.RecordBatch) -> pa.RecordBatch:
    values = pa.array([item.row.agreement for item in batch], pa.float64())
    return pa.RecordBatch.from_arrays([manifest["sample_id"], values], schema=AGREEMENT)


def _truth_batch(batch: list[Item], manifest: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [manifest["sample_id"], pa.array([r.row.truth for r in batch], pa.string())],
        schema=TRUTH,
    )


def _mark_conflicts(table: pa.Table, noun: str) -> pa.Table:
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
    # each row against the one before it
    same = pc.equal(later, digests.slice(0, len(later)))
    rivals = pc.unique(
        later.filter(pc.and_(same, pc.not_equal(other, labels.slice(0, len(later)))))
    )
    if not len(rivals):
        return table
    conflicting = pc.and_(
        pc.equal(table["status"], OK), pc.is_in(table["content_hash"], rivals)
    )
    return _with_reasons(table, conflicting.combine_chunks(), noun)


def _with_reasons(table: pa.Table, conflicting: pa.BooleanArray, noun: str) -> pa.Table:
    """Say of each conflicting row, [n] bool, which other labels the same item has."""
    rows = table.select(["content_hash", "given_label"]).filter(conflicting).to_pylist()
    # few rows, so Python may look at each
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["content_hash"], set()).add(row["given_label"])
    reasons = []
    for row in rows:
        rivals = labels[row["content_hash"]]
        reasons.append(_other_labels(rivals, row["given_label"], noun))
    status = pc.if_else(conflicting, CONFLICT, table["status"])
    reason = pc.replace_with_mask(
        table["reason"], conflicting, pa.array(reasons, pa.string())
    )
    table = table.set_column(table.column_names.index("status"), "status", status)
    return table.set_column(table.column_names.index("reason"), "reason", reason)


def _other_labels(labels: Iterable[str], own: str, noun: str) -> str:
    rivals = sorted(set(labels) - {own})
    text = ", ".join(map(repr, rivals[:SHOWN]))
    more = f" and {len(rivals) - SHOWN} more" if len(rivals) > SHOWN else ""
    return f"the same {noun} is also labelled {text}{more}"


def _usable(table: pa.Table, states: Sequence[str], noun: str) -> pa.Table:
    """Rows in one of these states; DataError where there are none."""
    usable = table.filter(pc.is_in(table["status"], pa.array(states)))
    if len(usable):
        return usable
    # one example helps more than a count: most often all fail for the same reason
    first = table.slice(0, 1).to_pylist()[0]
    what, which = f"None of the {len(table):,} {noun}s can be used.", "The first one, "
    if len(table) == 1:
        what, which = f"The only {noun} cannot be used.", ""
    why = f"{which}'{first['path'][:160]}': {first['reason'][:300].rstrip('.')}."
    # in a table's paths: most often they are meant from another folder
    if os.strerror(errno.ENOENT) in str(first["reason"]):
        why += " Name the folder that image paths are relative to with --root."
    raise DataError(what, why)
