"""Do the promises hold, and what do they save? Audits repeated a thousand times on labels whose
truth is known, with good scores, useless ones and broken ones.

Needs arrays: a folder of .npz files (`--arrays`), each with features [n, d] of unit length,
zero_shot [n, k], clean_label [n] (-1: none of the classes) and columns of given labels [n].
Without, scikit-learn's digits with planted errors. Each column of each file with each method is a
cell.

Printed per kind of scores: the mean share of false alarms in certified lists (drawn from all
labels, and from the most suspicious alone), of wrong corrections, of wrong labels in certified
clean parts, how often more wrong labels than promised remained after a review, how often the
interval of the share of wrong labels missed it; the worst cell of each; and what the same would
cost by checking at random.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from timing import machine, table

from labelsieve.estimation.audits import shares, stop_rule
from labelsieve.estimation.audits.selection import select, share

Q = 0.1  # false alarms, and wrong corrections
CLEAN = 0.01  # wrong labels in a clean part
REMAIN = 0.02  # wrong labels that may remain
ALPHA = 0.05
ANSWERS = 300
REPORTED = {"features", "text", "cosines", "temperature", "zero_shot", "rows"}
REPORTED |= {"classes", "clean_label"}
BROKEN = ("random", "inverted", "one class wrong", "constant")


VALIDITY = [
    "promise",
    "at most",
    "scores",
    "cells",
    "mean",
    "worst cell",
    "above by more than chance",
]
POWER = [
    "labels",
    "n",
    "wrong",
    "method",
    "wrong labels listed, audit of all",
    "audit of a slice",
    "as many found at random",
    "clean part",
    f"answers until {REMAIN:.0%} remain",
    "at random",
    "rate: strata, uniform, classical",
]


@dataclass(frozen=True)
class Cell:
    """Labels, truth, and the scores of one method."""

    name: str
    method: str
    wrong: np.ndarray  # [n] bool
    truth: np.ndarray  # [n] int
    given: np.ndarray  # [n] int
    probs: np.ndarray  # [n, k]
    p_wrong: np.ndarray  # [n]


Row = tuple[Cell, dict[str, float]]


def cells(folder: Path | None, only: str) -> Iterator[Cell]:
    """All cells; broken scores only for the first file of each set."""
    files = sorted(folder.glob(f"*{only}*.npz")) if folder else []
    seen: set[str] = set()
    for file in files:
        arrays = dict(np.load(file, allow_pickle=False))
        columns = [c for c in arrays if c not in REPORTED]
        # digits come without wrong labels: they are planted
        planted = {} if columns else {"planted": plant(arrays["clean_label"])}
        for column in columns or planted:
            given = arrays[column] if columns else planted[column]
            name = f"{file.stem} {column}"
            kind = f"{file.stem.rpartition('-')[0]} {column}"
            yield from of_labels(name, arrays, given, broken=kind not in seen)
            seen.add(kind)
    if not files:
        arrays = digits()
        yield from of_labels("digits", arrays, plant(arrays["clean_label"]), True)


def digits() -> dict[str, np.ndarray]:
    """Handwritten digits, their pixels as features, distances to class means as answers."""
    from sklearn.datasets import load_digits

    pixels, truth = load_digits(return_X_y=True)
    features = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
    means = np.stack([features[truth == k].mean(0) for k in range(10)])
    logits = 20 * features @ (means / np.linalg.norm(means, axis=1)[:, None]).T
    return {
        "features": features,
        "zero_shot": softmax(logits),
        "clean_label": truth,
    }


def plant(truth: np.ndarray, rate: float = 0.1) -> np.ndarray:
    """Labels of which a share is wrong, to any other class alike."""
    rng = np.random.default_rng(0)
    k = int(truth.max()) + 1
    other = (truth + rng.integers(1, k, len(truth))) % k
    return np.where(rng.random(len(truth)) < rate, other, truth)


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def of_labels(
    name: str, arrays: dict[str, np.ndarray], given: np.ndarray, broken: bool
) -> Iterator[Cell]:
    truth = arrays["clean_label"]
    wrong = truth != given
    k = arrays["zero_shot"].shape[1]
    features = arrays["features"].astype(np.float64)
    opinions = {
        "zero-shot": arrays["zero_shot"].astype(np.float64),
        "knn": votes(features, given, k),
        "discriminant": discriminant(features, given, k),
    }
    opinions["mean"] = sum(opinions.values()) / 3
    rows = np.arange(len(given))
    for method, probs in opinions.items():
        p_wrong = 1 - probs[rows, given]
        yield Cell(name, method, wrong, truth, given, probs, p_wrong)
    if broken:
        yield from of_broken(name, wrong, truth, given, opinions["mean"])


def of_broken(
    name: str,
    wrong: np.ndarray,
    truth: np.ndarray,
    given: np.ndarray,
    probs: np.ndarray,
) -> Iterator[Cell]:
    """Scores that mislead: what is promised must hold all the same."""
    rng = np.random.default_rng(1)
    n, k = probs.shape
    good = 1 - probs[np.arange(n), given]
    scores = {
        "random": rng.random(n),
        "inverted": 1 - good,
        "one class wrong": np.where(given == 0, 1.0, good),
        "constant": np.full(n, 0.3),
    }
    for method, p_wrong in scores.items():
        mixed = np.repeat((p_wrong / (k - 1))[:, None], k, axis=1)
        mixed[np.arange(n), given] = 1 - p_wrong
        yield Cell(name, method, wrong, truth, given, mixed, p_wrong)


def votes(features: np.ndarray, given: np.ndarray, k: int) -> np.ndarray:
    """[n, k] shares of the labels of the 20 nearest others."""
    result = np.empty((len(given), k))
    for start in range(0, len(given), 1000):
        part = slice(start, start + 1000)
        near = features[part] @ features.T
        near[np.arange(len(near)), np.arange(len(given))[part]] = -np.inf
        nearest = np.argpartition(-near, 20, axis=1)[:, :20]
        for row, labels in enumerate(given[nearest]):
            result[start + row] = np.bincount(labels, minlength=k)
    return (result + 0.2 / k) / 20.2


def discriminant(features: np.ndarray, given: np.ndarray, k: int) -> np.ndarray:
    """[n, k] linear discriminant analysis in five folds: a probe in closed form."""
    fold = np.random.default_rng(2).integers(0, 5, len(given))
    result = np.empty((len(given), k))
    for number in range(5):
        known = fold != number
        x, y = features[known], given[known]
        counts = np.bincount(y, minlength=k)
        sums = np.zeros((k, x.shape[1]))
        np.add.at(sums, y, x)
        means = sums / np.maximum(counts, 1)[:, None]
        rest = x - means[y]
        spread = rest.T @ rest / len(x)
        # a ridge: some features are constant
        spread += 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread))
        weights = np.linalg.solve(spread, means.T)
        offset = -0.5 * (means.T * weights).sum(0) + np.log((counts + 1) / len(x))
        result[~known] = softmax(features[~known] @ weights + offset)
    return result


@dataclass(frozen=True)
class Listing:
    """Rows that may be listed, best first, and which of them would be mistakes."""

    scores: np.ndarray
    null: np.ndarray
    q: float

    @classmethod
    def of(cls, scores: np.ndarray, null: np.ndarray, q: float) -> Listing:
        # sorted once: sorting what is sorted costs next to nothing, a thousand times
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], null[order], q)


def audits(cell: Cell, draws: int) -> dict[str, float]:
    """Means over repeated audits of one cell."""
    rng = np.random.default_rng(3)
    size = len(cell.wrong)
    answers = min(ANSWERS, size // 4)
    found: dict[str, list[float]] = defaultdict(list)
    lists = listings(cell, answers)
    review = Review(cell, answers)
    stratum = shares.strata(cell.p_wrong, cell.given, answers)
    wanted = shares.neyman(cell.p_wrong, stratum, answers)
    members = [np.flatnonzero(stratum == h) for h in range(len(wanted))]
    for _ in range(draws):
        for kind, listing in lists.items():
            # corrections: those of an audit of all labels that fall among the changes
            n, rows = answers, len(listing.null)
            if kind == "corrections":
                n = int(rng.hypergeometric(rows, size - rows, answers))
            note_list(found, kind, listing, rng.choice(rows, n, replace=False))
        sample = rng.choice(size, answers, replace=False)
        review.note(found, sample)
        note_rate(found, cell, sample, None)
        drawn = [
            rng.choice(rows, count, replace=False)
            for rows, count in zip(members, wanted, strict=True)
        ]
        note_rate(found, cell, np.concatenate(drawn), stratum)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    errors = {
        f"{name} ±": float(np.std(values) / np.sqrt(draws))
        for name, values in found.items()
    }
    facts = {"n": size, "errors": float(cell.wrong.mean()), "answers": answers}
    return {**facts, **means, **errors}


def listings(cell: Cell, answers: int) -> dict[str, Listing]:
    """What is certified."""
    expected = float(cell.p_wrong.sum())
    first = min(len(cell.wrong), max(int(np.ceil(2 * expected)), 4 * answers))
    top = np.argsort(-cell.p_wrong, kind="stable")[:first]
    suggested = cell.probs.argmax(1)
    changes = np.flatnonzero(suggested != cell.given)
    sure = cell.probs[changes].max(1)
    mistaken = suggested[changes] != cell.truth[changes]
    found = {
        "list": Listing.of(cell.p_wrong, ~cell.wrong, Q),
        "slice": Listing.of(cell.p_wrong[top], ~cell.wrong[top], Q),
        "clean": Listing.of(-cell.p_wrong, cell.wrong, CLEAN),
    }
    if len(changes):
        found["corrections"] = Listing.of(sure, mistaken, Q)
    return found


class Review:
    """A review in the order of expected gain, up to the rank that an audit names."""

    def __init__(self, cell: Cell, answers: int) -> None:
        self.wrong = cell.wrong
        size = len(cell.wrong)
        queue = stop_rule.review_order(cell.probs, cell.given)
        self.place = np.empty(size, dtype=np.int64)
        self.place[queue] = np.arange(size)
        self.may_remain = int(REMAIN * size)
        self.spare = stop_rule.spared(size, answers, self.may_remain, ALPHA)

    def note(self, found: dict[str, list[float]], sample: np.ndarray) -> None:
        """The rank, and whether more wrong labels remain beyond it than promised."""
        size = len(self.wrong)
        hits = self.place[sample[self.wrong[sample]]]
        rank = stop_rule.rank_to_review(hits, self.spare, size)
        left = self.wrong & (self.place >= rank)
        left[sample] = False
        found["stop"].append(float(left.sum() > self.may_remain))
        found["rank"].append(rank / size)


def note_list(
    found: dict[str, list[float]], kind: str, listing: Listing, sample: np.ndarray
) -> None:
    """One certified list: share of mistakes in it, its size, and how much is right in it."""
    listed = select(listing.scores, sample, listing.null[sample], listing.q).rows
    mistakes = float(listing.null[listed].mean()) if len(listed) else 0.0
    found[kind].append(mistakes)
    found[f"{kind} size"].append(float(len(listed)))
    found[f"{kind} good"].append(len(listed) * (1 - mistakes))
    found[f"{kind} empty"].append(float(not len(listed)))


def note_rate(
    found: dict[str, list[float]],
    cell: Cell,
    sample: np.ndarray,
    stratum: np.ndarray | None,
) -> None:
    wrong = cell.wrong[sample]
    if stratum is None:
        rate = shares.estimate(cell.p_wrong, sample, wrong)
        kind = "uniform"
        plain = share(int(wrong.sum()), len(sample))
        found["classical width"].append(plain.high - plain.low)
    else:
        rate = shares.stratified(cell.p_wrong, stratum, sample, wrong)
        kind = "strata"
    missed = not rate.low <= cell.wrong.mean() <= rate.high
    found[f"{kind} missed"].append(float(missed))
    found[f"{kind} width"].append(rate.high - rate.low)


PROMISES = {
    "list": Q,
    "slice": Q,
    "corrections": Q,
    "clean": CLEAN,
    "stop": ALPHA,
}


def validity(rows: list[Row], draws: int) -> list[list[object]]:
    """Per promise: mean, worst cell, cells that are above by more than chance."""
    lines = []
    for name, most in PROMISES.items():
        for kind in ("good", "broken"):
            chosen = []
            for cell, row in rows:
                # a method may suggest no change at all
                if (cell.method in BROKEN) == (kind == "broken") and name in row:
                    chosen.append(row)
            if not chosen:
                continue
            values = np.array([row[name] for row in chosen])
            # of a share that is exactly as promised, the standard error of its mean
            spread = np.array([row[f"{name} ±"] for row in chosen])
            if name == "stop":
                spread = np.full(len(chosen), np.sqrt(most * (1 - most) / draws))
            above = int((values > most + 3 * spread).sum())
            lines.append(
                [
                    name,
                    f"{most:g}",
                    kind,
                    str(len(chosen)),
                    f"{values.mean():.4f}",
                    f"{values.max():.4f} ± {spread[values.argmax()]:.4f}",
                    f"{above} of {len(chosen)}",
                ]
            )
    return lines


def power(rows: list[Row]) -> list[list[object]]:
    """Per set of labels, its best method: what the same would cost by checking at random."""
    best: dict[str, tuple[Cell, dict[str, float]]] = {}
    for cell, row in rows:
        if cell.method in BROKEN:
            continue
        name = cell.name
        if name not in best or row["slice good"] > best[name][1]["slice good"]:
            best[name] = (cell, row)
    lines = []
    for name, (cell, row) in best.items():
        size, errors, answers = row["n"], row["errors"], row["answers"]
        reached = row["slice good"]
        lines.append(
            [
                name,
                f"{size:,.0f}",
                f"{errors:.3f}",
                cell.method,
                f"{row['list good']:,.0f} ({row['list empty']:.0%} empty)",
                f"{reached:,.0f} ({row['slice empty']:.0%} empty)",
                # of those checked at random, a share `errors` is wrong
                f"{reached / max(errors, 1e-9):,.0f} answers, saved "
                f"{max(0.0, reached / max(errors, 1e-9) - answers):,.0f}",
                f"{row['clean size'] / size:.0%}",
                f"{row['rank'] * size + answers * (1 - row['rank']):,.0f}",
                f"{max(0.0, 1 - REMAIN / max(errors, 1e-9)) * size:,.0f}",
                f"±{50 * row['strata width']:.1f} ±{50 * row['uniform width']:.1f} "
                f"±{50 * row['classical width']:.1f} points",
            ]
        )
    return lines


def intervals(rows: list[Row]) -> str:
    """How often the intervals of the share of wrong labels missed it."""
    parts = []
    for kind in ("strata", "uniform"):
        missed = np.array([row[f"{kind} missed"] for _, row in rows])
        parts.append(
            f"{kind}: {missed.mean():.3f} on average, {missed.max():.3f} worst"
        )
    ratio = np.mean(
        [
            (row["classical width"] / row["strata width"]) ** 2
            for cell, row in rows
            if cell.method not in BROKEN
        ]
    )
    return (
        f"95 % intervals of the share of wrong labels missed it, {'; '.join(parts)}. "
        f"For the same width, classical checking needs {ratio:.1f} times the answers of strata."
    )


def measured(args: argparse.Namespace) -> list[Row]:
    """All cells; those that `--save` holds are not measured again."""
    known: dict[str, dict[str, float]] = {}
    if args.save and args.save.exists():
        for line in args.save.read_text().splitlines():
            row = json.loads(line)
            known[row.pop("cell")] = row
    rows: list[Row] = []
    started = time.perf_counter()
    for cell in cells(args.arrays, args.only):
        name = f"{cell.name}, {cell.method}, {args.draws}"
        if name not in known:
            known[name] = audits(cell, args.draws)
            if args.save:
                with args.save.open("a") as file:
                    file.write(json.dumps({"cell": name, **known[name]}) + "\n")
        rows.append((cell, known[name]))
        spent = time.perf_counter() - started
        print(f"\r{len(rows)} cells, {spent:.0f} s  {name}", end="", flush=True)
    print()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=Path, help="folder of .npz files")
    parser.add_argument("--draws", type=int, default=1000, help="audits per cell")
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--save", type=Path, help="JSON lines; the same call continues")
    parser.add_argument(
        "--pictures", type=Path, help="folder for the pictures of the docs"
    )
    args = parser.parse_args()
    if args.pictures:
        from guarantee_pictures import draw

        draw(args.pictures)
        return
    print(machine())
    rows = measured(args)
    title = f"Promises over {args.draws:,} audits of each cell"
    table(title, VALIDITY, validity(rows, args.draws))
    print(f"\n{intervals(rows)}")
    table(
        "What is gained, with the best method of each set of labels", POWER, power(rows)
    )


if __name__ == "__main__":
    main()
