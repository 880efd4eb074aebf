"""Seconds to `--help` and `import labelsieve`, and to the first training step of a folder of many
images (preset tuned; cold and warm pixel cache).

On the clock, and of the processor, which another program's work does not lengthen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from timing import machine, table

FIRST_STEP = """
import sys, time
start = float(sys.argv[1])
from labelsieve.training import loop
real = loop._step
def first(*args):
    real(*args)
    print("FIRST", time.time() - start, time.process_time(), flush=True)
    raise SystemExit
loop._step = first
from labelsieve import progress
from labelsieve.pipeline.scan import scan
progress.be_quiet()
scan(sys.argv[2], output=sys.argv[3], force=True, preset="tuned", model="tiny")
"""


NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def folder_of(path: Path, count: int, side: int) -> None:
    """`count` JPEG pictures in ten class folders: scikit-learn's digits, which the embedded
    model knows by name, with noise."""
    rng = np.random.default_rng(0)
    digits = load_digits()
    drawn = [
        Image.fromarray((picture * 14).astype(np.uint8)).resize((side, side))
        for picture in digits.images
    ]
    for name in NAMES:
        (path / name).mkdir(parents=True)
    for i in range(count):
        grey = np.asarray(drawn[i % len(drawn)]) + rng.integers(
            0, 32, (side, side), dtype=np.uint8
        )
        folder = path / NAMES[digits.target[i % len(drawn)]]
        Image.fromarray(grey).convert("RGB").save(folder / f"{i:06d}.jpg", quality=80)


def first_step(data: Path, run: Path, cache: Path) -> list[object]:
    """Seconds from the start of the process to the end of the first training step: on the clock,
    and of the processor without what helpers of the process took."""
    command = [sys.executable, "-c", FIRST_STEP, str(time.time()), str(data), str(run)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "LABELSIEVE_CACHE": str(cache)},
    )
    found = [line for line in done.stdout.splitlines() if line.startswith("FIRST")]
    if not found:
        raise SystemExit(done.stderr[-2000:])
    return [float(word) for word in found[0].split()[1:]]


def started(words: list[str], times: int = 7) -> list[object]:
    """Medians of a process that starts and ends: seconds on the clock, of the processor."""
    taken = []
    for _ in range(times):
        before, start = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        after = os.times()
        used = after.children_user - before.children_user
        used += after.children_system - before.children_system
        taken.append((time.perf_counter() - start, used))
    clock, processor = zip(*taken, strict=True)
    return [statistics.median(clock), statistics.median(processor)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument(
        "--side", type=int, default=64, help="of the pictures, in pixels"
    )
    args = parser.parse_args()
    rows: list[list[object]] = [
        ["python alone", *started(["-c", ""])],
        ["import labelsieve", *started(["-c", "import labelsieve"])],
        ["labelsieve --help", *started(["-m", "labelsieve", "--help"])],
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder_of(folder / "data", args.images, args.side)
        for what in ("cold", "warm"):
            rows.append(
                [
                    f"first step, {args.images} images of {args.side} pixels, {what} cache",
                    *first_step(folder / "data", folder / "run", folder / "cache"),
                ]
            )
    table(f"Start-up. {machine()}", ["what", "seconds", "of the processor"], rows)


if __name__ == "__main__":
    main()
