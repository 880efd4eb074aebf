"""`labelsieve score`: judge other images with the detector of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors.torch import load_file

from labelsieve import registry, tables
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.errors import OptionError, RunError
from labelsieve.features.task import Task
from labelsieve.files import read_json
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.load import load_encoder
from labelsieve.pipeline import results
from labelsieve.runs.run import Run
from labelsieve.settings import resolve


def score(
    detector: str | Path | Run,
    data: Any,
    *,
    output: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> pa.Table:
    """Judge the labels of other images with the detector of a run.

    Args:
        detector: a run or its folder.
        data: with the same classes, or some of them.
        output: a .parquet or .csv file to write; None only gives the table.

    Raises:
        OptionError: `output` has another suffix.
        RunError: the run's method learned nothing that can be applied, or a class was unknown to it.
    """
    opened = detector if isinstance(detector, Run) else Run(detector)
    if not (opened.folder / "detector" / "config.json").exists():
        raise RunError(
            f"'{opened.folder}' has no detector that can be applied to other images.",
            "Scan with --method deft.",
        )
    target = None if output is None else _target(Path(output))
    learned = read_json(opened.file("detector/config.json"))
    method = registry.load("methods", learned["method"])
    where = choose_device(device)
    encoder = load_encoder(
        learned["model"], device=where, dtype=choose_precision(precision, where)
    )
    names = dict(zip(learned["classes"], learned["names"], strict=True))
    spec = replace(load(data), class_names=names, template=learned["template"])
    prepared = prepare(spec, encoder.preprocess, classes=learned["classes"])
    images = prepared.dataset
    evidence = method.judge(
        Task(images, encoder),
        resolve(method.Settings, learned["settings"]),
        load_file(opened.file("detector/detector.safetensors")),
    )
    table = results.scores_table(prepared.manifest.table, images, evidence)
    if target is not None:
        (tables.write_parquet if target.suffix == ".parquet" else tables.write_csv)(
            table, target
        )
    return table


def _target(path: Path) -> Path:
    """A table to write later; whatever can be wrong with it is found before the work begins."""
    if path.suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{path}' must end in .parquet or .csv.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
