from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelsieve.exports import export
from labelsieve.runs.standing import scores_of


def test_rows_come_back(decided: Any, tmp_path: Path) -> None:
    (file,) = export(decided.run, "parquet", tmp_path / "out.parquet")
    rows = {r["sample_id"]: r for r in pq.read_table(file).to_pylist()}
    assert {i: r["label"] for i, r in rows.items()} == decided.after
    for about in scores_of(decided.run).to_pylist():
        row = rows[about["sample_id"]]
        assert (
            row["path"] == about["path"]
            and row["p_clean"] == about["p_clean"]
            and row["rank"] == about["rank"]
        )
        assert (
            row["suggested_label"] == about["suggested_label"]
            and row["is_label_issue"] == about["is_label_issue"]
        )
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.parquet"]
