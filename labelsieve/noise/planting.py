"""Planted label errors: a table of a data set with labels made wrong on purpose, and the truth.

The table (`labelsieve.noise.table`) can be scanned at once with `--truth-column true_label`.
Beside it, FILE.json says how it was made: noise model, nominal and realised rate, seed, the
number of items of each true class that were given each label (of sets: how many labels of each
class were dropped and added), and a fingerprint of ids and labels.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve import files, registry
from labelsieve.data.labels import CALLED, SET, SINGLE, Labels, occurring
from labelsieve.data.load import load, refuse_input
from labelsieve.data.manifest import kind_of
from labelsieve.data.sources import Row, Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError, RunError
from labelsieve.noise.context import Labelled, Plan, context_of
from labelsieve.noise.table import check_target, scan_command, write_table
from labelsieve.versions import environment

# Noise models that are decided by a rate; the others take all they need from a file or column.
RATED = ("symmetric", "symmetric-biased", "asymmetric", "pair", "instance", "sets")


def plant(data: Any, plan: Plan, output: str | Path) -> dict[str, Any]:
    """Write the table and what was done.

    Args:
        data: what `labelsieve.load` takes; its labels are the truth.
        output: a .parquet or .csv file.

    Returns:
        What FILE.json holds, table: its path, and next: the command that scans it.

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
    for file in (target, _record_beside(target)):
        refuse_input(file, spec.path())
    _refuse_other_record(_record_beside(target))
    source = _draw(open_source(spec), plan.limit)
    labelled = _labelled(source, plan, getattr(model, "LABELS", SINGLE))
    context, readable = context_of(plan, source, labelled)
    # one generator per table: the same seed gives the same errors on every machine
    rng = np.random.default_rng(plan.seed)
    k = len(labelled.classes)
    noisy = model.corrupt(labelled.labels, k, plan.rate or 0.0, rng, context)
    # a picture that cannot be read keeps its label, since noise cannot depend on it
    noisy[~readable] = labelled.labels[~readable]
    given = labelled.with_labels(noisy)
    record = _record(plan, labelled, noisy, context, given)
    write_table(target, source, given, labelled.truth, record)
    files.write_json(_record_beside(target), record)
    command = scan_command(target, source, spec.label_separator)
    return {**record, "table": str(target), "next": command}


def _record_beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _refuse_other_record(path: Path) -> None:
    """Raises OptionError where something lies there that is no record of planted errors."""
    if not os.path.lexists(path):
        return
    try:
        known = {"kind", "nominal_rate", "fingerprint"} <= set(files.read_json(path))
    except RunError:
        known = False
    if path.is_symlink() or not known:
        raise OptionError(
            f"'{files.readable(path)}' exists already, and is no record of planted errors.",
            "Choose another name with -o, or move the file away.",
        )


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

    def __getattr__(self, name: str) -> Any:
        # what sources may say of their items and labels, such as `modality`
        return getattr(self.source, name)


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


def _labelled(source: Source, plan: Plan, kind: str) -> Labelled:
    """All rows without their pictures, and the true labels of those that have some."""
    # what would be planted in sets, most noise models do not say
    found = kind_of(source)
    if found != kind:
        raise OptionError(
            f"Noise '{plan.kind}' is for {CALLED[kind]}; the data have {CALLED[found]}.",
            f"Take --kind {'sets' if found == SET else 'symmetric, for example'}.",
        )
    # pictures go at once: only the labels of all rows fit into memory
    rows = [replace(row, image=None) for row in source.rows()]
    truth = [row.truth if plan.kind == "recorded" else row.label for row in rows]
    known = [
        number
        for number, row in enumerate(rows)
        if truth[number] is not None and row.label is not None
    ]
    # somebody may have given a class that is never the true one
    texts = [text for row in known for text in (truth[row], rows[row].label)]
    column = pa.chunked_array([pa.array(texts, pa.string())])
    coding = Labels(kind, tuple(occurring(column, kind)))
    return Labelled(rows, truth, np.array(known, dtype=int), coding)


def _record(
    plan: Plan,
    labelled: Labelled,
    noisy: np.ndarray,
    context: dict[str, Any],
    given: list[str | None],
) -> dict[str, Any]:
    """How the table was made."""
    labels = labelled.labels
    differs = labels != noisy
    # a set is wrong where any label of it is
    wrong = differs.any(axis=1) if labels.ndim > 1 else differs
    return {
        "kind": plan.kind,
        "nominal_rate": _nominal(plan, labels, context),
        "realised_rate": float(wrong.mean()) if len(wrong) else 0.0,
        "seed": plan.seed,
        "images": len(labelled.rows),
        "labelled": len(labels),
        "wrong": int(wrong.sum()),
        "classes": list(labelled.classes),
        **_counts(labelled, noisy),
        "fingerprint": _fingerprint(labelled, given),
        "environment": environment(),
    }


def _counts(labelled: Labelled, noisy: np.ndarray) -> dict[str, Any]:
    """`counts` [k, k], items of each true class with each label; of sets what came and went."""
    if labelled.coding.kind == SET:
        true = labelled.labels
        return {
            "labels": true.sum(axis=0).tolist(),
            "dropped": (true & ~noisy).sum(axis=0).tolist(),
            "added": (noisy & ~true).sum(axis=0).tolist(),
        }
    counts = np.zeros((len(labelled.classes),) * 2, dtype=int)
    # `counts[labels, noisy] += 1` would count each pair once
    np.add.at(counts, (labelled.labels, noisy), 1)
    return {"counts": counts.tolist()}


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
