"""Accuracy of fine-tuned text encoders: all given labels against those that a scan keeps.

    python benchmarks/bench_text_train.py agnews.parquet --test agnews-test.parquet \\
        --model MINILM --out results [--rows 1500] [--draws 3] [--set tune=lora]

Columns: text, label; of the test, all labels right. Each draw is a part of the data of its own, so
many rows after one another, scanned with the defaults and trained on twice by `train --student`,
which only `use` differs in: `all`, or `clean`, what is not flagged. The same texts are kept aside
to choose the epoch, and both are judged on the same test texts. The difference has an interval of
95 % from a bootstrap over the test texts, the same ones for both. What each model answered is kept
in --out: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from timing import table

from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.train import TrainOptions, train
from labelsieve.classifiers.training_set import Use
from labelsieve.data.load import load
from labelsieve.files import read_json, write_json
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run
from labelsieve.settings import parse_sets

USES: tuple[Use, ...] = ("all", "clean")
REPLICATES = 2_000
BATCH = 64


def answers(classifier: Classifier, texts: list[str], labels: list[str]) -> list[bool]:
    """Which of the test texts it gets right."""
    # texts of one length together are padded least
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    said = classifier.predict([texts[i] for i in order], batch_size=BATCH)
    right = [False] * len(texts)
    for i, label in zip(order, said, strict=True):
        right[i] = label == labels[i]
    return right


def drawn(given: argparse.Namespace, draw: int) -> Path:
    """The part of the data that a draw is, as a file of its own."""
    path: Path = given.out / f"part{draw}.parquet"
    if not path.exists():
        part = pq.read_table(given.data).slice(draw * given.rows, given.rows)
        pq.write_table(part, path)
    return path


def scanned(given: argparse.Namespace, draw: int) -> Run:
    data = load(drawn(given, draw), text_column="text", label_column="label")
    return scan(data, output=given.out / f"run{draw}", model=given.model)


def measured(given: argparse.Namespace, draw: int, use: Use) -> list[bool]:
    """Right or wrong, text by text of the test, after training on a part of a draw."""
    kept = given.out / f"{draw}-{use}.json"
    if kept.exists():
        found: list[bool] = read_json(kept)["right"]
        return found
    options = TrainOptions(
        student=given.model, use=use, settings=parse_sets(given.set), seed=draw
    )
    folder = given.out / f"classifier{draw}-{use}"
    classifier = train(scanned(given, draw), output=folder, options=options)
    test = pq.read_table(given.test).slice(0, given.tested)
    columns = (test["text"].to_pylist(), test["label"].to_pylist())
    right = answers(classifier, *columns)
    write_json(kept, {"right": right})
    return right


def difference(right: np.ndarray) -> tuple[float, float, float]:
    """Mean over the draws of what `clean` is better by, in points, and its interval.

    Args:
        right: [draws, 2, texts] bool, `USES` in order.
    """
    gain = 100 * (right[:, 1].astype(float) - right[:, 0]).mean(0)
    rng = np.random.default_rng(0)
    means = [
        gain[rng.integers(len(gain), size=len(gain))].mean() for _ in range(REPLICATES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_500, help="of each draw")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tested", type=int, help="test texts; all")
    parser.add_argument("--set", nargs="*", default=["tune=lora", "epochs=1"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    results = []
    for draw in range(given.draws):
        right = np.array([measured(given, draw, use) for use in USES])
        results.append(right)
        means = [f"{100 * value:.1f}" for value in right.mean(1)]
        gain, low, high = difference(right[None])
        rows.append([str(draw), *means, f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"])
        print(rows[-1], flush=True)
    gain, low, high = difference(np.array(results))
    both = [f"{100 * v:.1f}" for v in np.array(results).mean((0, 2))]
    rows.append(["mean", *both, f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"])
    table("Accuracy, %", ["draw", *USES, "points more"], rows)


if __name__ == "__main__":
    main()
