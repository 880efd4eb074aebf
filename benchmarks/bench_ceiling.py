"""What features of a tower would support if the truth were known: rows of an oracle.

    python benchmarks/bench_ceiling.py --data-root DATA [--models tiny benchmarks/tower]

No method: everything here has seen true labels. On the tables of CIFAR-10N and CIFAR-100N below
DATA, the images that `labelsieve bench offline` draws, and features averaged over four corners
(`labelsieve.features.cached.Corners`), AUROC for wrong labels and F1 with as many flagged as are
wrong, of rankings by P(given label):

    probe       a linear probe trained on true labels, out of fold, times the true T
    text        zero-shot answers at the model's temperature, times the true T
    both        the product of the two, times the true T

T[k, y] is counted from true and given labels. Labels are judged by P(y | x, y) as DeFT's are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.estimation.calibration import of_given, reweigh
from labelsieve.features import probe
from labelsieve.features.cached import Corners
from labelsieve.features.task import Task
from labelsieve.models.load import load_encoder
from labelsieve.noise import planting
from labelsieve.noise.context import Plan

SETS = {
    "cifar10n.parquet": (
        "worse_label",
        "random_label1",
        "random_label2",
        "random_label3",
        "aggre_label",
    ),
    "cifar100n.parquet": ("noisy_label",),
}


def judge(vote: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """AUROC and F1 at the true number of errors of a vote [n, k] times the true T."""
    k = vote.shape[1]
    matrix = np.full((k, k), 1e-3)  # so that no confusion is impossible
    np.add.at(matrix, (true, given), 1)
    matrix /= matrix.sum(1, keepdims=True)
    right = of_given(reweigh(vote.astype(np.float64), matrix[:, given].T), given)
    wrong = given != true
    first = np.argsort(right, kind="stable")[: int(wrong.sum())]
    return float(roc_auc_score(wrong, -right)), float(wrong[first].mean())


def rows_of(task: Task, true: np.ndarray) -> dict[str, tuple[float, float]]:
    """Figures of each oracle."""
    features = np.asarray(task.image_features(), dtype=np.float32)
    k = len(task.data.classes)
    learned = probe.cross_validated(features, true, k, task.seed).astype(np.float64)
    text = task.zero_shot().probs().astype(np.float64)
    both = reweigh(learned.clip(1e-12), text.clip(1e-12))
    votes = {"probe": learned, "text": text, "both": both}
    return {name: judge(vote, task.data.labels, true) for name, vote in votes.items()}


def tasks(path: Path, column: str, model: str, limit: int) -> tuple[Task, np.ndarray]:
    """The images of a cell of the bench, and their true classes."""
    columns = {"image_column": "image", "id_column": "index"}
    spec = load(path, label_column="clean_label", **columns)
    encoder = load_encoder(model)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        # recorded labels, of images that are drawn as the bench draws them
        plan = Plan("recorded", recorded=column, limit=limit)
        planting.plant(spec, plan, table)
        planted = load(
            table,
            image_column="image",
            label_column="given_label",
            truth_column="true_label",
            id_column="id",
            template=spec.template,
        )
        prepared = prepare(planted, encoder.preprocess)
        task = Task(prepared.dataset, encoder, look=Corners())
        task.image_features()
    names = {name: number for number, name in enumerate(prepared.dataset.classes)}
    assert prepared.manifest.truth is not None
    truth = dict(
        zip(
            prepared.manifest.truth["sample_id"].to_pylist(),
            prepared.manifest.truth["true_label"].to_pylist(),
            strict=True,
        )
    )
    ids = prepared.dataset.ids.to_pylist()
    missing = {str(label) for label in truth.values()} - set(names)
    if missing:
        sys.exit(
            f"error: no image of '{path}' is labelled {', '.join(sorted(missing))} in {column}. "
            "Take more with --limit."
        )
    return task, np.array([names[str(truth[i])] for i in ids])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["tiny", "benchmarks/tower"])
    parser.add_argument("--limit", type=int, default=4_000)
    options = parser.parse_args()
    print(
        "| tower | labels | oracle probe | oracle text × T | oracle probe × text × T |"
    )
    print("| --- | --- | ---: | ---: | ---: |")
    for model in options.models:
        for name, columns in SETS.items():
            for column in columns:
                task, true = tasks(
                    options.data_root / name, column, model, options.limit
                )
                cells = [
                    f"{f1:.3f} / {auc:.3f}" for auc, f1 in rows_of(task, true).values()
                ]
                print(
                    f"| {Path(model).name} | {column} |",
                    " | ".join(cells),
                    "|",
                    flush=True,
                )


if __name__ == "__main__":
    main()
