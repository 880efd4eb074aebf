"""One step of the bench, in a process of its own: `python -m labelsieve.bench.worker FOLDER`.

It reads `job.json`, does it and leaves `result.json`: figures, or the message of what was refused. Its standard input is
held open by the bench: when that ends, however it ends, so does this process.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelsieve import progress, registry, tables
from labelsieve.bench.cell import of
from labelsieve.bench.plan import Data, Noise
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.load import load, read_class_names
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, RunError
from labelsieve.features import cached, probe
from labelsieve.features.zero_shot import zero_shot
from labelsieve.files import read_json, write_json
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import load_encoder
from labelsieve.noise import planting
from labelsieve.pipeline import demo
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run

BEAT = 1.0  # seconds between notes of how long this attempt has taken
TIMED_BATCHES = 4  # batches of pictures whose way through the tower is timed


def main(folder: Path) -> None:
    """Do the step of a folder."""
    progress.be_quiet()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # a process of a bench that was killed may be about to end
        watch = _Watch(folder / "attempts.json")
        job = read_json(folder / "job.json")
        try:
            found = {"state": "done", **STEPS[job["kind"]](job, folder, watch)}
        except LabelsieveError as error:
            found = {"state": "failed", "message": str(error)}
        watch.stop()
        write_json(folder / "result.json", {**found, "peak_mib": watch.peak()})


class _Watch(threading.Thread):
    """Ends the process when the bench is gone, and notes what this and earlier attempts have cost."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self._file, self._start = file, time.monotonic()
        self._stopped, self._writing = False, threading.Lock()
        self.earlier = (
            read_json(file)
            if file.exists()
            else {"attempts": 0, "seconds": 0.0, "peak_mib": 0.0}
        )
        self.start()

    def run(self) -> None:
        while not select.select([sys.stdin], [], [], BEAT)[0]:
            with self._writing:
                if self._stopped:
                    return
                seconds = self.earlier["seconds"] + time.monotonic() - self._start
                write_json(
                    self._file,
                    {
                        "attempts": self.attempts,
                        "seconds": seconds,
                        "peak_mib": self.peak(),
                    },
                )
        os._exit(130)  # nobody writes there: it was closed

    @property
    def attempts(self) -> int:
        """This one included."""
        return int(self.earlier["attempts"]) + 1

    def peak(self) -> float:
        """The most memory of any attempt, MiB."""
        return max(float(self.earlier["peak_mib"]), peak_mib())

    def stop(self) -> None:
        """The step has ended: what attempts cost is in its result."""
        with self._writing:
            self._stopped = True
            self._file.unlink(missing_ok=True)


