"""Every method on texts with errors by people, beside cleanlab, on the same embeddings.

    python benchmarks/bench_text.py DATA.parquet --model FOLDER --kept vectors.npz
    python benchmarks/bench_text.py DATA.parquet --model FOLDER --first 3000 --methods deft,knn

Columns of the data: text, label, clean_label. Texts are embedded once (`--kept` keeps the vectors).
F1, AUROC and AP of finding wrong labels, with intervals of 95 % from a bootstrap over the texts;
the share that is said to be wrong, and the calibration error of that probability in 15 bins.
With `--test` (columns text, label, all right): accuracy of a linear classifier trained on all
given labels, on those that each method keeps, and on these with its suggestions in place of the
others; mean and standard deviation over five draws of four fifths of the texts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from labelsieve import registry
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.errors import LabelsieveError
from labelsieve.estimation import metrics
from labelsieve.features.task import Task
from labelsieve.models.load import load_encoder
from labelsieve.settings import resolve

REPLICATES = 200
DRAWS, PART = 5, 0.8  # of training sets, and the share of the texts in each
# Besides the default preset of every method.
PRESETS = ("knn:balanced", "knn:bayes")
BATCH = 256


def embedded(encoder: Any, texts: list[str], kept: Path | None) -> np.ndarray:
    """[n, d] float32, from the file where it is there."""
    if kept is not None and kept.exists():
        vectors: np.ndarray = np.load(kept)["x"]
        if len(vectors) != len(texts):
            raise SystemExit(f"'{kept}' holds vectors of {len(vectors)} other texts.")
        return vectors
    parts = []
    with torch.no_grad():
        for start in range(0, len(texts), BATCH):
            parts.append(encoder.text_features(texts[start : start + BATCH]).numpy())
    vectors = np.concatenate(parts)
    if kept is not None:
        np.savez(kept, x=vectors)
    return vectors


def remembering(encoder: Any, texts: list[str], vectors: np.ndarray) -> Any:
    """The encoder, which looks up what it has embedded; class names it reads."""
    known = {
        text.strip(): torch.from_numpy(v)
        for text, v in zip(texts, vectors, strict=True)
    }
    read, features = encoder.normalise, encoder.image_features

    def normalise(given: Any) -> Any:
        # blank texts of a try-out and prompts are not among them
        found = [known.get(text.strip()) for text in given]
        return read(given) if any(one is None for one in found) else found

    def image_features(inputs: Any, prompts: Any = None) -> Any:
        if isinstance(inputs, list):
            return torch.stack(inputs)
        return features(inputs)

    encoder.normalise, encoder.image_features = normalise, image_features
    return encoder


def task_of(table: Any, encoder: Any, seed: int) -> tuple[Task, np.ndarray]:
    """A task, and which of its labels [n] are wrong."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    spec = load(columns, truth_column="clean_label", template="This text is about {}.")
    prepared = prepare(spec, encoder.preprocess)
    true = prepared.manifest.truth
    assert true is not None
    truth = dict(zip(*(c.to_pylist() for c in true.columns), strict=True))
    data = prepared.dataset
    given = [data.classes[k] for k in data.labels]
    known = [truth[i] for i in data.ids.to_pylist()]
    return Task(data, encoder, seed), np.array(given) != np.array(known)


Judged = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]


def baselines(task: Task) -> Judged:
    """Name -> p_clean [n] and flagged [n] of a probe, and of cleanlab's defaults on it."""
    labels, probs = task.data.labels, np.asarray(task.out_of_fold(), dtype=np.float64)
    given = probs[np.arange(len(labels)), labels]
    found: Judged = {"probe (own)": (given, probs.argmax(1) != labels, probs.argmax(1))}
    try:
        from cleanlab import Datalab
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return found
    score = get_label_quality_scores(labels, probs)
    found["cleanlab"] = (score, find_label_issues(labels, probs), probs.argmax(1))
    try:
        lab = Datalab({"label": labels}, label_name="label", verbosity=0)
    except ImportError:
        return found  # it needs the package datasets
    features = np.asarray(task.image_features(), dtype=np.float64)
    lab.find_issues(pred_probs=probs, features=features, issue_types={"label": {}})
    issues = lab.get_issues("label")
    flagged = issues["is_label_issue"].to_numpy()
    found["Datalab"] = (issues["label_score"].to_numpy(), flagged, probs.argmax(1))
    return found


