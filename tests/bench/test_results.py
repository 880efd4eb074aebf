"""Groups, means, leaders, headroom and its rank correlation, against counting by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from labelsieve.bench import results as collect
from labelsieve.bench.plan import Cell, Data, Method, Noise, Tower
from labelsieve.bench.steps import Step

Make = Callable[..., pa.Table]


def test_rows_hold_what_was_asked_and_what_came_out(tmp_path: Path) -> None:
    cell = Cell(
        Tower("big", "models/big"),
        Data("d"),
        Noise("pair", 0.4),
        Method("mine", "knn", "default", {"neighbours": 3}),
        7,
    )
    step = Step("cell", tmp_path / "cells" / "x", {}, "big", (), cell)
    other = Step(
        "headroom", tmp_path / "towers" / "x", {"names": {"tower": "big", "data": "d"}}
    )
    done = {
        "state": "done",
        "row": {"f1": 0.25, "settings": '{"neighbours": 3, "all": 1}', "images": 9},
    }
    (row,) = collect.results({other: {"state": "done"}, step: done}).to_pylist()
    assert {k: row[k] for k in ("tower", "data", "noise", "method", "seed")} == {
        "tower": "big",
        "data": "d",
        "noise": "pair 40 %",
        "method": "mine",
        "seed": 7,
    }
    assert (row["model"], row["detector"], row["kind"], row["nominal_rate"]) == (
        "models/big",
        "knn",
        "pair",
        0.4,
    )
    assert (row["f1"], row["images"], row["settings"], row["folder"]) == (
        0.25,
        9,
        '{"neighbours": 3, "all": 1}',
        "cells/x",
    )
    assert row["auroc"] is None and row["message"] is None
    (row,) = collect.results({step: {"state": "failed", "message": "no"}}).to_pylist()
    assert (row["state"], row["message"], row["f1"], row["images"]) == (
        "failed",
        "no",
        None,
        None,
    )
    assert not len(collect.results({step: {}})), "a cell that has not run yet is no row"


def test_means_leave_out_what_is_not_known() -> None:
    assert collect.mean([{"x": 1.0}, {"x": None}, {"x": 2.0}], "x") == 1.5
    assert collect.mean([{"x": None}], "x") is None


def test_the_best_has_the_highest_mean(results: Make) -> None:
    rows = results(
        {"method": "a", "f1": 0.9},
        {"method": "a", "f1": 0.1, "seed": 1},
        {"method": "b", "f1": 0.6},
        {"method": "c", "f1": None},
    ).to_pylist()
    assert collect.best(rows, "f1") == "b"
    assert collect.best(rows[3:], "f1") is None


def headroom_of(
    results: Make, points: list[tuple[str, float, float, float]]
) -> pa.Table:
    """Headroom of data sets: name, gap, F1 of DeFT, F1 of knn."""
    rows: list[dict[str, Any]] = []
    outcomes: dict[Any, Any] = {}
    for data, gap, ours, theirs in points:
        rows += [
            {"data": data, "method": "deft", "f1": ours},
            {"data": data, "method": "fast", "detector": "deft", "f1": 0.99},
        ]
        rows += [
            {"data": data, "method": "knn", "f1": theirs},
            {"data": data, "method": "aum", "f1": theirs - 0.1},
        ]
        step = Step(
            "headroom", Path(data), {"names": {"tower": "tiny", "data": data}}, "tiny"
        )
        outcomes[step] = {"state": "done", "zero_shot": 0.5, "probe": 0.5 + gap}
    return collect.headroom(results(*rows), outcomes)


def test_headroom_names_gap_leaders_and_the_lead_over_other_methods(
    results: Make,
) -> None:
    (row,) = headroom_of(results, [("d", 0.2, 0.7, 0.6)]).to_pylist()
    assert row["gap"] == pytest.approx(0.2) and row["best_f1"] == "fast"
    assert row["lead"] == pytest.approx(0.1), (
        "the other preset of DeFT is no rival, and not the one that leads"
    )
    (row,) = collect.headroom(results({"method": "knn"}), {}).to_pylist()
    assert (row["gap"], row["lead"], row["best_f1"]) == (None, None, "knn")


def test_methods_that_look_at_pictures_are_set_against_those_that_read_names(
    results: Make,
) -> None:
    rows = [
        {"method": "zero-shot", "auroc": 0.7},
        {"method": "surrogate", "auroc": 0.8},
        {"method": "knn", "auroc": 0.6},
        {"method": "slow", "detector": "gmm", "auroc": 0.75},
        {"method": "deft", "auroc": 0.99},
        {"method": "ensemble", "auroc": 0.98},
    ]
    (row,) = collect.headroom(results(*rows), {}).to_pylist()
    assert row["pictures"] == pytest.approx(-0.05), "DeFT and ensembles do both"
    (row,) = collect.headroom(results(*rows[:2], rows[4]), {}).to_pylist()
    assert row["pictures"] is None, "nobody looked at pictures alone"


def test_the_rank_correlation_is_spearmans_of_four_or_more(results: Make) -> None:
    points = [
        ("a", 0.0, 0.5, 0.6),
        ("b", 0.1, 0.6, 0.5),
        ("c", 0.3, 0.6, 0.55),
        ("d", 0.4, 0.9, 0.4),
    ]
    assert collect.rank_correlation(headroom_of(results, points[:3]), "lead") is None
    found = collect.rank_correlation(headroom_of(results, points), "lead")
    expected = spearmanr([0.0, 0.1, 0.3, 0.4], [-0.1, 0.1, 0.05, 0.5]).statistic
    assert found == (pytest.approx(expected), 4)
    same = [(data, 0.1, ours, theirs) for data, _, ours, theirs in points]
    assert collect.rank_correlation(headroom_of(results, same), "lead") is None, (
        "equal gaps have no ranks"
    )


def test_groups_keep_the_order_of_first_appearance(results: Make) -> None:
    table = results(
        {"data": "b"},
        {"data": "a"},
        {"data": "b", "seed": 1},
        {"data": "c", "state": "failed"},
    )
    found = collect.groups(collect.finished(table), ("data",))
    assert [(key, len(rows)) for key, rows in found.items()] == [
        (("b",), 2),
        (("a",), 1),
    ]
