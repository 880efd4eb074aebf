"""How far a method is ahead of its best peer, with an interval over images and seeds.

    python benchmarks/bench_differences.py BENCH [--method deft] [--figure auroc|f1|f1_known]

BENCH is the folder of `labelsieve bench`. For each tower, data set and noise: the method's figure
less that of the peer with the highest mean over seeds, on the same images. The interval holds 95 %
of the differences in 1,000 data sets drawn from the images, with replacement and the same for both,
each time of seeds drawn with replacement, too: it has the chance of images and that of seeds.
The peer is chosen on the data it is then compared on, which flatters the peer.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import f1_score, roc_auc_score

from labelsieve.bench.cell import judged
from labelsieve.runs.run import Run

DRAWS = 1_000
# by method and seed: p_clean, flags and errors of the same images in the same order
Cells = dict[str, dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]


def auroc(p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> float:
    return (
        float(roc_auc_score(wrong, -p_clean)) if 0 < wrong.sum() < len(wrong) else 0.5
    )


def f1(p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> float:
    return float(f1_score(wrong, flagged, zero_division=0.0))


def f1_known(p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> float:
    first = np.argsort(p_clean, kind="stable")[: int(wrong.sum())]
    return float(wrong[first].mean()) if len(first) else 0.0


FIGURES = {"auroc": auroc, "f1": f1, "f1_known": f1_known}


def cells_of(bench: Path) -> dict[tuple[str, str, str], Cells]:
    """Finished cells by tower, data and noise."""
    groups: dict[tuple[str, str, str], Cells] = defaultdict(lambda: defaultdict(dict))
    for row in pq.read_table(bench / "results.parquet").to_pylist():
        if row["state"] != "done":
            continue
        opened = Run(bench / row["folder"] / "run")
        truth = opened.truth()
        if truth is not None:
            group = groups[row["tower"], row["data"], row["noise"]]
            group[row["method"]][row["seed"]] = judged(opened.scores, truth)
    return groups


def difference(ours: dict, peer: dict, figure: str) -> tuple[float, float, float]:
    """Mean difference over seeds, and its interval."""
    measure = FIGURES[figure]
    seeds = sorted(set(ours) & set(peer))
    exact = [measure(*ours[s]) - measure(*peer[s]) for s in seeds]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        chosen = rng.choice(seeds, len(seeds))
        # planted errors differ from seed to seed, and so do the images that are right
        rows = rng.integers(len(ours[seeds[0]][2]), size=len(ours[seeds[0]][2]))
        drawn = []
        for seed in chosen:
            a = measure(*(values[rows] for values in ours[seed]))
            b = measure(*(values[rows] for values in peer[seed]))
            drawn.append(a - b)
        draws.append(np.mean(drawn))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.mean(exact)), float(low), float(high)


def best_peer(cells: Cells, method: str, figure: str) -> str | None:
    """The other method with the highest mean; presets of the method are no peers."""
    means = {}
    for name, seeds in cells.items():
        if name.split()[0].rstrip(",") != method.split()[0]:
            means[name] = np.mean(
                [FIGURES[figure](*values) for values in seeds.values()]
            )
    return max(means, key=lambda name: means[name]) if means else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--method", default="deft")
    parser.add_argument("--figure", choices=FIGURES, default="auroc")
    options = parser.parse_args()
    print(
        f"| tower | data | noise | best peer | {options.figure}: difference, 95 % | seeds |"
    )
    print("| --- | --- | --- | --- | ---: | ---: |")
    for (tower, data, noise), cells in cells_of(options.bench).items():
        peer = best_peer(cells, options.method, options.figure)
        if options.method not in cells or peer is None:
            continue
        ours = cells[options.method]
        mean, low, high = difference(ours, cells[peer], options.figure)
        interval = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        print(
            f"| {tower} | {data} | {noise} | {peer} | {interval} | {len(ours)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
