"""What a second opinion on doubtful pictures is worth, and what its parts are.

    python benchmarks/bench_second_opinion.py cifar10n.parquet --label-column random_label1

A classifier (the probe of `tiny`) is trained on a scan; of the scanned pictures those about which
it is least sure are asked about again. Rows: without it, the mean of views alone, TPT, the step on
features, the step on tokens and its halves. Columns: share that is right, the difference to the
mean of views with its paired 95 % interval over pictures and seeds, processor seconds a picture.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import labelsieve as ls
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.predict import predict
from labelsieve.classifiers.train import train

FEATURES, TOKENS = "in-context", "in-context-tokens"
STILL = {"lr": 0.0}
TPT = {"answer": "picture", "strength": 0.0, "visual": False}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean of views": (FEATURES, STILL),
    "TPT on features": (FEATURES, TPT),
    "features": (FEATURES, {}),
    "tokens that stay": (TOKENS, STILL),
    "TPT on tokens": (TOKENS, TPT),
    "tokens": (TOKENS, {}),
    "tokens, no examples": (TOKENS, {"shots": 0}),
    "tokens, textual alone": (TOKENS, {"visual": False}),
}


def asked(options: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """Row -> (right [n] bool, seconds a picture) for the most doubtful pictures of one draw."""
    table = pq.read_table(options.data)
    drawn = np.random.default_rng(seed).permutation(len(table))[: options.limit]
    part = table.take(pa.array(np.sort(drawn)))
    pq.write_table(part, folder / "part.parquet")
    data = ls.load(
        folder / "part.parquet",
        image_column="image",
        label_column=options.label_column,
        truth_column="clean_label",
    )
    run = ls.scan(
        data, output=folder / "run", method="zero-shot", model="tiny", seed=seed
    )
    student = folder / "student"
    train(run.folder, student="tiny", recipe=options.recipe, output=student)
    opened = Classifier.from_pretrained(student, device="cpu", precision="float32")
    first = predict(opened, data, top_k=2)
    margin = pc.subtract(first["probability"], first["probability_2"]).to_numpy()
    rows = np.argsort(margin, kind="stable")[: options.count]
    # the same pictures under the same ids
    chosen = part.take(pa.array(rows))
    pq.write_table(chosen, folder / "chosen.parquet")
    doubtful = ls.load(
        folder / "chosen.parquet", image_column="image", label_column="clean_label"
    )
    truth = np.array([str(v) for v in chosen["clean_label"].to_pylist()])

    def right(found: pa.Table) -> np.ndarray:
        # rows come in the order of the data
        return np.array(found["label"].to_pylist()) == truth

    answers = {"without": (right(predict(opened, doubtful)), 0.0)}
    for name, (adapt, settings) in ROWS.items():
        if options.rows and name not in options.rows:
            continue
        start = time.process_time()
        own = {"views": options.views, **settings}
        found = predict(opened, doubtful, adapt=adapt, context=run.folder, settings=own)
        answers[name] = right(found), (time.process_time() - start) / len(truth)
    return answers


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap of the mean, 95 %."""
    generator = np.random.default_rng(0)
    size = len(differences)
    means = [differences[generator.integers(0, size, size)].mean() for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--label-column", default="random_label1")
    parser.add_argument("--recipe", default="probe")
    parser.add_argument("--limit", type=int, default=3000)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS))
    options = parser.parse_args()
    every: dict[str, list[Any]] = {}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            for name, answer in asked(options, seed, Path(folder)).items():
                every.setdefault(name, []).append(answer)
    base = np.concatenate([right for right, _ in every["mean of views"]])
    print("| row | right % | less the mean of views | CPU seconds a picture |")
    print("| --- | ---: | ---: | ---: |")
    for name, answers in every.items():
        right = np.concatenate([r for r, _ in answers])
        low, high = interval(right.astype(float) - base)
        gain = f"{100 * (right.mean() - base.mean()):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        cost = np.mean([seconds for _, seconds in answers])
        print(f"| {name} | {100 * right.mean():.1f} | {gain} | {cost:.3f} |")


if __name__ == "__main__":
    main()
