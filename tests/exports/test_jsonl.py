from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelsieve.exports import export
from labelsieve.runs.standing import scores_of


def test_rows_come_back(decided: Any, tmp_path: Path) -> None:
    (file,) = export(decided.run, "jsonl", tmp_path / "out.jsonl")
    rows = {
        r["sample_id"]: r
        for r in [
            json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()
        ]
    }
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
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.jsonl"]
