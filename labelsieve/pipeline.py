"""The verbs, one function each: read what an earlier stage wrote, call one thing, write what it gives."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors.torch import load_file, save_file

from labelsieve import config, dataset, estimate, metrics, models, preflight, registry, report, run, tables
from labelsieve.dataset import LabelledImages, Manifest
from labelsieve.errors import DataError, OptionError, RunError, unknown
from labelsieve.methods import Evidence, Workplace
from labelsieve.run import Run
from labelsieve.sources import DataSpec, Source, open_source


def load(data: Any, **options: Any) -> DataSpec:
    """Name a data set once, to hand it to `scan` and others.

    Args:
        data: a folder with one sub-folder per class, a CSV, TSV, JSONL or Parquet file, a `save_to_disk` folder, "hf://OWNER/NAME",
            a `datasets.Dataset`, a torch Dataset of (image, label), or a tuple (images, labels).
        options: fields of `labelsieve.sources.DataSpec`: image_column, label_column, truth_column, id_column, root, split,
            class_names (label -> name in prompts, or a file), template.

    Raises:
        OptionError: an unknown option.
        DataError: the class-name file cannot be read.
    """
    if isinstance(data, DataSpec):
        return replace(data, **options)
    allowed = [f for f in DataSpec.__dataclass_fields__ if f != "data"]
    for name in options:
        if name not in allowed:
            raise OptionError(unknown("Option", name, allowed))
    names = options.get("class_names")
    if isinstance(names, str | Path):
        options["class_names"] = read_class_names(Path(names))
    if "{}" not in options.get("template", "{}"):
        raise OptionError(
            f"--template '{options['template']}' has no {{}} for the class name.",
            "For example --template 'a photo of a {}.'",
        )
    return DataSpec(data, **{k: v for k, v in options.items() if v is not None})


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
    for number, line in enumerate(text.splitlines(), 1):
        label, separator, name = line.partition("\t" if "\t" in line else ",")
        if line.strip() and not separator:
            raise DataError(f"--class-names '{path}', line {number}: '{line[:40]}' is not label,name.")
        if line.strip():
            names[label.strip()] = name.strip()
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


def scan(
    data: Any,
    *,
    output: str | Path = "labelsieve-run",
    force: bool = False,
    options: ScanOptions | None = None,
    **choices: Any,
) -> Run:
    """Find wrong labels: read the data, run a method, estimate the noise, write scores and report.

    Interrupted at any time, the same call continues and ends with the same scores.

    Args:
        data: what `load` takes, or gives.
        output: the run folder.
        force: replace another run in that folder.
        options: or its fields as keywords: method, model, preset, settings, seed, device, precision.

    Raises:
        LabelsieveError: what is wrong with data, model or options, and what to do.
    """
    options = replace(options or ScanOptions(), **choices)
    spec = load(data)
    source = open_source(spec)
    method = registry.load("methods", options.method)
    settings = _settings(method, options)
    command = _command(spec, options, settings)
    opened, finished = run.open_run(Path(output), command, force=force)
    if finished:
        return opened
    clock = _Clock()
    device = models.choose_device(options.device)
    encoder = models.load(options.model, device=device, dtype=models.choose_precision(options.precision, device))
    clock.lap("load model")
    cache = dataset.open_cache(encoder.preprocess)
    manifest = _read_data(spec, source, encoder.preprocess, cache, opened.folder)
    images = dataset.labelled_images(manifest.table, dict(spec.class_names), spec.template, encoder.preprocess, cache)
    clock.lap("read images")
    place = Workplace(opened.folder, options.seed, run.fingerprint([command, images.fingerprint]))
    evidence: Evidence = method.detect(images, encoder, settings, place)
    clock.lap("detect")
    _write_results(opened, manifest, images, evidence, settings, options, encoder)
    clock.lap("estimate and write")
    results = summarise(opened, {"device": str(device), "precision": str(encoder.dtype).removeprefix("torch."), "seconds": clock.laps,
                                 "data_fingerprint": images.fingerprint})  # fmt: skip
    run.finish(opened, results)
    report.write(opened, Images(spec, opened.manifest))
    _clean_up(opened.folder)
    return opened


def look(data: Any, *, model: str = "tiny") -> preflight.Preflight:
    """The preflight alone: what is wrong with the data. Images are decoded (and cached), nothing is written elsewhere."""
    spec = load(data)
    encoder = models.load(model)
    cache = dataset.open_cache(encoder.preprocess)
    source = open_source(spec)
    manifest = dataset.read(source, encoder.preprocess, cache)
    return preflight.check(manifest.table, dict(spec.class_names), manifest.notes)


def score(
    detector: str | Path | Run, data: Any, *, output: str | Path, device: str = "auto", precision: str = "auto"
) -> pa.Table:
    """Judge the labels of other images with the detector of a run.

    Args:
        detector: a run or its folder.
        data: with the same classes, or some of them.
        output: a .parquet or .csv file.

    Raises:
        RunError: the run's method learned nothing that can be applied, or a class was unknown to it.
    """
    opened = detector if isinstance(detector, Run) else Run(detector)
    folder = opened.folder / "detector"
    if not (folder / "config.json").exists():
        raise RunError(
            f"'{opened.folder}' has no detector that can be applied to other images.", "Scan with --method deft."
        )
    target = Path(output)
    if target.suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{output}' must end in .parquet or .csv.")
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
    table = scores_table(manifest.table, images, evidence)
    (tables.write_parquet if target.suffix == ".parquet" else tables.write_csv)(table, target)
    return table


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


def _read_data(spec: DataSpec, source: Source, preprocess: Any, cache: Any, folder: Path) -> Manifest:
    manifest = dataset.read(source, preprocess, cache, want_truth=spec.truth_column is not None)
    tables.write_parquet(manifest.table, folder / "manifest.parquet")
    if manifest.truth is not None:
        tables.write_parquet(manifest.truth, folder / "truth.parquet")
    found = preflight.check(manifest.table, dict(spec.class_names), manifest.notes)
    run.write_json(folder / "preflight.json", found.as_dict())
    return manifest


def _write_results(
    opened: Run,
    manifest: Manifest,
    images: LabelledImages,
    evidence: Evidence,
    settings: Any,
    options: ScanOptions,
    encoder: Any,
) -> None:
    noise = estimate_noise(evidence, images, options.seed)
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
    scores = scores_table(manifest.table, images, evidence)
    tables.write_csv(scores, opened.folder / "scores.csv")
    tables.write_parquet(scores, opened.folder / "scores.parquet")


def estimate_noise(evidence: Evidence, images: LabelledImages, seed: int) -> estimate.Noise:
    """Rate, classes and pairs: from the method's posterior, or from its class probabilities and the given labels."""
    if evidence.posterior:
        return estimate.summarise(evidence.probs, images.labels, images.classes, evidence.rates)
    transition = estimate.fit_transition(evidence.probs, images.labels, seed)
    posterior = transition.posterior(transition.mend(evidence.probs), images.labels)
    return estimate.summarise(posterior, images.labels, images.classes, transition.rates)


