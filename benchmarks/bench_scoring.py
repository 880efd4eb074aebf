"""The scoring pass, pictures from the cache, against the bare image tower on random tensors, in
one run.

Views per second of both; the ratio is the share of the tower's speed that is left when pictures
are real.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from shapes import SHAPES, detector, encoder
from timing import machine, side_by_side, table

from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.spec import DataSpec
from labelsieve.models.device import choose_precision
from labelsieve.progress import be_quiet


def pictures(count: int, size: int) -> Dataset:
    """Random pictures through the real reading path: source, hashing, pixel cache."""
    rng = np.random.default_rng(0)
    preprocess = Preprocess(size, size, size, 3, CLIP_MEAN, CLIP_STD)
    images = [
        rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)
    ]
    labels = [i % 10 for i in range(count)]
    return prepare(DataSpec((images, labels)), preprocess).dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shapes", nargs="+", default=["ViT-B/16", "tiny"], choices=list(SHAPES)
    )
    parser.add_argument(
        "--images", type=int, nargs="+", default=[256, 4096], help="per shape"
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    be_quiet()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_precision("auto", device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LABELSIEVE_CACHE"] = str(Path(folder))
        for shape, count in zip(args.shapes, args.images, strict=False):
            size = SHAPES[shape]["vision_config"]["image_size"]
            images = pictures(count, size)
            found = detector(encoder(shape, str(device), dtype), 10)
            batch = torch.randn(
                min(256, count), 3, size, size, device=device, dtype=dtype
            )

            @torch.no_grad()
            def bare(found=found, batch=batch, count=count) -> None:  # type: ignore[no-untyped-def]
                for _ in range(count // len(batch)):
                    found.encoder.image_features(batch, found.tuned.tokens())

            runs = {
                "bare": bare,
                "whole pictures": lambda f=found, i=images: f.judge(i),
                "four views": lambda f=found, i=images: f.judge(i, views=4),
            }
            taken = side_by_side(runs, args.repeats)
            for what, passes in (("whole pictures", 1), ("four views", 4)):
                speeds = (count / taken["bare"], passes * count / taken[what])
                rows.append(
                    [shape, count, what, *speeds, f"{speeds[1] / speeds[0]:.2f}"]
                )
    table(
        f"Scoring pass, {str(dtype)[6:]}. {machine()}",
        [
            "shape",
            "images",
            "scored",
            "bare tower images/s",
            "scoring views/s",
            "ratio",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
