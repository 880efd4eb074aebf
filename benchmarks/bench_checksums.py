"""What checksums cost: their share of the processor time of a scan, cold and warm.

python benchmarks/bench_checksums.py --images 500

Scans with and without checksums take turns in one process. Processor time is compared, which
another program on the machine changes less than the clock on the wall. Beside the difference
stands the time that was spent in the checksum functions themselves: it is the steadier figure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import labelsieve
from labelsieve import cache, progress
from labelsieve.data import _pixel_index, pixel_cache
from labelsieve.runs import digests

# Functions that do nothing but compute checksums, and what stands in for their answers.
FUNCTIONS: tuple[tuple[Any, str, Any], ...] = (
    (cache, "_digest", bytes(cache.DIGEST)),
    (digests, "sha256", "0" * 64),
    (digests, "_seal", "0" * 64),
    (pixel_cache, "_sum", 0),
    (_pixel_index, "marked", None),  # a row and its mark; see `_unmarked`
)


def _unmarked(*values: Any) -> tuple[Any, ...]:
    return (*values, 0)


@contextmanager
def without_checksums() -> Iterator[None]:
    """All of them are constants meanwhile."""
    with ExitStack() as patched:
        for module, name, answer in FUNCTIONS:
            stand_in: Callable[..., Any] = (
                _unmarked if answer is None else lambda *_, answer=answer: answer
            )
            patched.enter_context(patch.object(module, name, stand_in))
        yield


@contextmanager
def timed(spent: list[float]) -> Iterator[None]:
    """Adds to `spent` what the functions take."""

    def timing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments)
            finally:
                spent.append(time.thread_time() - start)

        return call

    with ExitStack() as patched:
        for module, name, _ in FUNCTIONS:
            real = getattr(module, name)
            patched.enter_context(patch.object(module, name, timing(real)))
        yield


def write_data(folder: Path, images: int, side: int) -> None:
    """Photographs of noise in four classes, as JPEG."""
    draw = np.random.default_rng(0)
    for number in range(images):
        low = draw.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
        path = folder / f"class {number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(low).resize((side, side)).save(path)


def seconds(data: Path, run: Path, method: str) -> float:
    """Processor time of one scan."""
    cache._is_whole.cache_clear()
    digests._verified.clear()
    shutil.rmtree(run, ignore_errors=True)
    start = time.process_time()
    labelsieve.scan(data, output=run, method=method, model="tiny")
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", default="zero-shot")
    words = parser.parse_args()
    progress.be_quiet(True)
    figures: dict[tuple[str, str], list[float]] = {}
    shares: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_data(base / "data", words.images, words.side)
        os.environ["LABELSIEVE_CACHE"] = str(base / "warm up")
        seconds(base / "data", base / "run", words.method)
        for turn in range(2 * words.rounds):
            plain = turn % 2 == 1
            os.environ["LABELSIEVE_CACHE"] = str(base / f"cache-{turn}")
            for kind in ("cold", "warm"):
                spent: list[float] = []
                with without_checksums() if plain else timed(spent):
                    took = seconds(base / "data", base / "run", words.method)
                figures.setdefault((kind, "without" if plain else "with"), []).append(
                    took
                )
                if not plain:
                    shares[kind].append(sum(spent) / took)
    for kind in ("cold", "warm"):
        on = statistics.median(figures[kind, "with"])
        off = statistics.median(figures[kind, "without"])
        inside = 100 * statistics.median(shares[kind])
        print(
            f"{kind}: {on:.2f} s with, {off:.2f} s without, ratio {on / off:.3f}; "
            f"in checksum functions {inside:.2f} % of a scan"
        )


if __name__ == "__main__":
    main()
