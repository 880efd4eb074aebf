"""What a scan costs preset by preset: passes of the image tower per picture, counted, and processor
seconds of whole scans at ViT-B/16, measured in turns.

    OMP_NUM_THREADS=1 python benchmarks/bench_passes.py PHOTOS [--images 24] [--repeats 3]
        [--presets default fast paper]

PHOTOS is a folder with a folder for each class. A pass is the arithmetic of one picture through the
frozen tower: matrix products are counted by torch's own counter while a scan runs with `tiny` on
`--counted` of the photos (a pass is a pass whatever the tower's size), and divided by those of one
picture. Attention, which that counter leaves out on processors, grows alike on both sides. Text
prompts and what is read, hashed and written count in seconds alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bench_embedding import chosen
from shapes import saved
from timing import machine, table
from torch.utils.flop_counter import FlopCounterMode

from labelsieve import progress
from labelsieve.models import encoder as encoders
from labelsieve.models.families.clip import ClipEncoder
from labelsieve.models.load import load_encoder
from labelsieve.pipeline.scan import scan


class Counted:
    """Operations of the image tower while a scan runs, forward and backward.

    The tower's passes are found where every picture goes through it; a backward pass repeats the
    products of the blocks once more, as weights are frozen and only activations have a gradient.
    """

    def __init__(self) -> None:
        self.forward = 0.0
        self.with_gradient = 0.0
        self._own = ClipEncoder.image_pooled

    def __enter__(self) -> Counted:
        own = self._own

        def counted(tower: ClipEncoder, pixels: Any, prompts: Any = None) -> Any:
            with FlopCounterMode(display=False) as counter:
                pooled = own(tower, pixels, prompts)
            operations = float(counter.get_total_flops())
            self.forward += operations
            if pooled.requires_grad:
                self.with_gradient += operations
            return pooled

        ClipEncoder.image_pooled = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *reason: object) -> None:
        ClipEncoder.image_pooled = self._own  # type: ignore[method-assign]


def passes(photos: Path, folder: Path, preset: str, count: int) -> list[float]:
    """Passes per picture of a scan with `tiny`: forward, backward."""
    os.environ["LABELSIEVE_CACHE"] = str(folder / f"counted-{preset}")
    model = load_encoder("tiny")
    with Counted() as one, torch.no_grad():
        model.image_pooled(model.normalise(model.blank()))
    with Counted() as all_of_them:
        scan(
            photos, output=folder / f"counted-run-{preset}", model="tiny", preset=preset
        )
    return [
        all_of_them.forward / one.forward / count,
        all_of_them.with_gradient / one.forward / count,
    ]


def seconds(photos: Path, folder: Path, model: Path, preset: str, number: int) -> float:
    """Processor seconds of one scan with an empty cache, libraries imported before."""
    os.environ["LABELSIEVE_CACHE"] = str(folder / f"cache-{preset}-{number}")
    start = time.process_time()
    scan(
        photos,
        output=folder / f"run-{preset}-{number}",
        model=str(model),
        preset=preset,
    )
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument(
        "--counted", type=int, default=400, help="pictures to count with"
    )
    parser.add_argument("--shape", default="ViT-B/16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--presets", nargs="+", default=["default", "fast", "paper"])
    args = parser.parse_args()
    progress.be_quiet()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = len(chosen(args.photos, args.counted, folder / "many"))
        counts = {p: passes(folder / "many", folder, p, many) for p in args.presets}
        for preset, (forward, backward) in counts.items():
            print(
                f"{preset}: {forward:.2f} forward, {backward:.2f} backward", flush=True
            )
        few = len(chosen(args.photos, args.images, folder / "few"))
        model = saved(args.shape, folder / "model")
        taken: dict[str, list[float]] = {preset: [] for preset in args.presets}
        for number in range(args.repeats):
            for preset, values in taken.items():
                values.append(seconds(folder / "few", folder, model, preset, number))
                print(f"{preset}, {number + 1}: {values[-1]:.1f} s", flush=True)
    slowest = max(statistics.median(values) for values in taken.values())
    rows: list[list[object]] = []
    for preset, values in taken.items():
        forward, backward = counts[preset]
        middle = statistics.median(values)
        spread = f"{min(values):.1f} to {max(values):.1f}"
        every = f"{forward + backward:.2f}"
        times = f"{slowest / middle:.1f}"
        rows.append(
            [preset, f"{forward:.2f}", f"{backward:.2f}", every, middle, spread, times]
        )
    limit = encoders.ACTIVATION // 2**20
    title = (
        f"Passes per picture counted on {many} photos with tiny; processor seconds of whole "
        f"scans of {few} photos, {args.shape}, at most {limit} MiB at once. {machine()}"
    )
    head = ["preset", "forward", "backward", "passes", "processor s", "least to most"]
    table(title, [*head, "times faster"], rows)


if __name__ == "__main__":
    main()
