"""A million rows through everything: seconds and memory of each stage and process, and files.

    python benchmarks/bench_million.py --rows 1000000 --scratch FOLDER

Call it with OMP_NUM_THREADS=1. A table of small pictures, of which one in a thousand is the same,
is scanned with embeddings given; then the same command again, the report, and the review up to
its first page, each in a process of its own. Memory is what a process holds for itself, and in
brackets with the pages of files that are mapped, which the system takes back when others need them.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = 10
AT_ONCE = 50_000  # rows that are written at once


class Peak(threading.Thread):
    """The largest memory since it was last asked, in megabytes: own, and with mapped files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.all = 0.0
        self.start()

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(0.05)

    def look(self) -> None:
        sizes = {}
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "VmRSS"):
                sizes[name] = int(value.split()[0]) / 1e3
        self.own = max(self.own, sizes["RssAnon"])
        self.all = max(self.all, sizes["VmRSS"])

    def taken(self) -> tuple[int, int]:
        self.look()
        found = round(self.own), round(self.all)
        self.own = self.all = 0.0
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64, help="numbers of an embedding")
    parser.add_argument("--side", type=int, default=32, help="pixels of a picture")
    parser.add_argument("--method", default="confident-learning")
    parser.add_argument("--workers", type=int, default=0, help="0: one process")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--step", choices=STEPS, help="in this process, of the program")
    words = parser.parse_args()
    if words.step:
        STEPS[words.step](words)
        return
    if words.scratch:
        everything(words)
        return
    with tempfile.TemporaryDirectory() as scratch:
        words.scratch = Path(scratch)
        everything(words)


def everything(words: argparse.Namespace) -> None:
    print(f"{words.rows:,} pictures of {words.side} pixels, {words.width} numbers each")
    for step in STEPS:
        asked = [f"--{name}={value}" for name, value in vars(words).items() if value]
        run = [sys.executable, __file__, *asked, f"--step={step}"]
        cache = str(words.scratch / "cache")
        subprocess.run(run, check=True, env={**os.environ, "LABELSIEVE_CACHE": cache})
    for folder in sorted(words.scratch.iterdir()):
        files = [path for path in folder.rglob("*") if path.is_file()] or [folder]
        size = sum(path.stat().st_size for path in files) / 1e6
        print(f"{folder.name:28s} {len(files):6,} files {size:9,.0f} MB", flush=True)


def told(what: str, seconds: float, memory: tuple[int, int]) -> None:
    own, both = memory
    print(f"{what:28s} {seconds:9.1f} s {own:9,} MB ({both:,})", flush=True)


def write(words: argparse.Namespace) -> None:
    """A table of pictures, and embeddings that tell ten classes apart."""
    if (words.scratch / "embeddings.npy").exists():
        return
    chance = np.random.default_rng(0)
    middles = chance.standard_normal((CLASSES, words.width))
    embeddings = np.empty((words.rows, words.width), dtype=np.float32)
    names = (("id", pa.string()), ("image", pa.binary()), ("label", pa.string()))
    with pq.ParquetWriter(words.scratch / "rows.parquet", pa.schema(names)) as writer:
        for start in range(0, words.rows, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, words.rows))
            part = chance.integers(0, CLASSES, len(numbers))
            noise = chance.standard_normal((len(part), words.width))
            embeddings[start : start + len(part)] = middles[part] + noise
            wrong = chance.random(len(part)) < 0.1
            labels = np.where(wrong, (part + 1) % CLASSES, part)
            columns = [
                [f"row-{number:08d}" for number in numbers],
                [picture(number, words.side) for number in numbers],
                [f"class {k}" for k in labels],
            ]
            writer.write_table(pa.table(columns, schema=pa.schema(names)))
    np.save(words.scratch / "embeddings.npy", embeddings)


def picture(number: int, side: int) -> bytes:
    """Another picture for each number, unlike all others; every thousandth is the same."""
    chance = np.random.default_rng(0 if number % 1000 == 0 else number)
    # coarse, so that thumbnails differ as those of photos do
    grays = chance.integers(0, 256, (side // 4, side // 4), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(grays).resize((side, side), Image.Resampling.BILINEAR)
    # twins have other bytes: they are the same picture, and not the same file
    image.putpixel((0, 0), number % 251)
    image.putpixel((1, 0), number // 251 % 251)
    image.putpixel((2, 0), number // 251**2)
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def data_of(words: argparse.Namespace) -> Any:
    from labelsieve.data.load import load

    ids = pq.read_table(words.scratch / "rows.parquet", columns=["id"])["id"]
    values = np.load(words.scratch / "embeddings.npy")
    given = (ids.to_pylist(), values)
    return load(str(words.scratch / "rows.parquet"), id_column="id", embeddings=given)


def scan(words: argparse.Namespace) -> None:
    """Every stage; the record of the run tells the seconds, and this its memory."""
    from labelsieve.pipeline.scan import _Clock

    peak, memory = Peak(), {}
    lap = _Clock.lap

    def lapped(self: Any, name: str) -> None:
        lap(self, name)
        memory[name] = peak.taken()

    _Clock.lap = lapped  # type: ignore[method-assign]
    spec = data_of(words)
    peak.taken()
    run = scanned(words, spec)
    for name, seconds in run.record["seconds"].items():
        told(name, seconds, memory[name])


def scanned(words: argparse.Namespace, spec: Any) -> Any:
    import contextlib

    from labelsieve.engines import Options
    from labelsieve.engines._elsewhere import working
    from labelsieve.pipeline import scan as stages

    helpers: Any = contextlib.nullcontext()
    if words.workers:
        helpers = working("processes", spec, Options(workers=words.workers))
    with helpers:
        return stages.scan(
            spec, output=words.scratch / "run", method=words.method, model="tiny"
        )


def measured(what: str, work: Callable[[], Any]) -> None:
    peak, begun = Peak(), time.perf_counter()
    work()
    told(what, time.perf_counter() - begun, peak.taken())


def again(words: argparse.Namespace) -> None:
    measured("the same command again", lambda: scanned(words, data_of(words)))


def report(words: argparse.Namespace) -> None:
    def work() -> None:
        from labelsieve.report import page
        from labelsieve.runs import pictures
        from labelsieve.runs.run import Run

        run = Run(words.scratch / "run")
        page.write(run, pictures.open_pictures(run))

    measured("the report alone", work)


def review(words: argparse.Namespace) -> None:
    """As `labelsieve review` starts, without a server, and the first page."""

    def work() -> None:
        from labelsieve.review.filters import Filters
        from labelsieve.review.session import Review
        from labelsieve.runs.run import Run

        session = Review(Run(words.scratch / "run"))
        session.front_page(Filters(), "window")

    measured("the review's first page", work)


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "write": write,
    "scan": scan,
    "again": again,
    "report": report,
    "review": review,
}

if __name__ == "__main__":
    main()