def figures(p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> list[float]:
    """F1, AUROC and AP."""
    return [
        float(f1_score(wrong, flagged)),
        float(roc_auc_score(wrong, -p_clean)),
        float(average_precision_score(wrong, -p_clean)),
    ]


def intervals(
    p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray
) -> list[tuple[float, float]]:
    """Of each figure the 2.5th and the 97.5th percentile."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(REPLICATES):
        rows = rng.integers(len(wrong), size=len(wrong))
        drawn.append(figures(p_clean[rows], flagged[rows], wrong[rows]))
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def accuracy(
    task: Task,
    labels: np.ndarray,
    keep: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
) -> str:
    """Of a linear classifier of the embeddings, trained on labels [n] of rows `keep`."""
    x = np.asarray(task.image_features(), dtype=np.float32)
    reached = []
    for seed in range(DRAWS):
        # the same draws for every method
        drawn = np.random.default_rng(seed).random(len(labels)) < PART
        rows = np.flatnonzero(keep & drawn)
        model = LogisticRegression(C=10, max_iter=300).fit(x[rows], labels[rows])
        reached.append(100 * model.score(*test))
    return f"{np.mean(reached):.1f} ± {np.std(reached, ddof=1):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--first", type=int, default=0, help="row to begin at")
    parser.add_argument("--rows", type=int, help="so many; all")
    parser.add_argument("--methods", help="names, by commas; all")
    parser.add_argument("--test", type=Path)
    parser.add_argument("--test-kept", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    encoder = load_encoder(given.model)
    table = pq.read_table(given.data)
    texts = table["text"].to_pylist()
    vectors = embedded(encoder, texts, given.kept)
    test = None
    if given.test is not None:
        right = pq.read_table(given.test)
        test = embedded(encoder, right["text"].to_pylist(), given.test_kept), right
    part = table.slice(given.first, given.rows)
    task, wrong = task_of(part, remembering(encoder, texts, vectors), given.seed)
    answers = None
    if test is not None:
        number = {name: k for k, name in enumerate(task.data.classes)}
        y = np.array([number[label] for label in test[1]["label"].to_pylist()])
        answers = test[0], y
    print(f"{len(wrong):,} texts, {wrong.mean():.1%} wrong, {given.model}")
    judged = baselines(task)
    for name in (
        given.methods.split(",")
        if given.methods
        else [*registry.names("methods"), *PRESETS]
    ):
        called, _, preset = name.partition(":")
        method = registry.load("methods", called)
        if "single" not in method.JUDGES:
            continue
        if "pixels" in method.NEEDS and not hasattr(method, "WITHOUT_PIXELS"):
            continue
        try:
            chosen = method.PRESETS[preset or "default"]
            evidence = method.detect(task, resolve(method.Settings, chosen, {}))
        except LabelsieveError as error:
            print(f"{name}: {error}")
            continue
        # where nothing better is suggested, a text is left out
        better = np.where(evidence.suggested < 0, task.data.labels, evidence.suggested)
        judged[name] = evidence.p_clean, evidence.flagged, better
    show(task, judged, wrong, answers)


def show(
    task: Task,
    judged: Judged,
    wrong: np.ndarray,
    test: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    """A row of a Markdown table for each, the best AUROC first."""
    head = "| method | F1 | AUROC | AP | said | ECE |"
    print(head + (" kept | relabelled |" if test else ""))
    print("| --- " * (8 if test else 6) + "|")
    order = sorted(judged, key=lambda n: -roc_auc_score(wrong, -judged[n][0]))
    for name in order:
        cells = [name]
        p_clean, flagged, better = judged[name]
        known = p_clean, flagged, wrong
        each = zip(figures(*known), intervals(*known), strict=True)
        for value, (low, high) in each:
            cells.append(f"{value:.3f} ({low:.3f}–{high:.3f})")
        # what one minus the score would mean as a probability; scores of others need mean none
        error = metrics.calibration_error(1 - p_clean, wrong, 15)
        cells += [f"{1 - p_clean.mean():.3f}", f"{error:.3f}"]
        if test and better is not None:
            given = task.data.labels
            labels = np.where(flagged, better, given)
            everything = ~flagged | (better != given)
            cells.append(accuracy(task, given, ~flagged, test))
            cells.append(accuracy(task, labels, everything, test))
        print(f"| {' | '.join(cells)} |", flush=True)
    if test:
        reached = accuracy(task, task.data.labels, np.ones(len(wrong), bool), test)
        print(f"\nTrained on all given labels: accuracy {reached}")


if __name__ == "__main__":
    main()
