"""How seconds and memory grow with images and classes, features given.

    OMP_NUM_THREADS=1 python benchmarks/bench_growth.py
        [--images 1000 10000 100000 1000000] [--classes 10 100 1000 10000] [--few 10000]

Each cell is a process of its own: processor seconds (kernel included) of one step, and the memory
that the process holds at most, less what libraries and inputs take. Features are 64 numbers,
clusters with a middle for each class; of the labels one in five is wrong. Images grow with ten
classes, classes with `--few` images. The exponent of a row is the slope of log seconds over log
size between its last two cells, where constants no longer hide it: 1 is linear, 2 all pairs.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from timing import machine, table

WIDTH = 64
WRONG = 0.2


@dataclass(frozen=True)
class Inputs:
    """features [n, WIDTH] float32 of length one, labels [n], answers [n, k] float32."""

    features: np.ndarray
    labels: np.ndarray
    classes: int
    answers: np.ndarray | None = None


def made(images: int, classes: int, *, answers: bool) -> Inputs:
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((classes, WIDTH), dtype=np.float32)
    true = rng.permutation(images) % classes
    features = middles[true] + rng.standard_normal((images, WIDTH), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    # one in five gets another class, whichever
    turned = rng.random(images) < WRONG
    labels = np.where(turned, (true + rng.integers(1, classes, images)) % classes, true)
    if not answers:
        return Inputs(features, labels, classes)
    logits = 8 * features @ (middles / np.linalg.norm(middles, axis=1, keepdims=True)).T
    # in place: with many classes this is the largest array
    logits -= logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(1, keepdims=True)
    return Inputs(features, labels, classes, logits)


def linear(given: Inputs) -> object:
    from labelsieve.features import probe

    return probe.cross_validated(given.features, given.labels, given.classes, 0)


def curved(given: Inputs) -> object:
    from labelsieve.features import kernel

    return kernel.learn(given.features, given.labels, given.classes, 0)


def transition(given: Inputs) -> object:
    from labelsieve.methods._posterior import TEXT, select_among

    assert given.answers is not None
    reference = select_among({TEXT: given.answers}, given.labels, 0)
    return reference.posterior(given.labels)


def flags(given: Inputs) -> object:
    from labelsieve.estimation.calibration import fit_curve
    from labelsieve.estimation.flagging import flag_by_f1

    suspicion = np.random.default_rng(1).random(len(given.labels))
    wrong = suspicion**2
    return flag_by_f1(fit_curve(suspicion, wrong)(suspicion))


def neighbours(given: Inputs) -> object:
    from labelsieve.features.neighbours import nearest

    return nearest(given.features, 10)


def isolated(given: Inputs) -> object:
    from labelsieve.features.open_set.outsiders import isolation

    return isolation(given.features)


STEPS: dict[str, Callable[[Inputs], object]] = {
    "linear probe, out of fold": linear,
    "kernel ridge regression, out of fold": curved,
    "T, its interval and posterior": transition,
    "curve and flags": flags,
    "nearest neighbours": neighbours,
    "outsiders": isolated,
}
ANSWERS = ("T, its interval and posterior",)


def held() -> float:
    """The most memory that this process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def one(step: str, images: int, classes: int) -> None:
    """Print seconds and MB of one step, in this process."""
    run = STEPS[step]
    run(made(200, 10, answers=step in ANSWERS))  # imports, and what is done once
    given = made(images, classes, answers=step in ANSWERS)
    before, start = held(), time.process_time()
    run(given)
    print(f"CELL {time.process_time() - start:.4f} {held() - before:.0f}")


def cell(step: str, images: int, classes: int) -> tuple[float, float] | None:
    """Seconds and MB of one step in a process of its own; None where it refuses."""
    words = ["--one", step, "--images", str(images), "--classes", str(classes)]
    done = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True
    )
    for line in done.stdout.splitlines():
        if line.startswith("CELL"):
            seconds, memory = map(float, line.split()[1:])
            return seconds, memory
    print(f"{step}, {images:,} x {classes:,}: {done.stderr.splitlines()[-1:]}")
    return None


def row(step: str, sizes: list[tuple[int, int]], by: int) -> list[object]:
    """One step over all sizes; `by` is the place of what grows in a size."""
    found = []
    for size in sizes:
        found.append(cell(step, *size))
        print(f"  {step}, {size[0]:,} x {size[1]:,}: {found[-1]}", flush=True)
    cells: list[object] = [step]
    cells += [f"{f[0]:.2f} s, {f[1]:.0f} MB" if f else "–" for f in found]
    known = [(s[by], f[0]) for s, f in zip(sizes, found, strict=True) if f and f[0]]
    if len(known) < 2:
        return [*cells, "–"]
    (small, less), (large, more) = known[-2:]
    return [*cells, f"{math.log(more / less) / math.log(large / small):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [1_000, 10_000, 100_000, 1_000_000]
    parser.add_argument("--images", type=int, nargs="+", default=sizes)
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[10, 100, 1_000, 10_000]
    )
    parser.add_argument(
        "--few", type=int, default=10_000, help="images where classes grow"
    )
    parser.add_argument("--one", choices=list(STEPS), help="a single cell")
    args = parser.parse_args()
    if args.one:
        one(args.one, args.images[0], args.classes[0])
        return
    heads = [f"{n:,}" for n in args.images]
    rows = [row(step, [(n, 10) for n in args.images], 0) for step in STEPS]
    table(f"Images, ten classes. {machine()}", ["step", *heads, "exponent"], rows)
    heads = [f"{k:,}" for k in args.classes]
    rows = [row(step, [(args.few, k) for k in args.classes], 1) for step in STEPS]
    title = f"Classes, {args.few:,} images. {machine()}"
    table(title, ["step", *heads, "exponent"], rows)


if __name__ == "__main__":
    main()
