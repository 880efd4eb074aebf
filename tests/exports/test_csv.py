from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from labelsieve.exports import export
from labelsieve.runs import standing


def test_rows_come_back(decided: Any, tmp_path: Path) -> None:
    (file,) = export(decided.run, "csv", tmp_path / "out.csv")
    rows = {
        r["sample_id"]: r
        for r in pacsv.read_csv(
            file,
            convert_options=pacsv.ConvertOptions(strings_can_be_null=True),
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
        ).to_pylist()
    }
    assert {i: r["label"] for i, r in rows.items()} == decided.after
    # as the review page shows them after the decisions
    for about in standing.scores_of(decided.run).to_pylist():
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
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.csv"]


def test_cells_stay_exact_unless_formulas_are_to_be_stopped(
    planted: Any, tmp_path: Path
) -> None:
    table = planted.run.scores
    labels = ["=1+1", "+1", "-1", "@x", "\ta", "'quoted", "plain", None]
    labels += ["zero"] * (len(table) - len(labels))
    column = table.column_names.index("suggested_label")
    planted.run.scores = table.set_column(
        column, "suggested_label", pa.array(labels, pa.string())
    )
    read = pacsv.ConvertOptions(
        column_types={"suggested_label": pa.string()}, strings_can_be_null=True
    )
    (file,) = export(planted.run, "csv", tmp_path / "exact.csv")
    shown = pacsv.read_csv(file, convert_options=read)["suggested_label"].to_pylist()
    assert shown == labels
    (file,) = export(planted.run, "csv", tmp_path / "safe.csv", safe_formulas=True)
    shown = pacsv.read_csv(file, convert_options=read)["suggested_label"].to_pylist()
    assert shown[:8] == [*(f"'{x}" for x in labels[:6]), "plain", None]
    assert [x and x.removeprefix("'") for x in shown] == labels
