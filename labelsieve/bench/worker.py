"""One step of the bench, in a process of its own: `python -m labelsieve.bench.worker FOLDER`.

It reads `job.json`, does it and leaves `result.json`: figures, or the message of what was
refused. Its standard input is held open by the bench: when that ends, however it ends, so does
this process.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from labelsieve import progress
from labelsieve.bench.cell import of
from labelsieve.bench.material import material, truth
from labelsieve.bench.plan import REALISED
from labelsieve.bench.steps import read_result, write_result
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, RunError
from labelsieve.estimation.sets.figures import mean_average_precision
from labelsieve.features import cached
from labelsieve.features.task import Task
from labelsieve.files import read_json, write_json
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import load_encoder
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run

BEAT = 1.0  # seconds between notes of how long this attempt has taken
TIMED_BATCHES = 4  # batches of pictures whose way through the tower is timed
STATUS = Path("/proc/self/status")  # of this process, on Linux
ORPHANED = 130  # exit code of a worker whose bench is gone, as after Ctrl-C


def main(folder: Path) -> None:
    """Do the step of a folder."""
    progress.be_quiet()
    # a process of a bench that was killed may be about to end
    with FileLock(folder / "lock"):
        watch = Watch(folder / "attempts.json")
        job = read_json(folder / "job.json")
        try:
            result = {"state": "done", **STEPS[job["kind"]](job, folder, watch)}
        except LabelsieveError as error:
            result = {"state": "failed", "message": str(error)}
        watch.stop()
        write_result(folder, {**result, "peak_mib": watch.peak()})


class Watch:
    """Ends the process when the bench is gone, and notes what its attempts have cost.

    Attributes:
        attempts: this one included.
        seconds_before: of all earlier attempts.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._start = time.monotonic()
        self._ended = threading.Event()
        self._writing = threading.Lock()
        earlier = _earlier(file)
        self.attempts = int(earlier["attempts"]) + 1
        self.seconds_before = float(earlier["seconds"])
        self._peak_before = float(earlier["peak_mib"])
        for work in (self._beat, self._wait_for_the_end):
            threading.Thread(target=work, daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with self._writing:
                if self._ended.is_set():
                    return
                seconds = self.seconds_before + time.monotonic() - self._start
                cost = {"attempts": self.attempts, "seconds": seconds}
                write_json(self._file, {**cost, "peak_mib": self.peak()})

    def _wait_for_the_end(self) -> None:
        # nobody writes there: reading ends when the bench closes it, or is gone. Not through
        # sys.stdin, whose lock this thread would hold when the interpreter ends.
        os.read(sys.stdin.fileno(), 1)
        with self._writing:  # not in the middle of a file
            if not self._ended.is_set():
                os._exit(ORPHANED)

    def peak(self) -> float:
        """The most memory of any attempt, MiB."""
        return max(self._peak_before, peak_mib())

    def stop(self) -> None:
        """The step has ended: what attempts cost is in its result."""
        with self._writing:
            self._ended.set()
            self._file.unlink(missing_ok=True)


def _earlier(file: Path) -> dict[str, Any]:
    """What earlier attempts cost; nothing where there was none, or its note is damaged."""
    nothing = {"attempts": 0, "seconds": 0.0, "peak_mib": 0.0}
    try:
        return {**nothing, **read_json(file)}
    except RunError:
        return nothing


def peak_mib() -> float:
    """The most memory this process has had, MiB; 0 where the system does not say (Windows)."""
    # getrusage counts what the process that started this one had at that moment, so Linux is
    # asked otherwise
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) / 1024  # of KiB
    try:
        import resource
    except ImportError:
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, KiB elsewhere
    return used / 2**20 if sys.platform == "darwin" else used / 1024


# --- the tower


def headroom(job: Mapping[str, Any], folder: Path, watch: Watch) -> dict[str, Any]:
    """Features into the cache, and how good they are on true labels.

    Returns:
        zero_shot and probe: how many true labels zero-shot answers and a linear probe of the
        features get right; and where pixels and features are.
    """
    source = read_result(Path(job["needs"][0]))
    device = choose_device(job["device"])
    precision = choose_precision(job["precision"], device)
    encoder = load_encoder(job["model"], device=device, dtype=precision)
    spec = DataSpec(**source["spec"])
    images = prepare(spec, encoder.preprocess, kinds=(SINGLE, SET)).dataset
    task = Task(images, encoder)
    facts = {
        "device": str(device),
        "images": len(images),
        "classes": len(images.classes),
        "pixels": str(images.items.folder.resolve()),
        "features": str(task.features.file().resolve()),
        "features_seconds": _time_features(images, encoder),
    }
    if not source["known"]:
        return {**facts, "zero_shot": None, "probe": None}
    if images.coding.kind == SET:
        return {**facts, **_of_sets(task)}
    zero = task.zero_shot().cosines.argmax(1)
    learned = task.out_of_fold().argmax(1)
    return {
        **facts,
        "zero_shot": float((zero == images.labels).mean()),
        "probe": float((learned == images.labels).mean()),
    }


