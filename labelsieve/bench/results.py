"""From what cells left to tables: one row per cell, means over seeds, and headroom.

Headroom is what a tower knows of a data set and what its features would support.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import spearmanr

from labelsieve import registry
from labelsieve.bench.plan import Cell
from labelsieve.bench.sets import figures
from labelsieve.bench.steps import Step
from labelsieve.estimation.metrics import FIGURES, MORE

Row = dict[str, Any]


def fields(names: Iterable[str], kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """Columns of the same type, for a schema."""
    return [(name, kind) for name in names]


INTERVALS = tuple(f"{name}_{end}" for name in FIGURES for end in ("low", "high"))
CLEAN = ("clean_precision", "clean_recall", "clean_f1")
NUMBERS = (
    "nominal_rate",
    "realised_rate",
    *FIGURES,
    *MORE,
    *INTERVALS,
    *CLEAN,
    *figures.COLUMNS,
    "estimated_rate",
    "estimated_low",
    "estimated_high",
    "seconds",
    "features_seconds",
    "cpu_seconds",
    "peak_mib",
)
COUNTS = ("images", "classes", "flagged", "attempts", "threads", "cores")
GROUP = ("tower", "data", "noise")
# What a cell was asked to do, and how that ended.
TASK = ("state", "message", "model", "detector", "preset", "settings", "kind")
RESULTS = pa.schema(
    [
        *fields((*GROUP, "method"), pa.string()),
        ("seed", pa.int64()),
        *fields(TASK, pa.string()),
        *fields(NUMBERS, pa.float64()),
        *fields(COUNTS, pa.int64()),
        *fields(("device", "host", "environment", "folder"), pa.string()),
    ]
)
HEADROOM = pa.schema(
    [
        *fields(GROUP, pa.string()),
        *fields(("images", "classes"), pa.int64()),
        *fields(("realised_rate", "zero_shot", "probe", "gap"), pa.float64()),
        *fields(("best_f1", "best_auroc"), pa.string()),
        *fields(("lead", "pictures"), pa.float64()),
    ]
)
FEW = 4  # so many towers and data sets are needed for a rank correlation
LEADER = "deft"  # the method that the others are compared with
MIXED = "ensemble"  # of methods that read class names and others that do not


def results(outcomes: Mapping[Step, Mapping[str, Any]]) -> pa.Table:
    """One row for each cell that ran or was refused, in the order of the outcomes.

    precision, recall, f1, auroc, ap: of finding wrong labels, with _low and _high, a 95 %
    interval over images, of whole sets where labels are sets, and of these label by label
    `labelsieve.bench.sets.figures`; f1_best, f1_known, fnr, ece, brier: see
    `labelsieve.estimation.metrics`; clean_…: of keeping right ones; seconds: of the method,
    without the features that all methods share; peak_mib: of the whole scan.

    Returns:
        Columns `RESULTS`.
    """
    rows = []
    for step, outcome in outcomes.items():
        if step.cell is not None and outcome:
            rows.append(_row(step, outcome))
    return pa.Table.from_pylist(rows, RESULTS)


def _row(step: Step, outcome: Mapping[str, Any]) -> Row:
    cell = step.cell
    assert cell is not None  # `results` passes on no other steps
    return {
        **_asked(cell),
        "state": outcome["state"],
        "message": outcome.get("message"),
        "folder": step.folder.relative_to(step.folder.parent.parent).as_posix(),
        # the cell's own figures, and the settings as they were resolved
        **outcome.get("row", {}),
    }


def _asked(cell: Cell) -> Row:
    """What a cell was to do, known also of one that never began."""
    return {
        **cell.names(),
        "seed": cell.seed,  # a number again, over the text among the names
        "model": cell.tower.model or cell.tower.name,
        "detector": cell.method.detector,
        "preset": cell.method.preset,
        # as text: each method has settings of its own, and the table one column
        "settings": json.dumps(dict(cell.method.settings)),
        "kind": cell.noise.kind,
        "nominal_rate": cell.noise.rate,
    }


def finished(table: pa.Table) -> pa.Table:
    """The rows of cells that ran to their end."""
    return table.filter(pc.equal(table["state"], "done"))


def groups(table: pa.Table, by: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some columns, in the order in which these first appear."""
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in table.to_pylist():
        grouped.setdefault(tuple(row[column] for column in by), []).append(row)
    return grouped


def mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Of what is known; None where nothing is."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of one tower, data set and noise: those of each method, one for each seed."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["method"], []).append(row)
    return grouped


def best(rows: Sequence[Row], name: str) -> str | None:
    """The method with the highest mean of a figure."""
    known: dict[str, float] = {}
    for method, own in by_method(rows).items():
        value = mean(own, name)
        if value is not None:
            known[method] = value
    # of equal ones the first, hence the configuration's order decides
    return max(known, key=lambda method: known[method]) if known else None


def headroom(table: pa.Table, outcomes: Mapping[Step, Mapping[str, Any]]) -> pa.Table:
    """One row for each tower, data set and noise: what there is to learn, and who leads.

    zero_shot: share of images whose true class the untouched tower names. probe: the same of
    a linear probe on its features, trained on true labels and judged out of fold. gap: probe -
    zero_shot, what there is to learn. lead: F1 of `deft` less that of the best method that is
    none of its presets, means over seeds. pictures: AUROC of the best method that reads no
    class names less that of the best one that reads them and learns no tower.

    Returns:
        Columns `HEADROOM`.
    """
    known = {}
    for step, outcome in outcomes.items():
        if step.kind == "headroom" and outcome.get("state") == "done":
            # by tower and data: noise changes nothing about true labels
            known[tuple(step.job["names"].values())] = outcome
    rows = []
    for (tower, data, noise), own in groups(finished(table), GROUP).items():
        names = {"tower": tower, "data": data, "noise": noise}
        measured = known.get((tower, data), {})
        rows.append({**names, **_headroom_of(own, measured)})
    return pa.Table.from_pylist(rows, HEADROOM)


def _headroom_of(rows: Sequence[Row], measured: Mapping[str, Any]) -> Row:
    zero = measured.get("zero_shot")
    probe = measured.get("probe")
    return {
        "images": rows[0]["images"],
        "classes": rows[0]["classes"],
        "realised_rate": mean(rows, "realised_rate"),
        "zero_shot": zero,
        "probe": probe,
        "gap": _difference(probe, zero),
        "best_f1": best(rows, "f1"),
        "best_auroc": best(rows, "auroc"),
        "lead": _lead(rows),
        "pictures": _pictures(rows),
    }


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _lead(rows: Sequence[Row]) -> float | None:
    ours: list[Row] = []
    others: list[Row] = []
    for row in rows:
        (ours if row["detector"] == LEADER else others).append(row)
    # of several presets the first in the configuration
    first = [row for row in ours if row["method"] == ours[0]["method"]]
    return _difference(mean(first, "f1"), _mean_of_best(others, "f1"))


def _pictures(rows: Sequence[Row]) -> float | None:
    with_names: list[Row] = []
    without: list[Row] = []
    for row in rows:
        needs = _needs(row["detector"])
        if needs == ("text",):
            with_names.append(row)
        elif "text" not in needs:
            without.append(row)
    best_without = _mean_of_best(without, "auroc")
    return _difference(best_without, _mean_of_best(with_names, "auroc"))


def _needs(detector: str) -> tuple[str, ...]:
    """What a method reads; of one that is neither, both kinds, so that it counts for none."""
    if detector == MIXED or detector not in registry.names("methods"):
        return ("text", "image")
    constants = registry.constants("methods", detector, ("NEEDS",))
    return tuple(constants["needs"])


def _mean_of_best(rows: Sequence[Row], name: str) -> float | None:
    method = best(rows, name)  # None where there is no row, and then no mean
    return mean([row for row in rows if row["method"] == method], name)


def rank_correlation(table: pa.Table, name: str) -> tuple[float, int] | None:
    """Spearman's ρ between gap and another column, and of how many towers and data sets.

    Args:
        table: what `headroom` gives; its rows count as means over noises.
        name: "lead" or "pictures".

    Returns:
        None of fewer than `FEW`, or where one of the columns is constant.
    """
    gaps: list[float] = []
    values: list[float] = []
    for own in groups(table, ("tower", "data")).values():
        value = mean(own, name)
        if own[0]["gap"] is not None and value is not None:
            gaps.append(own[0]["gap"])
            values.append(value)
    # of a constant column there is no ranking
    if len(gaps) < FEW or len(set(gaps)) < 2 or len(set(values)) < 2:
        return None
    return float(spearmanr(gaps, values).statistic), len(gaps)
