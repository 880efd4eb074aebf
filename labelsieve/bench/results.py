"""From what cells left to tables: one row per cell, means over seeds, and the headroom of each tower on each data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import spearmanr

from labelsieve import registry
from labelsieve.bench.steps import Step
from labelsieve.estimation.metrics import FIGURES

INTERVALS = tuple(f"{name}_{end}" for name in FIGURES for end in ("low", "high"))
CLEAN = ("clean_precision", "clean_recall", "clean_f1")
NUMBERS = (
    "nominal_rate",
    "realised_rate",
    *FIGURES,
    *INTERVALS,
    *CLEAN,
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
RESULTS = pa.schema(
    [
        *((name, pa.string()) for name in (*GROUP, "method")),
        ("seed", pa.int64()),
        *(
            (name, pa.string())
            for name in (
                "state",
                "message",
                "model",
                "detector",
                "preset",
                "settings",
                "kind",
            )
        ),
        *((name, pa.float64()) for name in NUMBERS),
        *((name, pa.int64()) for name in COUNTS),
        *((name, pa.string()) for name in ("device", "host", "environment", "folder")),
    ]
)
FEW = 4  # so many towers and data sets are needed for a rank correlation
LEADER = "deft"
MIXED = "ensemble"  # of methods that read class names and others that do not


def results(outcomes: Mapping[Step, Mapping[str, Any]]) -> pa.Table:
    """One row for each cell that ran or was refused, with columns `RESULTS`, in the order of the outcomes.

    precision, recall, f1, auroc, ap: of finding wrong labels, with _low and _high, a 95 % interval over images; clean_…: of
    keeping right ones; seconds: of the method, without the features that all methods share; peak_mib: of the whole scan.
    """
    rows = [
        _row(step, outcome)
        for step, outcome in outcomes.items()
        if step.cell is not None and outcome
    ]
    return pa.Table.from_pylist(rows, RESULTS)


def _row(step: Step, outcome: Mapping[str, Any]) -> dict[str, Any]:
    cell = step.cell
    assert cell is not None
    return {
        **cell.names(),
        "seed": cell.seed,
        "state": outcome["state"],
        "message": outcome.get("message"),
        "model": cell.tower.model or cell.tower.name,
        "detector": cell.method.detector,
        "preset": cell.method.preset,
        "settings": json.dumps(dict(cell.method.settings)),
        "kind": cell.noise.kind,
        "nominal_rate": cell.noise.rate,
        "folder": step.folder.relative_to(step.folder.parent.parent).as_posix(),
        **outcome.get("row", {}),
    }


def finished(table: pa.Table) -> pa.Table:
    """The rows of cells that ran to their end."""
    return table.filter(pc.equal(table["state"], "done"))


def groups(
    table: pa.Table, by: Sequence[str]
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Rows by the values of some columns, in the order in which these first appear."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        found.setdefault(tuple(row[c] for c in by), []).append(row)
    return found


def mean(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Of what is known; None where nothing is."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def by_method(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of one tower, data set and noise: those of each method, one for each seed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def best(rows: Sequence[dict[str, Any]], name: str) -> str | None:
    """The method with the highest mean of a figure."""
    means = {method: mean(own, name) for method, own in by_method(rows).items()}
    known = {method: value for method, value in means.items() if value is not None}
    return max(known, key=lambda m: known[m]) if known else None


def headroom(table: pa.Table, outcomes: Mapping[Step, Mapping[str, Any]]) -> pa.Table:
    """One row for each tower, data set and noise: what the tower knows, what its features support, and who leads.

    zero_shot: share of images whose true class the untouched tower names. probe: the same of a linear probe on its
    features, trained on true labels and judged out of fold. gap: probe - zero_shot, what there is to learn. lead: F1 of
    `deft` less that of the best method that is none of its presets, means over seeds. pictures: AUROC of the best method
    that reads no class names less that of the best one that reads them and learns no tower.
    """
    known = {
        tuple(s.job["names"].values()): r
        for s, r in outcomes.items()
        if s.kind == "headroom" and r.get("state") == "done"
    }
    rows = []
    for (tower, data, noise), own in groups(finished(table), GROUP).items():
        found = known.get((tower, data), {})
        zero, probe = found.get("zero_shot"), found.get("probe")
        rows.append(
            {
                "tower": tower,
                "data": data,
                "noise": noise,
                "images": own[0]["images"],
                "classes": own[0]["classes"],
                "realised_rate": mean(own, "realised_rate"),
                "zero_shot": zero,
                "probe": probe,
                "gap": None if zero is None or probe is None else probe - zero,
                "best_f1": best(own, "f1"),
                "best_auroc": best(own, "auroc"),
                "lead": _lead(own),
                "pictures": _pictures(own),
            }
        )
    return pa.Table.from_pylist(rows, HEADROOM)


HEADROOM = pa.schema(
    [
        *((name, pa.string()) for name in GROUP),
        ("images", pa.int64()),
        ("classes", pa.int64()),
        *(
            (name, pa.float64())
            for name in ("realised_rate", "zero_shot", "probe", "gap")
        ),
        ("best_f1", pa.string()),
        ("best_auroc", pa.string()),
        ("lead", pa.float64()),
        ("pictures", pa.float64()),
    ]
)


def _lead(rows: Sequence[dict[str, Any]]) -> float | None:
    ours = [r for r in rows if r["detector"] == LEADER]
    first = [r for r in ours if r["method"] == ours[0]["method"]]
    others = [r for r in rows if r["detector"] != LEADER]
    rival = best(others, "f1")
    mine, theirs = (
        mean(first, "f1"),
        mean([r for r in others if r["method"] == rival], "f1"),
    )
    return None if mine is None or theirs is None else mine - theirs


def _pictures(rows: Sequence[dict[str, Any]]) -> float | None:
    known = {r["detector"] for r in rows} & set(registry.names("methods")) - {MIXED}
    needs = {
        name: registry.constants("methods", name, ("NEEDS",))["needs"] for name in known
    }
    with_names = [r for r in rows if needs.get(r["detector"]) == ("text",)]
    without = [r for r in rows if "text" not in needs.get(r["detector"], ("text",))]
    best_of = [
        mean([r for r in own if r["method"] == best(own, "auroc")], "auroc")
        if own
        else None
        for own in (with_names, without)
    ]
    return None if best_of[0] is None or best_of[1] is None else best_of[1] - best_of[0]


def rank_correlation(table: pa.Table, name: str) -> tuple[float, int] | None:
    """Spearman's ρ between gap and another column, and of how many towers and data sets (means over noises); None of fewer than `FEW`.

    Args:
        table: what `headroom` gives.
        name: "lead" or "pictures".
    """
    points = [
        (own[0]["gap"], mean(own, name))
        for own in groups(table, ("tower", "data")).values()
    ]
    known = [
        (gap, value) for gap, value in points if gap is not None and value is not None
    ]
    if (
        len(known) < FEW
        or len({g for g, _ in known}) < 2
        or len({value for _, value in known}) < 2
    ):
        return None
    return float(spearmanr(*zip(*known, strict=True)).statistic), len(known)