def _of_sets(task: Task) -> dict[str, float | None]:
    """Of sets the mean average precision takes the place of accuracy."""
    right = task.data.labels
    answers = {"zero_shot": task.zero_shot().probs(), "probe": task.out_of_fold()}
    return {name: mean_average_precision(p, right) for name, p in answers.items()}


@torch.no_grad()
def _time_features(images: Dataset, encoder: DualEncoder) -> float:
    """Seconds that one pass of all pictures through the tower takes, from a few batches.

    The features themselves say nothing of it: the cache may have had them.
    """
    size = cached.BATCH
    last = min(len(images), size * (TIMED_BATCHES + 1))
    batches = np.split(np.arange(last), range(size, last, size))
    _features(images, encoder, batches[0])  # the first one warms up
    timed = batches[1:] or batches
    start = time.perf_counter()
    for batch in timed:
        _features(images, encoder, batch)
    seconds = time.perf_counter() - start
    return seconds * len(images) / sum(map(len, timed))


def _features(images: Dataset, encoder: DualEncoder, rows: np.ndarray) -> None:
    encoder.image_features(encoder.normalise(images.inputs(rows))).cpu()


# --- the scan


def cell(job: Mapping[str, Any], folder: Path, watch: Watch) -> dict[str, Any]:
    """An ordinary scan, and its figures."""
    source, tower = (read_result(Path(need)) for need in job["needs"])
    spec = load(DataSpec(**source["spec"]), **source.get("own", {}))
    own = folder / "cache"
    _share_cache(own, tower)
    try:
        opened = _scan(told(job["scan"], spec), spec, folder / "run")
    finally:
        _remove(own)
    # measured before the figures are computed, which are no part of the scan
    peak = watch.peak()
    busy = time.process_time()
    figures = of(opened, job["scan"]["seed"])
    figures["row"] |= {
        "seconds": opened.record["seconds"]["detect"] + watch.seconds_before,
        "features_seconds": tower["features_seconds"],
        "peak_mib": peak,
        "cpu_seconds": busy,
        "attempts": watch.attempts,
        "threads": torch.get_num_threads(),
    }
    return figures


def told(options: Mapping[str, Any], spec: DataSpec) -> dict[str, Any]:
    """Options of a scan; a method that is to know the share of wrong labels is told it."""
    settings = dict(options["settings"])
    if settings.get("noise_rate") == REALISED:
        settings["noise_rate"] = _realised(spec)
    return {**options, "settings": settings}


def _realised(spec: DataSpec) -> float:
    """Share of wrong labels among those whose truth is known."""
    wrong = 0
    known = 0
    for row in open_source(spec).rows():
        if row.label is not None and row.truth is not None:
            known += 1
            wrong += row.label != row.truth
    return wrong / max(known, 1)


def _remove(folder: Path) -> None:
    """Again after a pause: a scan that was refused may still have a thread that writes pixels."""
    for pause in (0.0, 0.2, 1.0):  # seconds
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _share_cache(own: Path, tower: Mapping[str, Any]) -> None:
    """A cache of the cell's own in which pixels and image features are the shared ones.

    What a method computes beside them (probes, augmented views) is so counted in each cell
    that needs it, whichever runs first.
    """
    (own / "features").mkdir(parents=True, exist_ok=True)
    features, pixels = Path(tower["features"]), Path(tower["pixels"])
    _link(own / "features" / features.name, features)
    _link(own / pixels.name, pixels)
    os.environ["LABELSIEVE_CACHE"] = str(own)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    if not target.exists():
        return
    try:
        link.symlink_to(target)
    except OSError:
        # Windows lets only some users make links: the cell then computes its own
        progress.note(f"'{target}' cannot be shared.")


def _scan(options: Mapping[str, Any], spec: DataSpec, folder: Path) -> Run:
    """A scan that goes on where it was interrupted.

    A run that was moved with its bench belongs to another command, and is done again.
    """
    try:
        return scan(spec, output=folder, **options)
    except RunError:
        if not folder.exists():
            raise
        shutil.rmtree(folder)
        return scan(spec, output=folder, **options)


STEPS: dict[str, Callable[[Mapping[str, Any], Path, Watch], dict[str, Any]]] = {
    "material": material,
    "truth": truth,
    "headroom": headroom,
    "cell": cell,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
