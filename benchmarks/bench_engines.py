"""Engines: what they cost beside one process, what many workers would give, a million rows.

    python benchmarks/bench_engines.py overhead --pictures 4000
    python benchmarks/bench_engines.py simulate --plot docs/images/engines.svg
    python benchmarks/bench_engines.py rows --rows 1000000

Call it with OMP_NUM_THREADS=1. `overhead` compares processor seconds: those of all workers over
those of one process for the same stages. `simulate` takes the seconds of real shards, and adds
start-up, stragglers and what the process that asks does by itself. `rows` scans a table of tiny
pictures with embeddings given, and tells seconds per stage, memory and files.
"""

from __future__ import annotations

import argparse
import heapq
import io
import json
import os
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

MEASURED = Path(__file__).with_name(
    "engines.json"
)  # seconds of shards, for the simulation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("overhead", "simulate", "rows"))
    parser.add_argument("--pictures", type=int, default=4_000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--method", default="confident-learning")
    parser.add_argument("--plot", type=Path)
    words = parser.parse_args()
    {"overhead": overhead, "simulate": simulate, "rows": rows}[words.what](words)


def overhead(words: argparse.Namespace) -> None:
    from labelsieve import progress
    from labelsieve.data.load import load
    from labelsieve.engines import Options
    from labelsieve.engines._elsewhere import working
    from labelsieve.pipeline.scan import scan

    progress.be_quiet()
    choices: dict[str, Any] = {"method": "zero-shot", "model": "tiny"}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_pictures(root / "data", words.pictures, words.side)
        time.sleep(2.5)  # stamps of newer files are not relied on
        # what is imported on the way is not to count for the first of the two
        write_pictures(root / "few", 40, words.side)
        os.environ["LABELSIEVE_CACHE"] = str(root / "none")
        scan(load(str(root / "few")), output=root / "run-few", **choices)
        os.environ["LABELSIEVE_CACHE"] = str(root / "one")
        begun = time.process_time()
        one = scan(load(str(root / "data")), output=root / "run-one", **choices)
        alone = time.process_time() - begun
        os.environ["LABELSIEVE_CACHE"] = str(root / "two")
        spec, options = load(str(root / "data")), Options(workers=2, shard=512)
        begun = time.process_time()
        with working("processes", spec, options) as workers:
            two = scan(spec, output=root / "run-two", **choices)
        asking = time.process_time() - begun
        tally = workers.tally
        assert one.scores.equals(two.scores), "other scores than one process"
        total = asking + tally.processor_seconds
        print(f"one process         {alone:7.1f} s of processor")
        print(f"who asks            {asking:7.1f} s")
        print(
            f"two workers         {tally.processor_seconds:7.1f} s, {tally.shards} shards"
        )
        print(f"ratio               {total / alone:7.2f}  (bound 1.15)")
        measured = {
            "shard_seconds": [round(s, 3) for s in tally.seconds],
            "asking_per_shard": round(asking / max(1, tally.shards), 4),
            "pictures": words.pictures,
        }
        MEASURED.write_text(json.dumps(measured) + "\n")


def write_pictures(folder: Path, count: int, side: int) -> None:
    chance = np.random.default_rng(0)
    for number in range(count):
        # smooth, so that encoding is that of a picture and not of noise
        small = chance.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((side, side))
        place = folder / f"class {number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number:06d}.jpg", quality=90)


def simulate(words: argparse.Namespace) -> None:
    measured = json.loads(MEASURED.read_text())
    seconds = np.array(measured["shard_seconds"])
    # what the asking process does for each shard; one after the other
    serial = measured["asking_per_shard"]
    table = []
    # a model that takes longer has the same shards: 60 s is ViT-B/16 on one core, 3 s on a GPU
    for name, scale in (
        ("measured", 1.0),
        ("60 s a shard", 60 / float(seconds.mean())),
    ):
        for workers in (1, 10, 100, 1_000):
            makespan = simulated(seconds * scale, 10_000, workers, serial)
            ideal = seconds.mean() * scale * 10_000 / workers
            table.append((name, workers, makespan, ideal / makespan))
            print(
                f"{name:14s} {workers:6,} workers {makespan / 3600:9.2f} h"
                f"  efficiency {ideal / makespan:6.1%}"
            )
    if words.plot:
        plot(table, words.plot)


