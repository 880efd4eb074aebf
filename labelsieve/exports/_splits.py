"""The splits of an export, as the data had them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.exports import Names, Rows, safe_name
from labelsieve.progress import note

TRAIN = "train"
# Names that other tools give to a split, and what ultralytics looks for.
SHORT = {
    **dict.fromkeys(("training",), TRAIN),
    **dict.fromkeys(("valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("testing",), "test"),
}


def parts(
    rows: Rows, called: Callable[[str], str] = str
) -> Iterator[tuple[str | None, Rows]]:
    """Split and its rows, by name; one part without a name where the data have no splits.

    Names are such as every file system takes, and different on each.

    Args:
        called: gives the name of a split in the export; two may become one.

    Rows without a split, where others have one, are of "train": a picture that is left out
    would be lost, and one in "test" would make a test easier than it is.
    """
    splits = rows.table["split"]
    lacking = splits.null_count
    if lacking == len(splits):
        yield None, rows
        return
    if lacking:
        note(f"{lacking:,} images have no split and are written as '{TRAIN}'.")
    named = [called(name or TRAIN) for name in splits.to_pylist()]
    column, names = pa.array(named, pa.string()), Names()
    for name in sorted(set(named)):
        mine = rows.table.filter(pc.equal(column, pa.scalar(name)))
        yield names.escaped(safe_name(name)), replace(rows, table=mine)


def short(split: str) -> str:
    """As ultralytics calls it: train, val and test; other names stay."""
    return SHORT.get(split.lower(), split)
