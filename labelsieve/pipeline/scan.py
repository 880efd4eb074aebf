"""The verbs, one function each: read what an earlier stage wrote, call one thing, write what it gives."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from safetensors.torch import save_file

from labelsieve import registry, tables
from labelsieve.data import preflight
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.data.manifest import Manifest, read
from labelsieve.data.modalities import open_items, reopen_items
from labelsieve.data.sources import Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, OptionError, RunError, unknown
from labelsieve.features.task import Task
from labelsieve.files import fingerprint, write_json
from labelsieve.methods import Evidence
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.load import load_encoder, preprocess_of
from labelsieve.pipeline import results
from labelsieve.runs import pictures, report
from labelsieve.runs.folder import FINISHED
from labelsieve.runs.run import Run, run_folder
from labelsieve.settings import as_dict, resolve
from labelsieve.tables import TRUTH


@dataclass(frozen=True)
class ScanOptions:
    """Everything about a scan that is not the data."""

    method: str = "deft"
    model: str = "tiny"
    preset: str = "default"
    settings: Mapping[str, Any] | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise OptionError(
                f"--seed {self.seed} cannot be used.", "It is a whole number from 0 on."
            )


def scan(
    data: Any,
    *,
    output: str | Path = "labelsieve-run",
    force: bool = False,
    options: ScanOptions | None = None,
    **choices: Any,
) -> Run:
    """Find wrong labels: read the data, run a method, estimate the noise, write scores and report.

    Interrupted at any time, the same call continues and ends with the same scores. Nothing is written before options,
    model and data were found usable, so a mistake leaves the folder as it was.

    Args:
        data: what `load` takes, or gives.
        output: the run folder.
        force: replace another run in that folder.
        options: or its fields as keywords: method, model, preset, settings, seed, device, precision.

    Raises:
        LabelsieveError: what is wrong with data, model or options, and what to do.
        RunError: the folder holds a run of another command, or of the same command on data that have changed since.
    """
    options = _options(options, choices)
    spec = load(data)
    source = open_source(spec)
    method = registry.load("methods", options.method)
    settings = _settings(method, options)
    command = _command(spec, options, settings)
    work = run_folder(output)
    if work.find(command, force=force) == FINISHED:
        earlier = Run(output)
        _check_same_data(earlier, spec, source)
        return earlier
    clock = _Clock()
    device = choose_device(options.device)
    encoder = load_encoder(
        options.model, device=device, dtype=choose_precision(options.precision, device)
    )
    clock.lap("load model")
    prepared = prepare(spec, encoder.preprocess, source=source, kinds=method.JUDGES)
    manifest, images = prepared.manifest, prepared.dataset
    clock.lap("read images")
    with work.locked():
        if work.begin(command, force=force) == FINISHED:
            return Run(output)  # another process did the same work meanwhile
        opened = Run(output)
        _write_data(opened.folder, manifest, spec)
        task = Task(
            images,
            encoder,
            options.seed,
            opened.folder,
            fingerprint([command, images.fingerprint]),
        )
        try:
            evidence: Evidence = method.detect(task, settings)
        except LabelsieveError:
            work.abandon()
            raise
        clock.lap("detect")
        # what the report and the review compare pictures with
        features = task.features.file()
        _write_results(opened, manifest, task, evidence, settings, options)
        clock.lap("estimate and write")
        found = results.summarise(
            opened,
            {
                "device": str(device),
                "precision": str(encoder.dtype).removeprefix("torch."),
                "preprocess": asdict(encoder.preprocess),
                "data_fingerprint": images.fingerprint,
                "classes": list(manifest.classes),
                "features": str(features),
                "method_facts": evidence.facts,
            },
            task.agreement,
        )
        work.note({**found, "seconds": clock.laps})
        opened = Run(output)
        report.write(opened, pictures.Images(spec, opened.manifest))
        clock.lap("report")
        work.finish({"seconds": clock.laps})
        return Run(output)


def look(data: Any, *, model: str = "tiny") -> preflight.Preflight:
    """The preflight alone: what is wrong with the data. No model is loaded, only its preprocessing is looked up.

    Images are decoded (and cached), nothing is written elsewhere.
    """
    spec = load(data)
    source = open_source(spec)
    manifest = read(source, open_items(source, preprocess_of(model)))
    return preflight.check(manifest, spec.class_names)


def _options(options: ScanOptions | None, choices: Mapping[str, Any]) -> ScanOptions:
    for name in choices:
        if name not in ScanOptions.__dataclass_fields__:
            raise OptionError(
                unknown("Option", name, ScanOptions.__dataclass_fields__),
                "Settings of the method go into settings={...}.",
            )
    return replace(options or ScanOptions(), **choices)


def _settings(method: ModuleType, options: ScanOptions) -> Any:
    if options.preset not in method.PRESETS:
        raise OptionError(unknown("--preset", options.preset, method.PRESETS))
    return resolve(
        method.Settings, method.PRESETS[options.preset], options.settings or {}
    )


def _command(spec: DataSpec, options: ScanOptions, settings: Any) -> dict[str, Any]:
    """What decides a scan's result; the run folder belongs to exactly this."""
    path = spec.path()
    where = (
        str(spec.data)
        if path is not None
        else f"{type(spec.data).__module__}.{type(spec.data).__qualname__}"
    )
    columns = {
        k: getattr(spec, k)
        for k in (
            "image_column",
            "label_column",
            "truth_column",
            "id_column",
            "root",
            "split",
            "template",
        )
    }
    return {
        "data": where,
        **columns,
        "class_names": dict(spec.class_names),
        "method": options.method,
        "model": options.model,
        "preset": options.preset,
        "settings": as_dict(settings),
        "seed": options.seed,
        "device": options.device,
        "precision": options.precision,
    }


