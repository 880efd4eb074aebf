"""What a person gains from a run that learns from answers: errors found, and honest numbers.

    python benchmarks/bench_reviewing.py RUN... [--seeds 3] [--audit 100]

Each RUN is a finished scan whose truth is known (labelsieve scan --truth-column). The true labels
play the person: suspects are looked at in batches of ten, the most suspicious first; a wrong label
gets its true class, a wrong set its true classes. Each seed leaves out a random tenth of the
images, and draws its own audit.

For the order of the scan and for the run as it stands (labelsieve.runs.standing): wrong labels
found after 100, 300 and 600 answers, and the calibration error (15 bins) of P(wrong) on the rest.
Last, the seconds of one update. Of runs with one label each also for an oracle that saw all true
labels: a linear probe of them, out of fold, times the true T. It has no class names, so a scan
that reads them may be ahead; then answers have hardly anything left to teach.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET
from labelsieve.estimation.calibration import of_given, reweigh
from labelsieve.estimation.metrics import calibration_error
from labelsieve.features import probe
from labelsieve.runs import standing
from labelsieve.runs.decisions import Decision
from labelsieve.runs.run import Run
from labelsieve.runs.sets.standing import SetScanned
from labelsieve.runs.standing import Scanned
from labelsieve.tables import RowsOf

STOPS = (100, 300, 600)  # answers
BATCH = 10
LEFT_OUT = 0.1  # of the images, for each seed


@dataclass
class Person:
    """Answers with the truth.

    right: [n] object, the label or set of each image as a text, None of none of the classes.
    """

    scanned: Any
    right: np.ndarray

    def __post_init__(self) -> None:
        self.ids = self.scanned.ids.to_pylist()
        self.wrong = self.right != self.scanned.untouched().labels
        self.answers: dict[str, Decision] = {}

    def look(self, rows: np.ndarray) -> int:
        """Decide about some images; gives how many of their labels were wrong."""
        for row in rows:
            verdict, label = "keep", None
            if self.wrong[row]:
                label = self.right[row]
                verdict = "none" if label is None else "other"
            number = len(self.answers) + 1
            decision = Decision(
                number, self.ids[row], verdict, label, "bench", "", None
            )
            self.answers[self.ids[row]] = decision
        return int(self.wrong[rows].sum())


@dataclass
class Review:
    """One simulated review: by stop, errors found and calibration error; seconds of updates."""

    found: dict[int, int]
    errors: dict[int, float]
    seconds: list[float]


def review(
    scanned: Any, right: np.ndarray, audited: np.ndarray, learns: bool
) -> Review:
    """Look at `STOPS[-1]` images after the audited ones."""
    person = Person(scanned, right)
    person.look(audited)
    result = Review({}, {}, [])
    now = scanned.untouched()
    found = 0
    for count in range(0, STOPS[-1] + 1, BATCH):
        p_wrong = now.p_wrong
        if learns and person.answers:
            start = time.perf_counter()
            current = now.updated(person.answers)
            result.seconds.append(time.perf_counter() - start)
            check(current)
            p_wrong = current.p_wrong
        open_ = np.array([i not in person.answers for i in person.ids])
        if count in STOPS:
            result.found[count] = found
            said, holds = p_wrong[open_], person.wrong[open_]
            result.errors[count] = calibration_error(said, holds, 15)
        order = np.argsort(np.where(open_, -p_wrong, np.inf), kind="stable")
        found += person.look(order[: min(BATCH, int(open_.sum()))])
    return result


def check(now: Any) -> None:
    """Nothing may contradict itself."""
    other = now.suggested != now.given
    if (now.p_wrong[other] < now.suggested_prob[other] - 1e-6).any():
        sys.exit("P(wrong) is below the probability of a suggestion.")


def read(folder: str) -> tuple[Any, np.ndarray]:
    """A run and the true labels of its images; those whose truth is not known are left out."""
    opened = Run(folder)
    truth = opened.truth()
    if truth is None:
        sys.exit(f"'{folder}' was scanned without --truth-column.")
    scanned = standing.read(opened)
    rows = pc.index_in(scanned.ids, truth["sample_id"].combine_chunks())
    labels = truth["true_label"].combine_chunks().take(rows)
    known = np.flatnonzero(pc.is_valid(labels).to_numpy(zero_copy_only=False))
    right = labels.to_numpy(zero_copy_only=False)
    if opened.kind != SET:
        # what is none of the classes has no right one
        right[~np.isin(right.astype(str), scanned.classes)] = None
    return take(scanned, known), right[known]


def oracle(scanned: Scanned, right: np.ndarray) -> Scanned:
    """The run as if it had been judged by a probe of the true labels, and with the true T."""
    assert scanned.features is not None
    k = len(scanned.classes)
    number = {name: i for i, name in enumerate(scanned.classes)}
    # what is none of the classes teaches the probe nothing; its label is wrong all the same
    known = np.array([label is not None for label in right])
    true = np.array([number.get(label, -1) for label in right])
    given = scanned.given
    vote = np.full(scanned.probs.shape, 1 / k)
    seen = np.asarray(scanned.features[:], dtype=np.float32)[known]
    vote[known] = probe.cross_validated(seen, true[known], k, 0)
    matrix = np.full((k, k), 1e-3)  # so that no confusion is impossible
    np.add.at(matrix, (true[known], given[known]), 1)
    matrix /= matrix.sum(1, keepdims=True)
    probs = reweigh(vote, matrix[:, given].T)
    p_clean = of_given(probs, given)
    return replace(scanned, p_clean=p_clean, probs=probs.astype(np.float32))


def take(scanned: Any, rows: np.ndarray) -> Any:
    """Some images of a run."""
    ids = scanned.ids.take(pa.array(rows))
    if isinstance(scanned, SetScanned):
        names = ("given", "suggested", "probs", "p_clean", "issue")
        some = {name: getattr(scanned, name)[rows] for name in names}
        return replace(scanned, ids=ids, **some)
    features = scanned.features
    if features is not None:
        features = replace(features, rows=features.rows[rows])
    return Scanned(
        ids,
        scanned.classes,
        scanned.given[rows],
        scanned.p_clean[rows],
        scanned.probs[rows],
        scanned.issue[rows],
        features,
        scanned.outside[rows],
        RowsOf(ids),
    )


def simulate(folder: str, seeds: int, audit: int) -> dict[str, list[Review]]:
    """Reviews of a run with each seed, by what orders them."""
    scanned, right = read(folder)
    reviews: dict[str, list[Review]] = {"scan": [], "as it stands": []}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        count = round((1 - LEFT_OUT) * len(right))
        kept = np.sort(rng.permutation(len(right))[:count])
        some, truth = take(scanned, kept), right[kept]
        audited = rng.choice(len(truth), audit, replace=False)
        for name, learns in (("scan", False), ("as it stands", True)):
            reviews[name].append(review(some, truth, audited, learns))
        if isinstance(some, Scanned) and some.features is not None:
            known = oracle(some, truth)
            reviews.setdefault("oracle", []).append(
                review(known, truth, audited, learns=False)
            )
    return reviews


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--audit", type=int, default=0, help="random answers before")
    options = parser.parse_args()
    head = [f"found {n} | ECE" for n in STOPS]
    print("| run | order |", " | ".join(head), "| seconds |")
    print("| --- | --- |", " | ".join(["---: | ---:"] * len(STOPS)), "| ---: |")
    for folder in options.runs:
        for name, reviews in simulate(folder, options.seeds, options.audit).items():
            cells = []
            for stop in STOPS:
                found = [r.found[stop] for r in reviews]
                errors = [r.errors[stop] for r in reviews]
                cells.append(f"{statistics.mean(found):.1f}")
                cells.append(f"{statistics.mean(errors):.3f}")
            seconds = [s for r in reviews for s in r.seconds]
            cells.append(f"{statistics.median(seconds):.3f}" if seconds else "")
            print(
                f"| {Path(folder).name} | {name} |", " | ".join(cells), "|", flush=True
            )


if __name__ == "__main__":
    main()
