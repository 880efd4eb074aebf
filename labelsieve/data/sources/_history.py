"""What corrections in place left in the folder `.labelsieve` beside data, as far as reading the data needs it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pyarrow.parquet as pq

from labelsieve.data.sources import STATE
from labelsieve.files import uri_to_path


def records(state: Path) -> list[Path]:
    """The patches that hold, in the order in which they were applied."""
    return sorted(
        state.glob("applied-*.parquet"), key=lambda p: (p.stat().st_mtime_ns, p.name)
    )


def place_now(root: Path, uri: str) -> Path:
    """Where a file of a folder is now that was listed as `uri`: where it was, or where patches moved it since."""
    place = root / uri_to_path(uri)
    if os.path.lexists(place):
        return place
    now = uri
    for record in records(root / STATE):
        moved = _moves(record, record.stat().st_mtime_ns)
        if now in moved:
            new = moved[now]
            if new is None:
                return root / STATE / "dropped" / uri_to_path(now)
            now = new
    return root / uri_to_path(now)


@functools.lru_cache(maxsize=16)
def _moves(record: Path, changed: int) -> dict[str, str | None]:
    """Old uri -> new one, None where left out; `changed` tells versions of the file apart."""
    table = pq.read_table(record, columns=["uri", "new_uri"])
    return dict(
        zip(table["uri"].to_pylist(), table["new_uri"].to_pylist(), strict=True)
    )


def originals(place: Path) -> list[Path]:
    """A table, or a saved data set, as it was before patches, the latest version first."""
    if place.is_dir():
        found = (place / STATE / "originals").glob("?" * 16)
    else:
        name = "".join(f"[{c}]" if c in "*?[" else c for c in place.name)
        found = (place.parent / STATE / "originals").glob("?" * 16 + "-" + name)
    return sorted(found, key=lambda p: -p.stat().st_mtime_ns)