def simulated(
    seconds: np.ndarray, shards: int, workers: int, serial: float, startup: float = 15.0
) -> float:
    """Seconds until all shards are merged: 1 % take five times as long, and are given out twice."""
    chance = np.random.default_rng(0)
    durations = chance.choice(seconds, shards)
    slow = chance.random(shards) < 0.01
    durations = np.where(slow, 5 * durations, durations)
    # a second worker takes a slow one after three times the median, once nothing else is left
    late = 3 * np.median(seconds) + chance.choice(seconds, shards)
    free = list(startup + 5 * chance.random(workers))
    heapq.heapify(free)
    merged = 0.0
    for number, duration in enumerate(durations):
        last = number >= shards - workers
        took = min(duration, late[number]) if last else duration
        end = heapq.heappop(free) + took
        heapq.heappush(free, end)
        # one process merges
        merged = max(merged, end) + serial if end > merged else merged + serial
    return max(merged, max(free))


def plot(table: list[tuple[str, int, float, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "labelsieve"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 3.2))
    for name in dict.fromkeys(row[0] for row in table):
        points = [(row[1], row[2] / 3600) for row in table if row[0] == name]
        axes.loglog(*zip(*points, strict=True), marker="o", label=name)
    axes.set_xlabel("workers")
    axes.set_ylabel("hours for 10,000 shards")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


class Peak(threading.Thread):
    """The largest resident memory since it was last asked, in megabytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest = 0.0
        self.start()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            self.largest = max(self.largest, resident / 1e6)
            time.sleep(0.05)


def rows(words: argparse.Namespace) -> None:
    from labelsieve.data.load import load
    from labelsieve.pipeline.scan import _Clock, scan

    peak, memory = Peak(), {}
    lap = _Clock.lap

    def lapped(self: Any, name: str) -> None:
        lap(self, name)
        memory[name], peak.largest = peak.largest, 0.0

    _Clock.lap = lapped  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["LABELSIEVE_CACHE"] = str(root / "cache")
        ids, embeddings = write_rows(root / "rows.parquet", words.rows, words.width)
        spec = load(
            str(root / "rows.parquet"), id_column="id", embeddings=(ids, embeddings)
        )
        del ids, embeddings
        peak.largest = 0.0
        run = scan(spec, output=root / "run", method=words.method, model="tiny")
        print(f"{words.rows:,} rows, {words.width} numbers each, {words.method}")
        for name, seconds in run.record["seconds"].items():
            print(f"{name:20s} {seconds:9.1f} s {memory.get(name, 0):9.0f} MB")
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{'peak':20s} {'':11s} {largest:9.0f} MB")
        for folder in (root / "run", root / "cache"):
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / 1e6
            print(f"{folder.name:20s} {len(files):6,} files {size:11.0f} MB")


def write_rows(path: Path, count: int, width: int) -> tuple[list[str], np.ndarray]:
    """A table of pictures of 8 x 8 pixels, and embeddings that tell ten classes apart."""
    chance = np.random.default_rng(0)
    classes = chance.integers(0, 10, count)
    middles = chance.standard_normal((10, width))
    embeddings = np.empty((count, width), dtype=np.float32)
    ids = [f"row-{number:08d}" for number in range(count)]
    schema = pa.schema(
        [("id", pa.string()), ("image", pa.binary()), ("label", pa.string())]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, 50_000):
            part = classes[start : start + 50_000]
            noise = chance.standard_normal((len(part), width))
            embeddings[start : start + len(part)] = middles[part] + noise
            wrong = chance.random(len(part)) < 0.1
            labels = np.where(wrong, (part + 1) % 10, part)
            images = [bitmap(start + number) for number in range(len(part))]
            columns = [
                ids[start : start + len(part)],
                images,
                [f"class {k}" for k in labels],
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return ids, embeddings


def bitmap(number: int) -> bytes:
    """Another picture for each number, unlike all others."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "BMP")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