def peak_mib() -> float:
    """The most memory this process has had, MiB."""
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # getrusage counts what the process that started this one had at that moment
        lines = dict(
            line.split(":", 1)
            for line in status.read_text().splitlines()
            if ":" in line
        )
        return int(lines["VmHWM"].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


# --- the data


def material(job: Mapping[str, Any], folder: Path, watch: _Watch) -> dict[str, Any]:
    """A table with given and true labels: planted, drawn, or as it is."""
    data, noise = Data(**job["data"]), Noise(**job["noise"])
    spec = _source(data, Path(job["data_root"]), folder)
    matrix, map_ = (
        Path(job["data_root"]) / p if p else None for p in (noise.matrix, noise.map)
    )
    if noise.kind != "recorded":
        truth = replace(
            spec, label_column=spec.truth_column or spec.label_column, truth_column=None
        )
        return _plant(
            truth,
            planting.Plan(
                noise.kind,
                noise.rate,
                job["seed"],
                matrix,
                map_,
                None,
                noise.centre,
                data.limit,
            ),
            folder,
        )
    given = noise.column or spec.label_column
    if data.limit is None and isinstance(spec.data, str | Path):
        return _as_it_is(replace(spec, label_column=given))
    truth = replace(spec, label_column=spec.truth_column, truth_column=None)
    return _plant(
        truth, planting.Plan("recorded", recorded=given, limit=data.limit), folder
    )


def truth(job: Mapping[str, Any], folder: Path, watch: _Watch) -> dict[str, Any]:
    """The same images with their true labels, or the given ones where `known` is false."""
    data = Data(**job["data"])
    spec = _source(data, Path(job["data_root"]), folder)
    known = job["labels_are_true"] or spec.truth_column is not None
    spec = replace(
        spec, label_column=spec.truth_column or spec.label_column, truth_column=None
    )
    if data.limit is None and isinstance(spec.data, str | Path):
        return {**_as_it_is(spec), "known": known}
    return {
        **_plant(spec, planting.Plan("symmetric", 0.0, limit=data.limit), folder),
        "known": known,
    }


def _as_it_is(spec: DataSpec) -> dict[str, Any]:
    open_source(spec)  # what is wrong with it stops this step, not every cell
    return {"spec": _as_json(spec)}


def _plant(spec: DataSpec, plan: planting.Plan, folder: Path) -> dict[str, Any]:
    planting.plant(spec, plan, folder / "table.parquet")
    table = DataSpec(
        folder / "table.parquet", "image", "given_label", "true_label", "id"
    )
    return {
        "spec": _as_json(
            replace(table, class_names=spec.class_names, template=spec.template)
        )
    }


def _source(data: Data, root: Path, folder: Path) -> DataSpec:
    """What the configuration says of the data, as scan takes it."""
    names: Mapping[str, str] = (
        data.class_names if isinstance(data.class_names, Mapping) else {}
    )
    if isinstance(data.class_names, str):
        names = read_class_names(root / data.class_names)
    if data.archive is not None:
        spec: DataSpec = registry.load("data/archives", data.archive).open(
            root / (data.folder or ""), data.split or "train"
        )
        return load(
            spec, class_names={**spec.class_names, **names}, template=data.template
        )
    columns = {
        k: getattr(data, k)
        for k in ("image_column", "label_column", "truth_column", "id_column", "split")
    }
    if data.embedded is not None:
        tables.write_parquet(demo.digits(0.0), folder / "source.parquet")
        columns = {
            "image_column": "image",
            "label_column": "true_label",
            "id_column": "id",
        }
    where = (
        folder / "source.parquet"
        if data.path is None
        else data.path
        if "://" in data.path
        else root / data.path
    )
    inner = None if data.root is None else str((root / data.root).resolve())
    return load(where, **columns, root=inner, class_names=names, template=data.template)


def _as_json(spec: DataSpec) -> dict[str, Any]:
    """A spec to be written down; paths in full, so that it does not matter where the bench was started."""
    data = str(spec.data.resolve()) if isinstance(spec.data, Path) else str(spec.data)
    return {**asdict(spec), "data": data}


# --- the tower


def headroom(job: Mapping[str, Any], folder: Path, watch: _Watch) -> dict[str, Any]:
    """Features into the cache, and how many true labels zero-shot answers and a linear probe of the features get right."""
    source = read_json(Path(job["needs"][0]) / "result.json")
    device = choose_device(job["device"])
    encoder = load_encoder(
        job["model"], device=device, dtype=choose_precision(job["precision"], device)
    )
    images = prepare(DataSpec(**source["spec"]), encoder.preprocess).dataset
    found = {
        "device": str(device),
        "images": len(images),
        "classes": len(images.classes),
        "pixels": str(images.items.folder.resolve()),
        "features": str(cached.image_features_file(images, encoder).resolve()),
        "features_seconds": _time_features(images, encoder),
    }
    if not source["known"]:
        return {**found, "zero_shot": None, "probe": None}
    zero = zero_shot(images, encoder).cosines.argmax(1)
    learned = probe.out_of_fold(images, encoder, 0).argmax(1)
    return {
        **found,
        "zero_shot": float((zero == images.labels).mean()),
        "probe": float((learned == images.labels).mean()),
    }


@torch.no_grad()
def _time_features(images: Dataset, encoder: DualEncoder) -> float:
    """Seconds that one pass of all pictures through the tower takes, from a few batches: the cache may have had them."""
    size = cached.BATCH
    rows = [
        np.arange(s, min(s + size, len(images))) for s in range(0, len(images), size)
    ][: TIMED_BATCHES + 1]
    encoder.image_features(
        encoder.normalise(images.inputs(rows[0]))
    ).cpu()  # the first one warms up
    timed = rows[1:] or rows
    start = time.perf_counter()
    for batch in timed:
        encoder.image_features(encoder.normalise(images.inputs(batch))).cpu()
    return (time.perf_counter() - start) * len(images) / sum(map(len, timed))


# --- the scan


def cell(job: Mapping[str, Any], folder: Path, watch: _Watch) -> dict[str, Any]:
    """An ordinary scan, and its figures."""
    source, tower = (read_json(Path(need) / "result.json") for need in job["needs"])
    own = folder / "cache"
    _share_cache(own, tower)
    try:
        opened = _scan(job["scan"], DataSpec(**source["spec"]), folder / "run")
    finally:
        _remove(own)
    peak, attempts, before, busy = (
        watch.peak(),
        watch.attempts,
        watch.earlier["seconds"],
        time.process_time(),
    )
    found = of(opened, job["scan"]["seed"])
    found["row"] |= {
        "seconds": opened.record["seconds"]["detect"] + before,
        "features_seconds": tower["features_seconds"],
        "peak_mib": peak,
        "cpu_seconds": busy,
        "attempts": attempts,
        "threads": torch.get_num_threads(),
    }
    return found


def _remove(folder: Path) -> None:
    """A scan that was refused may still have a thread that writes its last pixels: then once more."""
    for pause in (0.0, 0.2, 1.0):
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _share_cache(own: Path, tower: Mapping[str, Any]) -> None:
    """A cache of the cell's own in which pixels and image features are the shared ones.

    What a method computes beside them (probes, augmented views) is so counted in each cell that needs it, whichever runs
    first.
    """
    (own / "features").mkdir(parents=True, exist_ok=True)
    for link, target in (
        (own / "features" / Path(tower["features"]).name, tower["features"]),
        (own / Path(tower["pixels"]).name, tower["pixels"]),
    ):
        link.unlink(missing_ok=True)
        if Path(target).exists():
            link.symlink_to(target)
    os.environ["LABELSIEVE_CACHE"] = str(own)


def _scan(options: Mapping[str, Any], spec: DataSpec, folder: Path) -> Run:
    """A scan that goes on where it was interrupted; a run of the bench in another place is done again."""
    try:
        return scan(spec, output=folder, **options)
    except RunError:
        if not folder.exists():
            raise
        shutil.rmtree(folder)
        return scan(spec, output=folder, **options)


STEPS: dict[str, Callable[[Mapping[str, Any], Path, _Watch], dict[str, Any]]] = {
    "material": material,
    "truth": truth,
    "headroom": headroom,
    "cell": cell,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
