"""Seconds to `--help`, and to the first training step of a folder of many images (cold and warm
pixel cache)."""

from __future__ import annotations

import argparse
import os
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
from labelsieve import training
from labelsieve.errors import LabelsieveError
real = training._step
def first(*args):
    real(*args)
    print("FIRST", time.time() - start, flush=True)
    raise SystemExit
training._step = first
from labelsieve import pipeline, progress
progress.be_quiet()
pipeline.scan(sys.argv[2], output=sys.argv[3], force=True)
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


def first_step(data: Path, run: Path, cache: Path) -> float:
    """Seconds from the start of the process to the end of the first training step."""
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
    return float(found[0].split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument(
        "--side", type=int, default=64, help="of the pictures, in pixels"
    )
    args = parser.parse_args()
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "labelsieve", "--help"],
            capture_output=True,
            check=True,
        )
        taken.append(time.perf_counter() - start)
    rows: list[list[object]] = [["labelsieve --help", sorted(taken)[3]]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder_of(folder / "data", args.images, args.side)
        for what in ("cold", "warm"):
            rows.append(
                [
                    f"first step, {args.images} images of {args.side} pixels, {what} cache",
                    first_step(folder / "data", folder / "run", folder / "cache"),
                ]
            )
    table(f"Start-up. {machine()}", ["what", "seconds"], rows)


if __name__ == "__main__":
    main()
