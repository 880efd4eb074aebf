"""Figures of a cell about sets of labels, label by label."""

from __future__ import annotations

from typing import Any

from labelsieve.estimation.sets import figures
from labelsieve.pipeline.sets.results import judged
from labelsieve.runs.run import Run

# As they are called among the columns of the results; the names of whole sets are taken.
NAMES = {
    "map": "map",
    "map_given": "map_given",
    "auroc_missing": "auroc_missing",
    "auroc_extra": "auroc_extra",
    "f1": "label_f1",
    "ece": "label_ece",
}
ENDS = tuple(f"{NAMES[n]}_{end}" for n in figures.FIGURES for end in ("low", "high"))
COLUMNS = (*NAMES.values(), *ENDS)


def of(opened: Run, seed: int) -> dict[str, Any]:
    """Figures with the ends of their 95 % intervals; empty where the truth is not known."""
    truth = opened.truth()
    found = None if truth is None else judged(opened, truth)
    if found is None:
        return {}
    values = figures.of_sets(*found)
    row = {column: values[name] for name, column in NAMES.items()}
    for name, ends in figures.intervals(*found, seed).items():
        low, high = ends or (None, None)
        row[f"{NAMES[name]}_low"], row[f"{NAMES[name]}_high"] = low, high
    return row