def _check_same_data(earlier: Run, spec: DataSpec, source: Source) -> None:
    """A finished run answers for the data it read; files that did not change are not opened for this."""
    now = read(
        source,
        reopen_items(source, earlier.record["preprocess"]),
        want_truth=spec.truth_column is not None,
    )
    before, after = (
        _labels(earlier.manifest, earlier.truth()),
        _labels(now.table, now.truth),
    )
    if before != after:
        common = before.keys() & after.keys()
        raise RunError(
            f"The data have changed since '{earlier.folder}' was made: {len(after.keys() - common)} images are new, "
            f"{len(before.keys() - common)} are gone, {sum(before[i] != after[i] for i in common)} have another label.",
            "Choose another folder with -o, or replace the run with --force.",
        )


def _labels(
    manifest: pa.Table, truth: pa.Table | None
) -> dict[str, tuple[str | None, str | None]]:
    true = (
        {}
        if truth is None
        else dict(zip(*(truth[c].to_pylist() for c in TRUTH.names), strict=True))
    )
    pairs = zip(
        manifest["sample_id"].to_pylist(),
        manifest["given_label"].to_pylist(),
        strict=True,
    )
    return {sample_id: (label, true.get(sample_id)) for sample_id, label in pairs}


def _write_data(folder: Path, manifest: Manifest, spec: DataSpec) -> None:
    tables.write_parquet(manifest.table, folder / "manifest.parquet")
    if manifest.truth is not None:
        tables.write_parquet(manifest.truth, folder / "truth.parquet")
    found = preflight.check(manifest, spec.class_names)
    write_json(folder / "preflight.json", found.as_dict())
    pa.default_memory_pool().release_unused()  # arrow would keep what tables were sorted in through the whole training


def _write_results(
    opened: Run,
    manifest: Manifest,
    task: Task,
    evidence: Evidence,
    settings: Any,
    options: ScanOptions,
) -> None:
    images = task.data
    others = {} if evidence.posterior else task.reference_votes()
    noise = results.estimate_noise(evidence, images, options.seed, others)
    write_json(opened.folder / "noise.json", noise.as_dict())
    if evidence.learned is not None:
        folder = opened.folder / "detector"
        folder.mkdir(exist_ok=True)
        save_file(
            {
                k: v.detach().cpu().contiguous().clone()
                for k, v in evidence.learned.items()
            },
            folder / "detector.safetensors",
        )
        write_json(
            folder / "config.json",
            {
                "method": options.method,
                "model": options.model,
                "settings": as_dict(settings),
                "classes": list(images.classes),
                "names": list(images.names),
                "template": images.template,
            },
        )
    tables.write_parquet(
        results.probs_table(images, evidence), opened.folder / "probs.parquet"
    )
    scores = results.scores_table(manifest.table, images, evidence)
    tables.write_csv(scores, opened.folder / "scores.csv")
    tables.write_parquet(scores, opened.folder / "scores.parquet")


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
