"""Timing of things side by side: interleaved runs, medians, ratios, and the machine they ran on."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def machine() -> str:
    """One line that says where the figures come from."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        models = [
            line.partition(":")[2].strip()
            for line in cpus.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = next(iter(models), name)
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call, the device included."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def side_by_side(
    runs: Mapping[str, Callable[[], object]], repeats: int = 5, warmups: int = 1
) -> dict[str, float]:
    """Median seconds of each, measured in turns so that a noisy machine hits all alike."""
    for _ in range(warmups):
        for run in runs.values():
            run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    return {name: statistics.median(values) for name, values in taken.items()}


def table(title: str, header: list[str], rows: list[list[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print(
            "| "
            + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row)
            + " |",
            flush=True,
        )
