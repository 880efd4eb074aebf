"""Whether the probability that a label is wrong means what it says, method by method.

    python benchmarks/bench_calibration.py TABLE --labels COLUMN ... --truth COLUMN --rows 0:4000
        [--image image] [--id index] [--models tiny benchmarks/tower]
        [--methods deft zero-shot:transition knn:corners] [--reliability]

For some rows of a Parquet table with known truth: the calibration error (15 bins) and Brier score
of P(wrong), the former also after an audit of 100 random labels (`--audit`, mean of three audits,
on the rest; `labelsieve.estimation.audits.answers`), AUROC and F1 for wrong labels, the share that
is wrong and what the probabilities expect, how many suggestions are said to be right with .9
(`--sure`) or more, and how many are, and what the first method has less or more than each other
one, with the interval that holds 95 % of the differences in data sets drawn from these images with
replacement, the same for both.

After a colon stands a preset of the method, or a setting that is turned on. The truth itself may be
among the labels: what is flagged or surely suggested then is so in clean data.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from bench_differences import auroc, f1

from labelsieve import registry
from labelsieve.data.dataset import Prepared, prepare
from labelsieve.data.load import load
from labelsieve.estimation import metrics
from labelsieve.estimation.audits.answers import Answers, Learner
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.models.load import load_encoder
from labelsieve.runs.standing import best_other
from labelsieve.settings import resolve

AUDITS = 3  # whose mean is shown
DRAWS = 100  # for an interval's ends to two digits
FROZEN = (
    "zero-shot",
    "knn",
    "confident-learning",
    "lemon",
    "clip-cleaner",
    "transport",
    "aum",
)


def true_classes(prepared: Prepared) -> np.ndarray:
    """[n] class of each image, -1 where it is not known."""
    truth = prepared.manifest.truth
    assert truth is not None
    columns = (truth["sample_id"].to_pylist(), truth["true_label"].to_pylist())
    known = dict(zip(*columns, strict=True))
    number = {name: i for i, name in enumerate(prepared.dataset.classes)}
    ids = prepared.dataset.ids.to_pylist()
    return np.array([number.get(str(known.get(i)), -1) for i in ids])


def row(
    evidence: Evidence,
    labels: np.ndarray,
    true: np.ndarray,
    audited: float,
    least: float,
) -> str:
    """Figures of one method over the images whose truth is known.

    audited: calibration error after an audit.
    least: probability from which on suggestions are counted.
    """
    known = true >= 0
    p_clean = evidence.p_clean[known]
    wrong = (labels != true)[known]
    found = metrics.detection(p_clean, evidence.flagged[known], wrong)
    suggested = evidence.suggested
    sure = evidence.probs[np.arange(len(labels)), suggested] >= least
    sure &= evidence.flagged & known & (suggested != labels)
    right = (suggested == true)[sure].mean() if sure.any() else float("nan")
    figures = [
        found["ece"],
        audited,
        found["brier"],
        found["auroc"] or float("nan"),
        found["f1"],
    ]
    text = " | ".join(f"{value:.3f}" for value in figures)
    rates = f"{wrong.mean():.3f} | {1 - p_clean.mean():.3f}"
    return f"{text} | {rates} | {evidence.flagged.mean():.3f} | {sure.sum()}: {right:.3f} |"


def after_audit(
    evidence: Evidence, task: Task, true: np.ndarray, answers: int
) -> float:
    """Calibration error of what nobody was asked about, with answers about random images."""
    labels = task.data.labels
    other, _ = best_other(evidence.probs, labels)
    features = np.asarray(task.image_features())
    learner = Learner(1 - evidence.p_clean, labels, other, features)
    known = np.flatnonzero(true >= 0)
    errors = []
    for audit in range(AUDITS):
        rows = np.random.default_rng(audit).permutation(known)
        seen, rest = rows[:answers], rows[answers:]
        said = learner.p_wrong(Answers(seen, (labels != true)[seen], true[seen]))
        wrong = (labels != true)[rest]
        errors.append(metrics.calibration_error(said[rest], wrong, 15))
    return float(np.mean(errors))


Judged = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # p_clean, flags, wrong, as `f1` takes


def ahead(first: Judged, other: Judged) -> str:
    """Differences in F1 and AUROC with their intervals."""
    rng = np.random.default_rng(0)
    n = len(first[0])
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(n, size=n)
        drawn.append(gaps(*([v[rows] for v in each] for each in (first, other))))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    cells = zip(gaps(first, other), low, high, strict=True)
    return " | ".join(f"{gap:+.3f} ({a:+.3f} to {b:+.3f})" for gap, a, b in cells)


def gaps(first: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> list[float]:
    """What the first has more, in F1 and AUROC."""
    return [figure(*first) - figure(*other) for figure in (f1, auroc)]


def judged(evidence: Evidence, labels: np.ndarray, true: np.ndarray) -> Judged:
    known = true >= 0
    return evidence.p_clean[known], evidence.flagged[known], (labels != true)[known]


def detected(task: Task, name: str) -> Evidence:
    """What a method says, with a preset or a setting after a colon."""
    method = registry.load("methods", name.partition(":")[0])
    chosen = name.partition(":")[2]
    # the default is a preset like others, and not the same as no preset
    preset = method.PRESETS[chosen if chosen in method.PRESETS else "default"]
    settings = {} if chosen in ("", *method.PRESETS) else {chosen: True}
    evidence: Evidence = method.detect(task, resolve(method.Settings, preset, settings))
    return evidence


def reliability(evidence: Evidence, labels: np.ndarray, true: np.ndarray) -> None:
    known = true >= 0
    p_wrong = 1 - evidence.p_clean[known]
    for tenth in metrics.honesty(p_wrong, (labels != true)[known])["reliability"]:
        said = f"from {tenth['low']:.1f}: {tenth['images']:5d} images, said {tenth['said']:.3f}"
        print(f"    {said}, are wrong {tenth['wrong']:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--rows", default="0:4000")
    parser.add_argument("--image", default="image")
    parser.add_argument("--id", default="index")
    parser.add_argument("--models", nargs="+", default=["tiny", "benchmarks/tower"])
    parser.add_argument("--methods", nargs="+", default=FROZEN)
    parser.add_argument("--sure", type=float, default=0.9)
    parser.add_argument("--audit", type=int, default=100)
    parser.add_argument("--reliability", action="store_true")
    options = parser.parse_args()
    first, last = map(int, options.rows.split(":"))
    surely = f"suggestions from {options.sure:g}: right"
    errors = f"ECE | ECE after {options.audit} answers | Brier"
    head = f"{errors} | AUROC | F1 | wrong | expected | flagged | {surely}"
    more = "first method's F1 less | AUROC less"
    print(f"| tower | labels | method | {head} | {more} |")
    print("| --- | --- | --- |" + " ---: |" * 11)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "rows.parquet"
        pq.write_table(pq.read_table(options.table).slice(first, last - first), part)
        for model in options.models:
            for label in options.labels:
                measure(part, label, model, options)


def measure(part: Path, label: str, model: str, options: argparse.Namespace) -> None:
    """The rows of the table that are about one model and one column of labels."""
    columns = {"image_column": options.image, "id_column": options.id}
    spec = load(part, label_column=label, truth_column=options.truth, **columns)
    encoder = load_encoder(model)
    prepared = prepare(spec, encoder.preprocess)
    task = Task(prepared.dataset, encoder)
    true = true_classes(prepared)
    start = None
    for name in options.methods:
        evidence = detected(task, name)
        audited = after_audit(evidence, task, true, options.audit)
        figures = row(evidence, task.data.labels, true, audited, options.sure)
        now = judged(evidence, task.data.labels, true)
        start = start or now
        differences = " | " if now is start else ahead(start, now)
        print(
            f"| {Path(model).name} | {label} | {name} | {figures} {differences} |",
            flush=True,
        )
        if options.reliability:
            reliability(evidence, task.data.labels, true)


if __name__ == "__main__":
    main()
