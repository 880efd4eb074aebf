"""Seconds per 1,000 images of a whole scan, and where they go: presets side by side, on
synthetic pictures.

`--shape ViT-B/16` takes a tower of that shape with random weights, at 224 pixels, and few images.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench_memory import synthetic
from shapes import SHAPES, saved
from timing import machine, table

from labelsieve import progress
from labelsieve.pipeline.scan import scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        default=[2000],
        help="of each preset, or of all",
    )
    parser.add_argument("--shape", default="tiny", choices=list(SHAPES))
    parser.add_argument("--presets", nargs="+", default=["default", "tuned"])
    args = parser.parse_args()
    progress.be_quiet()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = (
            str(saved(args.shape, folder / "model")) if args.shape != "tiny" else "tiny"
        )
        counts = (
            args.images * len(args.presets) if len(args.images) == 1 else args.images
        )
        for preset, count in zip(args.presets, counts, strict=True):
            synthetic(
                folder / "data.parquet",
                count,
                SHAPES[args.shape]["vision_config"]["image_size"],
            )
            os.environ["LABELSIEVE_CACHE"] = str(folder / f"cache-{preset}")
            done = scan(
                folder / "data.parquet",
                output=folder / preset,
                model=model,
                preset=preset,
            )
            spent = done.record["seconds"]
            per = 1000 / count
            rows.append(
                [
                    preset,
                    count,
                    sum(spent.values()) * per,
                    *(f"{value * per:.2f}" for value in spent.values()),
                ]
            )
    for row in rows:
        row.append(f"{rows[0][2] / row[2]:.1f}")
    table(
        f"Seconds per 1,000 images, {args.shape}. {machine()}",
        ["preset", "images", "all", *spent, "times faster"],
        rows,
    )


if __name__ == "__main__":
    main()
