"""The verbs, one function each: read what an earlier stage wrote, call one thing, write what it gives."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
from safetensors.torch import load_file, save_file

from labelsieve import agreement, config, dataset, models, pictures, preflight, registry, report, results, run, tables
from labelsieve.dataset import LabelledImages, Manifest
from labelsieve.errors import DataError, LabelsieveError, OptionError, RunError, unknown
from labelsieve.features import image_features_file
from labelsieve.images import Preprocess
from labelsieve.methods import Evidence, Workplace
from labelsieve.run import Run
from labelsieve.sources import DataSpec, Source, archive, open_source
from labelsieve.tables import TRUTH


def load(data: Any, **options: Any) -> DataSpec:
    """Name a data set once, to hand it to `scan` and others.

    Args:
        data: a folder with one sub-folder per class, a CSV, TSV, JSONL or Parquet file, a `save_to_disk` folder, "hf://OWNER/NAME",
            "archive:NAME:FOLDER" (a benchmark's official archive), a `datasets.Dataset`, a torch Dataset of (image, label), or a
            tuple (images, labels).
        options: fields of `labelsieve.sources.DataSpec`: image_column, label_column, truth_column, id_column, root, split,
            class_names (label -> name in prompts, or a file), template.

    Raises:
        OptionError: an unknown option.
        DataError: the class-name file cannot be read.
    """
    allowed = [f for f in DataSpec.__dataclass_fields__ if f != "data"]
    for name in options:
        if name not in allowed:
            raise OptionError(unknown("Option", name, allowed))
    given = {k: v for k, v in options.items() if v is not None}
    if isinstance(given.get("class_names"), str | Path):
        given["class_names"] = read_class_names(Path(given["class_names"]))
    if "{}" not in given.get("template", "{}"):
        raise OptionError(
            f"--template '{given['template']}' has no {{}} for the class name.",
            "For example --template 'a photo of a {}.'",
        )
    try:
        given.get("template", "{}").format("")
    except (LookupError, ValueError) as error:
        raise OptionError(
            f"--template '{given['template']}' has other braces than one {{}}.", "Write each other brace twice."
        ) from error
    if isinstance(data, str) and data.startswith(archive.PREFIX):
        data = archive.named(data, given.get("split"))  # knows its label sets and class names
    return replace(data, **given) if isinstance(data, DataSpec) else DataSpec(data, **given)


def read_class_names(path: Path) -> dict[str, str]:
    """Label -> prompt name from JSON ({"n01440764": "tench"}) or lines "label,name" (CSV, or TSV with a tab).

    Raises:
        DataError: not there, or neither of these.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return {str(k): str(v) for k, v in json.loads(text).items()}
    except OSError as error:
        raise DataError(f"--class-names '{path}' cannot be opened: {error.strerror}.") from error
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"--class-names '{path}' cannot be read: {error}.", 'Give JSON {"label": "name"} or lines label,name.'
        ) from error
    names = {}
    delimiter = "\t" if path.suffix == ".tsv" or "\t" in text else ","
    for number, fields in enumerate(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True), 1):
        if len(fields) == 1:
            raise DataError(f"--class-names '{path}', line {number}: '{fields[0][:40]}' is not label,name.")
        if fields:
            names[fields[0].strip()] = ", ".join(fields[1:]).strip()  # "n01440764,tench, Tinca tinca" needs no quotes
    return names


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
            raise OptionError(f"--seed {self.seed} cannot be used.", "It is a whole number from 0 on.")


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
    earlier = run.find(Path(output), command, force=force)
    if earlier is not None and earlier.finished:
        _check_same_data(earlier, spec, source)
        return earlier
    clock = _Clock()
    device = models.choose_device(options.device)
    encoder = models.load(options.model, device=device, dtype=models.choose_precision(options.precision, device))
    clock.lap("load model")
    cache = dataset.open_cache(encoder.preprocess)
    manifest = dataset.read(source, encoder.preprocess, cache, want_truth=spec.truth_column is not None)
    images = dataset.labelled_images(manifest.table, dict(spec.class_names), spec.template, encoder.preprocess, cache)
    clock.lap("read images")
    opened = run.begin(Path(output), command, force=force)
    _write_data(opened.folder, manifest, spec)
    place = Workplace(opened.folder, options.seed, run.fingerprint([command, images.fingerprint]))
    try:
        evidence: Evidence = method.detect(images, encoder, settings, place)
    except LabelsieveError:
        run.abandon(opened)
        raise
    clock.lap("detect")
    features = image_features_file(images, encoder)  # what the report and the review compare pictures with
    _write_results(opened, manifest, images, evidence, settings, options, encoder)
    clock.lap("estimate and write")
    agreed = agreement.measure(images, encoder, options.seed)
    found = results.summarise(opened, {"device": str(device), "precision": str(encoder.dtype).removeprefix("torch."), "preprocess": asdict(encoder.preprocess),
                                 "data_fingerprint": images.fingerprint, "features": str(features), "method_facts": evidence.facts}, agreed)  # fmt: skip
    run.note(opened, {**found, "seconds": clock.laps})
    report.write(opened, pictures.Images(spec, opened.manifest))
    _clean_up(opened.folder)
    clock.lap("report")
    run.finish(opened, {"seconds": clock.laps})
    return opened


