"""Tables and rows of a large run, checked once and mapped into memory from then on.

Reading, checking and joining the Parquet tables of a million images takes seconds, every time a
page is opened. The first review leaves copies in the user's own cache, by the checksums of the
files that they were made of; the next one maps them. A run folder holds none of this: it may come
from a stranger, and what is in it is checked.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from labelsieve.cache import (
    cache_folder,
    cache_limit,
    cached_array,
    key_of,
    read_table,
    used,
    write_table,
)
from labelsieve.errors import LabelsieveError
from labelsieve.runs._shape import (
    check_ids,
    check_probs,
    check_same_images,
    check_scores,
    typed,
)
from labelsieve.tables import (
    DUPLICATES,
    MANIFEST,
    QUALITY,
    SCORES,
    RowsOf,
    order_of,
    read_parquet,
)

if TYPE_CHECKING:
    from labelsieve.runs.run import Run

# rows from which copies pay: fewer are read and checked within a twentieth of a second
LARGE = 50_000
# changed whenever what is checked before a table is copied changes
VERSION = 1


def _scores(opened: Run, path: Path) -> pa.Table:
    # methods add columns of their own, so the schema is a lower bound
    scores = typed(path, read_parquet(path), SCORES)
    check_scores(path, scores)
    return scores


def _manifest(opened: Run, path: Path) -> pa.Table:
    manifest = read_parquet(path, MANIFEST)
    if opened.finished:
        check_same_images(path, manifest, opened.scores)
    else:
        check_ids(path, manifest)
    return manifest


def _probs(opened: Run, path: Path) -> pa.Table:
    probs = read_parquet(path)
    check_probs(path, probs, opened.classes, opened.scores, opened.kind)
    return probs


def _quality(opened: Run, path: Path) -> pa.Table:
    return read_parquet(path, QUALITY)


def _duplicates(opened: Run, path: Path) -> pa.Table:
    return read_parquet(path, DUPLICATES)


# How each table is read and checked, and the other files that it is checked against.
TABLES: dict[str, tuple[Callable[[Run, Path], pa.Table], tuple[str, ...]]] = {
    "scores.parquet": (_scores, ()),
    "manifest.parquet": (_manifest, ("scores.parquet",)),
    "probs.parquet": (_probs, ("scores.parquet", "noise.json")),
    "quality.parquet": (_quality, ()),
    "duplicates.parquet": (_duplicates, ()),
}


def table(opened: Run, name: str) -> pa.Table:
    """A table of a run: a copy that is mapped, where a review left one, else read and checked.

    Args:
        name: of `TABLES`.

    Raises:
        RunError: the file is missing or damaged, whatever there is in the cache.
    """
    file = opened.file(name)
    read, others = TABLES[name]
    copy = _place(opened, "table", name, *others)
    found = read_table(copy) if copy and opened.finished else None
    return read(opened, file) if found is None else found


def array(
    opened: Run, what: str, n: int, compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """An array [n] that follows from scores and manifest; of many rows it is kept."""
    path = _place(opened, what, "scores.parquet", "manifest.parquet")
    if n < LARGE or path is None:
        return compute()
    # a full or read-only disk is no reason to show nothing
    try:
        return cached_array(path.with_suffix(".npy"), compute)
    except (OSError, LabelsieveError):
        return compute()


def rows_of(opened: Run, what: str, ids: pa.Array) -> RowsOf:
    """Rows by sample id; of many the order is kept, as sorting texts takes half a second.

    Args:
        what: a name of these ids among those of the run.
    """
    if len(ids) < LARGE:
        return RowsOf(ids)
    order = array(opened, f"order of {what}", len(ids), lambda: order_of(ids))
    return RowsOf(ids, order)


def keep(opened: Run) -> None:
    """Copy the tables of a large run into the cache, as far as there is room."""
    if len(opened.scores) < LARGE:
        return
    for name, (_, others) in TABLES.items():
        path = _place(opened, "table", name, *others)
        # nobody waits for a copy, and nobody is told that there is none
        with contextlib.suppress(OSError, LabelsieveError):
            if path is not None and not path.exists():
                _copy(table(opened, name), path)


def warm(opened: Run) -> None:
    """Compare checksums of a large run's files and copies in a thread of its own.

    That leaves Python's lock, so libraries are imported at the same time; whoever needs the
    tables meanwhile compares them itself. Nothing is raised: whoever reads the tables hears of it.
    """

    def compare() -> None:
        with contextlib.suppress(OSError, LabelsieveError):
            for name, (_, others) in TABLES.items():
                copy = _place(opened, "table", name, *others)
                if copy is not None and copy.exists():
                    opened.file(name)
                    read_table(copy)

    threading.Thread(target=compare, daemon=True).start()


def _copy(values: pa.Table, path: Path) -> None:
    taken = used()
    if taken + values.nbytes <= cache_limit(taken):
        write_table(path, values)


def _place(opened: Run, what: str, *names: str) -> Path | None:
    """Where a copy lies; None for a run without checksums, as earlier versions wrote them."""
    digests = [opened.files.get(name) for name in names]
    if None in digests:
        return None
    key = key_of(VERSION, what, opened.kind, *digests)
    return cache_folder() / "tables" / f"{key}.arrow"
