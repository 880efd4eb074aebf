"""A table of digits with the labels of two people, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def table(tmp_path: Path, digits: Any, encode: Any) -> Path:
    """Forty digits in a Parquet table: bytes, the truth, and labels of two people; one
    unlabelled, one unreadable row."""
    images, truth = digits
    rows = np.flatnonzero(truth < 4)[:40]
    words = [("zero", "one", "two", "three")[truth[r]] for r in rows]
    path = tmp_path / "data" / "digits.parquet"
    path.parent.mkdir()
    content = [encode(images[r]) for r in rows]
    content[7] = b"no image"
    labels = [None if i == 3 else w for i, w in enumerate(words)]
    person = ["one" if i in (0, 10, 20) else w for i, w in enumerate(words)]
    pq.write_table(
        pa.table(
            {
                "id": [f"d{i}" for i in range(40)],
                "image": content,
                "label": labels,
                "person": person,
            }
        ),
        path,
    )
    return path