def look(data: Any, *, model: str = "tiny") -> preflight.Preflight:
    """The preflight alone: what is wrong with the data. No model is loaded, only its preprocessing is looked up.

    Images are decoded (and cached), nothing is written elsewhere.
    """
    spec = load(data)
    source = open_source(spec)
    preprocess = models.preprocess_of(model)
    manifest = dataset.read(source, preprocess, dataset.open_cache(preprocess))
    return preflight.check(manifest.table, dict(spec.class_names), manifest.notes)


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
    folder = opened.folder / "detector"
    if not (folder / "config.json").exists():
        raise RunError(
            f"'{opened.folder}' has no detector that can be applied to other images.", "Scan with --method deft."
        )
    target = None if output is None else _target(Path(output))
    learned = run.read_json(folder / "config.json")
    method = registry.load("methods", learned["method"])
    where = models.choose_device(device)
    encoder = models.load(learned["model"], device=where, dtype=models.choose_precision(precision, where))
    spec = load(data)
    cache = dataset.open_cache(encoder.preprocess)
    manifest = dataset.read(open_source(spec), encoder.preprocess, cache)
    images = dataset.with_classes(
        manifest.table, learned["classes"], learned["names"], learned["template"], encoder.preprocess, cache
    )
    evidence = method.judge(
        images,
        encoder,
        config.resolve(method.Settings, learned["settings"]),
        load_file(folder / "detector.safetensors"),
    )
    table = results.scores_table(manifest.table, images, evidence)
    if target is not None:
        (tables.write_parquet if target.suffix == ".parquet" else tables.write_csv)(table, target)
    return table


def _target(path: Path) -> Path:
    """A table to write later; whatever can be wrong with it is found before the work begins."""
    if path.suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{path}' must end in .parquet or .csv.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


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
    return config.resolve(method.Settings, method.PRESETS[options.preset], options.settings or {})


def _command(spec: DataSpec, options: ScanOptions, settings: Any) -> dict[str, Any]:
    """What decides a scan's result; the run folder belongs to exactly this."""
    path = spec.path()
    where = str(spec.data) if path is not None else f"{type(spec.data).__module__}.{type(spec.data).__qualname__}"
    columns = {
        k: getattr(spec, k)
        for k in ("image_column", "label_column", "truth_column", "id_column", "root", "split", "template")
    }
    return {
        "data": where, **columns, "class_names": dict(spec.class_names), "method": options.method, "model": options.model, "preset": options.preset,
        "settings": config.as_dict(settings), "seed": options.seed, "device": options.device, "precision": options.precision,
    }  # fmt: skip


def _check_same_data(earlier: Run, spec: DataSpec, source: Source) -> None:
    """A finished run answers for the data it read; files that did not change are not opened for this."""
    preprocess = Preprocess.from_dict(earlier.record["preprocess"])
    now = dataset.read(source, preprocess, dataset.open_cache(preprocess), want_truth=spec.truth_column is not None)
    before, after = _labels(earlier.manifest, earlier.truth()), _labels(now.table, now.truth)
    if before != after:
        common = before.keys() & after.keys()
        raise RunError(
            f"The data have changed since '{earlier.folder}' was made: {len(after.keys() - common)} images are new, "
            f"{len(before.keys() - common)} are gone, {sum(before[i] != after[i] for i in common)} have another label.",
            "Choose another folder with -o, or replace the run with --force.",
        )


def _labels(manifest: pa.Table, truth: pa.Table | None) -> dict[str, tuple[str | None, str | None]]:
    true = {} if truth is None else dict(zip(*(truth[c].to_pylist() for c in TRUTH.names), strict=True))
    pairs = zip(manifest["sample_id"].to_pylist(), manifest["given_label"].to_pylist(), strict=True)
    return {sample_id: (label, true.get(sample_id)) for sample_id, label in pairs}


def _write_data(folder: Path, manifest: Manifest, spec: DataSpec) -> None:
    tables.write_parquet(manifest.table, folder / "manifest.parquet")
    if manifest.truth is not None:
        tables.write_parquet(manifest.truth, folder / "truth.parquet")
    found = preflight.check(manifest.table, dict(spec.class_names), manifest.notes)
    run.write_json(folder / "preflight.json", found.as_dict())
    pa.default_memory_pool().release_unused()  # arrow would keep what tables were sorted in through the whole training


def _write_results(
    opened: Run,
    manifest: Manifest,
    images: LabelledImages,
    evidence: Evidence,
    settings: Any,
    options: ScanOptions,
    encoder: Any,
) -> None:
    others = {} if evidence.posterior else agreement.witnesses(images, encoder, options.seed)
    noise = results.estimate_noise(evidence, images, options.seed, others)
    run.write_json(opened.folder / "noise.json", noise.as_dict())
    if evidence.learned is not None:
        folder = opened.folder / "detector"
        folder.mkdir(exist_ok=True)
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in evidence.learned.items()},
            folder / "detector.safetensors",
        )
        run.write_json(folder / "config.json", {
            "method": options.method, "model": options.model, "settings": config.as_dict(settings), "classes": list(images.classes),
            "names": list(images.names), "template": images.template,
        })  # fmt: skip
    tables.write_parquet(results.probs_table(images, evidence), opened.folder / "probs.parquet")
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


def _clean_up(folder: Path) -> None:
    for file in _files(folder / "checkpoints"):
        file.unlink()
    if (folder / "checkpoints").exists():
        (folder / "checkpoints").rmdir()


def _files(folder: Path) -> Iterable[Path]:
    return list(folder.glob("*")) + list(folder.glob(".*.partial")) if folder.exists() else []
