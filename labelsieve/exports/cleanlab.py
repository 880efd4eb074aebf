"""cleanlab: labels.npy, pred_probs.npy, and the issue table with the columns of its Datalab.

Rows of the arrays and of issues.parquet are in the same order, and the latter names them. The
class probabilities come from the run's method; where that learned from all labels, they are not
out of sample, which cleanlab assumes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.exports import Rows
from labelsieve.tables import write_parquet

TARGET = "folder"
ITEMS = ("images", "texts")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the arrays of all scored images.

    labels.npy holds given labels, int64 [n]; pred_probs.npy class probabilities, float32 [n, k].
    """
    target.mkdir(parents=True, exist_ok=True)
    # without a score there are no probabilities, and cleanlab takes no missing ones
    table = rows.table.filter(pc.is_valid(rows.table["p_clean"]))
    number = {name: k for k, name in enumerate(rows.classes)}
    given = [number[name] for name in table["given_label"].to_pylist()]
    labels = np.array(given, dtype=np.int64)
    listed = [rows.probs[i] for i in table["sample_id"].to_pylist()]
    probs = np.array(listed, dtype=np.float32)
    np.save(target / "labels.npy", labels)
    # also without a row there are k columns
    np.save(target / "pred_probs.npy", probs.reshape(len(labels), len(rows.classes)))
    # what the numbers in labels.npy mean
    classes = json.dumps(rows.classes, ensure_ascii=False) + "\n"
    (target / "classes.json").write_text(classes, encoding="utf-8")
    write_parquet(_issues(table), target / "issues.parquet")
    names = ("labels.npy", "pred_probs.npy", "classes.json", "issues.parquet")
    return [target / name for name in names]


def _issues(table: pa.Table) -> pa.Table:
    return pa.table(
        {
            "sample_id": table["sample_id"],
            "path": table["path"],
            "is_label_issue": table["is_label_issue"],
            "label_score": table["p_clean"],
            "given_label": table["given_label"],
            "predicted_label": table["suggested_label"],
        }
    )
