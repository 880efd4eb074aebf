"""Image features of a run in the cache, and whose they are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.cache import cache_folder, read_array
from labelsieve.files import is_inside
from labelsieve.progress import note
from labelsieve.runs.reading import mapped
from labelsieve.runs.run import Run
from labelsieve.tables import SCORED, one_chunk


def cached_features(opened: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Sample ids [n] and image features [n, d] of length one, mapped from the cache.

    None, with one line of notice, when they are no longer there, damaged or of other data.
    """
    found = _features(opened)
    if found is None:
        return None
    return found[0]["sample_id"].to_numpy(zero_copy_only=False), found[1]


def feature_rows(opened: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """Features [m, d] as `cached_features`, and the row among them of each judged image.

    Returns:
        Rows [n] int64 in the order of `Run.judged`, -1 for an image without features.
    """
    found = _features(opened)
    if found is None:
        return None
    usable, features = found

    def joined() -> np.ndarray:
        ids = one_chunk(opened.judged["sample_id"])
        rows = pc.index_in(ids, one_chunk(usable["sample_id"]))
        return pc.fill_null(rows, -1).to_numpy().astype(np.int64)

    n = len(opened.judged)
    return mapped.array(opened, "features", n, joined), features


def _features(opened: Run) -> tuple[pa.Table, np.ndarray] | None:
    """The rows of the manifest that have features, in their order, and these."""
    named = opened.record.get("features")
    if not named:
        return None
    manifest = opened.manifest
    # features were computed for these rows, in this order
    scored = pc.is_in(manifest["status"], pa.array(SCORED))
    usable = manifest if pc.all(scored).as_py() else manifest.filter(scored)
    # the cache was cleared and filled by another run
    features = _features_in_cache(named)
    if features is None or features.ndim != 2 or len(features) != len(usable):
        _tell_without_features(str(opened.folder))
        return None
    return usable, features


def _features_in_cache(named: Any) -> np.ndarray | None:
    """An array of the cache; None for any other path, as runs come from strangers, too."""
    if not isinstance(named, str) or "\0" in named:
        return None
    path = Path(named)
    if not is_inside(cache_folder() / "features", path):
        return None
    # nothing is computed for a person who only looks
    return read_array(path, then="not used")


# the page asks for them twice, and one line says it
@lru_cache
def _tell_without_features(folder: str) -> None:
    note(f"The cache has no features of '{folder}': similar images are not shown.")
