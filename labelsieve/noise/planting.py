"""Planted label errors: a table of a data set with labels made wrong on purpose, and the truth.

The table (`labelsieve.noise.table`) can be scanned at once with `--truth-column true_label`.
Beside it, FILE.json says how it was made: noise model, nominal and realised rate, seed, the
number of images of each true class that were given each label, and a fingerprint of ids and
labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from labelsieve import files, registry
from labelsieve.data.labels import SINGLE, check_kind
from labelsieve.data.load import load
from labelsieve.data.manifest import kind_of
from labelsieve.data.sources import Row, Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError
from labelsieve.noise.context import Labelled, Plan, context_of
from labelsieve.noise.table import check_target, write_table

# Noise models that are decided by a rate; the others take all they need from a file or column.
RATED = ("symmetric", "symmetric-biased", "asymmetric", "pair", "instance")


def plant(data: Any, plan: Plan, output: str | Path) -> dict[str, Any]:
    """Write the table and what was done.

    Args:
        data: what `labelsieve.load` takes; its labels are the truth.
        output: a .parquet or .csv file.

    Returns:
        What FILE.json holds, and the path of the table.

    Raises:
        OptionError: an unknown noise model, or one without what it needs.
        DataError: pictures that a CSV file cannot hold.
    """
    target = Path(output)
    check_target(target)  # at once, not after all has been read
    model = registry.load("noise/generators", plan.kind)
    if plan.rate is None and plan.kind in RATED:
        raise OptionError(
            f"Noise '{plan.kind}' needs --rate.", "For example --rate 0.2."
        )
    spec = _spec(load(data), plan)
    files.refuse_input(target, spec.path())
    source = _draw(open_source(spec), plan.limit)
    labelled = _labelled(source, plan)
    context, readable = context_of(plan, source, labelled)
    # one generator per table: the same seed gives the same errors on every machine
    rng = np.random.default_rng(plan.seed)
    k = len(labelled.classes)
    noisy = model.corrupt(labelled.labels, k, plan.rate or 0.0, rng, context)
    # a picture that cannot be read keeps its label, since noise cannot depend on it
    noisy = np.where(readable, noisy, labelled.labels)
    given = labelled.with_labels(noisy)
    record = _record(plan, labelled, noisy, context, given)
    write_table(target, source, given, labelled.truth, record)
    files.write_json(target.with_name(f"{target.name}.json"), record)
    return {**record, "table": str(target)}


@dataclass
class _Part:
    """Some rows of a source."""

    source: Source
    chosen: frozenset[int]
    notes: list[str]

    def rows(self) -> Iterator[Row]:
        # sources are read from the start, as few of them can skip
        for number, row in enumerate(self.source.rows()):
            if number in self.chosen:
                yield row

    def read(self, uri: str) -> Any:
        return self.source.read(uri)


def _draw(source: Source, limit: int | None) -> Source:
    if limit is None:
        return source
    count = sum(1 for _ in source.rows())
    # a seed of its own: whatever noise is planted, the same images are compared
    order = np.random.default_rng(0).permutation(count)
    return _Part(source, frozenset(order[:limit].tolist()), source.notes)


def _spec(spec: DataSpec, plan: Plan) -> DataSpec:
    """The data to read: of recorded noise the labels are in one column, the truth in another."""
    if plan.kind != "recorded":
        return spec
    if plan.recorded is None or spec.label_column is None:
        raise OptionError(
            "Recorded noise needs two columns.",
            "Give the true labels with --label-column and the others with --recorded.",
        )
    return replace(spec, label_column=plan.recorded, truth_column=spec.label_column)


def _labelled(source: Source, plan: Plan) -> Labelled:
    """All rows without their pictures, and the true classes of those that have labels."""
    # what would be planted in sets, these noise models do not say
    check_kind(kind_of(source), (SINGLE,))
    # pictures go at once: only the labels of all rows fit into memory
    rows = [replace(row, image=None) for row in source.rows()]
    truth = [row.truth if plan.kind == "recorded" else row.label for row in rows]
    known = []
    names: set[str] = set()
    for number, row in enumerate(rows):
        if truth[number] is not None and row.label is not None:
            known.append(number)
            # somebody may have given a class that is never the true one
            names.update((str(truth[number]), row.label))
    return Labelled(rows, truth, np.array(known, dtype=int), tuple(sorted(names)))


def _record(
    plan: Plan,
    labelled: Labelled,
    noisy: np.ndarray,
    context: dict[str, Any],
    given: list[str | None],
) -> dict[str, Any]:
    """How the table was made."""
    labels = labelled.labels
    wrong = labels != noisy
    return {
        "kind": plan.kind,
        "nominal_rate": _nominal(plan, labels, context),
        "realised_rate": float(wrong.mean()) if len(wrong) else 0.0,
        "seed": plan.seed,
        "images": len(labelled.rows),
        "labelled": len(labels),
        "wrong": int(wrong.sum()),
        "classes": list(labelled.classes),
        "counts": _counts(labelled, noisy),
        "fingerprint": _fingerprint(labelled, given),
        "environment": files.environment(),
    }


def _counts(labelled: Labelled, noisy: np.ndarray) -> list[list[int]]:
    """[k, k] how many images of each true class were given each label."""
    counts = np.zeros((len(labelled.classes),) * 2, dtype=int)
    # `counts[labels, noisy] += 1` would count each pair once
    np.add.at(counts, (labelled.labels, noisy), 1)
    table: list[list[int]] = counts.tolist()
    return table


def _fingerprint(labelled: Labelled, given: list[str | None]) -> str:
    keys = [row.key for row in labelled.rows]
    contents = json.dumps([keys, given]).encode()
    # 64 bits are enough to tell tables apart
    return hashlib.sha256(contents).hexdigest()[:16]


def _nominal(plan: Plan, labels: np.ndarray, context: dict[str, Any]) -> float | None:
    """The rate that was asked for; recorded labels have none."""
    if "matrix" not in context:
        return plan.rate if plan.kind in RATED else None
    # what the matrix makes of these classes, in these shares
    kept = np.diag(context["matrix"])[labels]
    # the mean of nothing would be NaN, which JSON does not have
    return float(1 - kept.mean()) if len(labels) else 0.0
