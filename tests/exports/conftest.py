from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labelsieve.files import uri_to_path
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def decided(planted: Any) -> Any:
    """The planted run with three decisions.

    `decided.after` is the label of every image after them, `decided.files` its file.
    """
    decisions = Decisions(planted.folder)
    a, b, c, *_ = planted.wrong
    decisions.add(a, "accept", planted.truth[a])
    decisions.add(b, "none")
    decisions.add(c, "keep")
    decisions.close()
    planted.after = {**planted.given, a: planted.truth[a], b: None}
    manifest = planted.run.manifest.select(["sample_id", "uri"]).to_pylist()
    planted.files = {
        row["sample_id"]: planted.data / uri_to_path(row["uri"]) for row in manifest
    }
    return planted


@pytest.fixture
def parted(decided: Any) -> Any:
    """The decided run as one of data with splits; `parted.splits` by sample id, one unknown."""
    manifest = decided.run.manifest
    names = ["train", "valid", "test"]
    splits = [names[k % 3] for k in range(len(manifest))]
    at = manifest.column_names.index("split")
    splits[0] = None
    column = pa.array(splits, pa.string())
    decided.run.manifest = manifest.set_column(at, "split", column)
    ids = manifest["sample_id"].to_pylist()
    decided.splits = dict(zip(ids, [s or "train" for s in splits], strict=True))
    return decided
