"""How well scores find pictures that belong to no class, and wrong labels among the others.

    python benchmarks/bench_open_set.py DATA.parquet --model tiny --methods capro,knn --seeds 0,1

An empty cell of `clean_label` says that a picture belongs to no class. Columns: AUROC of all
outsiders against the rest; against other wrong labels; and, in the last three, AUROC of p_clean
for wrong labels without outsiders, outsiders that have the status, and pictures that have it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import labelsieve as ls
from labelsieve.runs.run import Run

SCORES = ("score", "distance", "similarity", "energy")


def joined(run: Run) -> dict[str, Any]:
    """Columns of the scores of a run, with the truth in the same order, by id."""
    truth = run.truth()
    assert truth is not None
    of = dict(zip(*(truth[c].to_pylist() for c in truth.column_names), strict=True))
    rows = {name: run.scores[name].to_pylist() for name in run.scores.column_names}
    rows["truth"] = [of[i] for i in rows["sample_id"]]
    return rows


def figures(run: Run) -> dict[str, tuple[float, ...]]:
    """Name of a score -> its figures."""
    rows = joined(run)
    outside = np.array([t is None for t in rows["truth"]])
    pairs = zip(rows["truth"], rows["given_label"], strict=True)
    wrong = np.array([t is not None and t != g for t, g in pairs])
    p_wrong = 1 - np.array(rows["p_clean"])
    status = np.array(rows["status"]) == "outsider"
    scores = {"1 - p_clean": p_wrong}
    for name in SCORES:
        if f"outsider_{name}" in rows:
            scores[name] = np.array(rows[f"outsider_{name}"])
    bad = outside | wrong
    of_labels = roc_auc_score(wrong[~outside], p_wrong[~outside])
    found = {}
    for name, score in scores.items():
        found[name] = (
            roc_auc_score(outside, score),
            roc_auc_score(outside[bad], score[bad]),
            of_labels,
            float((status & outside).sum()),
            float(status.sum()),
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--methods", default="capro,zero-shot,knn,aum")
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    data = ls.load(
        options.data,
        image_column="image",
        label_column="label",
        id_column="id",
        truth_column="clean_label",
    )
    print("method, score: outsiders, against wrong, wrong labels, found, said")
    for method in options.methods.split(","):
        every = []
        for seed in options.seeds.split(","):
            with tempfile.TemporaryDirectory() as folder:
                words: dict[str, Any] = {"method": method, "model": options.model}
                run = ls.scan(data, output=Path(folder), seed=int(seed), **words)
                every.append(figures(run))
        for name in every[0]:
            means = np.mean([one[name] for one in every], axis=0)
            shown = ", ".join(f"{v:.3f}" for v in means[:3])
            print(f"{method}, {name}: {shown}, {means[3]:.0f}, {means[4]:.0f}")


if __name__ == "__main__":
    main()