def scores_table(manifest: pa.Table, images: LabelledImages, evidence: Evidence) -> pa.Table:
    """Evidence joined with every row of the manifest by id; most suspicious first, what was not scored last."""
    n = np.arange(len(images))
    others = evidence.probs.copy()
    others[n, images.labels] = -np.inf
    margin = evidence.probs[n, images.labels] - others.max(1)
    order = np.lexsort((images.ids.to_numpy(zero_copy_only=False), margin, evidence.p_clean))
    rank = np.empty(len(n), dtype=np.int64)
    rank[order] = n + 1
    found = pa.table({
        "sample_id": images.ids, "p_clean": pa.array(evidence.p_clean, pa.float64()), "is_label_issue": pa.array(evidence.flagged),
        "suggested_label": pa.array(np.array(images.classes, dtype=object)[evidence.suggested], pa.string()),
        "suggested_prob": pa.array(evidence.probs[n, evidence.suggested], pa.float64()), "margin": pa.array(margin, pa.float64()),
        "rank": rank, **evidence.columns,
    })  # fmt: skip
    joined = manifest.select(["sample_id", "path", "given_label", "status", "reason"]).join(
        found, "sample_id", join_type="left outer"
    )
    tables.check_same_ids(joined, manifest)
    extra = [c for c in evidence.columns if c not in tables.SCORES.names]
    return joined.select([*tables.SCORES.names, *extra]).sort_by([("rank", "ascending"), ("sample_id", "ascending")])


def summarise(opened: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the terminal shows and --json prints: the estimate, flags, pairs, and quality where the truth is known."""
    scores, noise = opened.scores, opened.noise
    flagged = scores.filter(pc.fill_null(scores["is_label_issue"], False))
    quality = evaluate_detection(scores, opened.truth())
    files = {
        name: str(opened.folder / name)
        for name in ("scores.parquet", "scores.csv", "report.html", "run.json", "detector")
    }
    return {
        **facts, "images": len(scores), "scored": len(scores) - scores["p_clean"].null_count, "flagged": len(flagged),
        "noise_rate": {k: noise[k] for k in ("rate", "low", "high")}, "noise_per_class": noise["per_class"], "confused_pairs": noise["pairs"],
        "unreadable": opened.preflight["unreadable"], "warnings": preflight.Preflight(**opened.preflight).warnings(),
        "quality": quality, "files": files,
    }  # fmt: skip


def evaluate_detection(scores: pa.Table, truth: pa.Table | None) -> dict[str, Any] | None:
    """Detection quality against true labels, with label matching (suggested ≠ given) beside it; None without truth."""
    if truth is None:
        return None
    joined = scores.join(truth, "sample_id").filter(pc.field("p_clean").is_valid() & pc.field("true_label").is_valid())
    if not len(joined):
        return None
    wrong = pc.not_equal(joined["given_label"], joined["true_label"]).to_numpy()
    matched = pc.equal(joined["suggested_label"], joined["true_label"]).to_numpy()
    found = metrics.detection(joined["p_clean"].to_numpy(), joined["is_label_issue"].to_numpy(), wrong)
    return {
        **found,
        "suggestion_accuracy": float(matched.mean()),
        "suggestion_accuracy_on_wrong": float(matched[wrong].mean()) if wrong.any() else None,
    }


class Images:
    """The pictures of a run by sample id, for people to look at."""

    def __init__(self, spec: DataSpec, manifest: pa.Table) -> None:
        self._source = open_source(spec)
        self._uris = dict(zip(manifest["sample_id"].to_pylist(), manifest["uri"].to_pylist(), strict=True))

    def read(self, sample_id: str) -> Any:
        """Bytes, path or picture as the source has it. Raises KeyError for an id that is not in the run."""
        return self._source.read(self._uris[sample_id])


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
