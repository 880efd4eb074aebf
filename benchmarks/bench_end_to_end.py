"""Seconds per 1,000 images of a whole scan, and where they go. Default settings and --fast, on synthetic pictures."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench_memory import synthetic
from timing import machine, table

from labelsieve import pipeline, progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--presets", nargs="+", default=["default", "fast"])
    args = parser.parse_args()
    progress.be_quiet()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthetic(folder / "data.parquet", args.images)
        for preset in args.presets:
            os.environ["LABELSIEVE_CACHE"] = str(folder / f"cache-{preset}")
            done = pipeline.scan(folder / "data.parquet", output=folder / preset, model=args.model, preset=preset)
            spent = done.record["seconds"]
            per = 1000 / args.images
            rows.append([preset, sum(spent.values()) * per, *(f"{value * per:.2f}" for value in spent.values())])
    table(f"Seconds per 1,000 images, model {args.model}. {machine()}", ["preset", "all", *spent], rows)


if __name__ == "__main__":
    main()
