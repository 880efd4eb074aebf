"""How often the 95 % interval of the share of wrong labels holds the truth, and how wide it is.

Random parts of data sets whose truth is known, with labels that people gave and with planted
errors; beside it the same without `labelsieve.estimation.difficulty`, which takes errors to depend
on the class alone. The estimate is that of the reference classifiers, as every method starts from
it. Nothing is trained; features are computed once and lie in the cache of the package.

    python benchmarks/bench_coverage.py --data-root DIR --keep coverage.jsonl

    python benchmarks/bench_coverage.py --data-root DIR --sources NoisyAG-News --models MINILM

An interrupted call goes on where it was if it is given the same --keep. A set that has fewer images
than a size is taken whole, and once: another draw would be the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timing import table

from labelsieve import registry
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.load import load
from labelsieve.estimation import noise_rate, transition
from labelsieve.estimation.agreement import FITS
from labelsieve.estimation.noise_rate import Noise
from labelsieve.features import probe, references
from labelsieve.features.task import Task
from labelsieve.methods._posterior import select_among
from labelsieve.methods._second_vote import is_asked, widened
from labelsieve.models.load import load_encoder

TOWER = str(Path(__file__).parent / "tower")
PLANTED = ("symmetric", "pair", "instance")
RATES = (0.0, 0.1, 0.2, 0.4, 0.6)
PEOPLE = ("aggre_label", "random_label1", "random_label2", "random_label3")


class Source(NamedTuple):
    """A table of `--data-root`, and the columns of labels that people gave."""

    file: str
    truth: str
    given: tuple[str, ...]
    planted: bool
    item: str = "image"  # column of what is labelled


SOURCES = {
    "CIFAR-10N": Source("cifar10n", "clean_label", (*PEOPLE, "worse_label"), True),
    "CIFAR-100N": Source("cifar100n", "clean_label", ("noisy_label",), True),
    # images that are of none of the classes have no truth, and are left out
    "clothes": Source("clothes", "clean_label", ("label",), False),
    "NoisyAG-News": Source("agnews", "clean_label", ("label",), False, "text"),
}
# What the models in this folder see; texts need a model that reads, by --models.
PICTURES = ("CIFAR-10N", "CIFAR-100N", "clothes")


class Cell(NamedTuple):
    """What one line of the table is about."""

    model: str
    source: str
    labels: str  # a column, or planted errors: "pair 40 %"
    images: int


@dataclass(frozen=True)
class Pool:
    """The images of a source as one model sees them; draws are parts of it.

    truth: [n] true classes.
    given: name -> [n] classes that people gave.
    """

    task: Task
    truth: np.ndarray
    given: Mapping[str, np.ndarray]

    @cached_property
    def features(self) -> np.ndarray:
        return np.asarray(self.task.image_features(), dtype=np.float32)

    @cached_property
    def probs(self) -> np.ndarray:
        return self.task.zero_shot().probs().astype(np.float64)

    @cached_property
    def pixels(self) -> np.ndarray:
        """[n, s] for noise that depends on the picture."""
        data = self.task.data
        rows = np.arange(len(data))
        # in parts, as they are needed in one block but once
        blocks = [data.inputs(part).numpy() for part in np.array_split(rows, 20)]
        return np.concatenate(blocks).reshape(len(rows), -1)


def pool(name: str, model: str, root: Path) -> Pool:
    """The images of a source that have a true label."""
    source = SOURCES[name]
    encoder = load_encoder(TOWER if model == "tower" else model)
    items: Any = {f"{source.item}_column": source.item}
    spec = load(
        root / f"{source.file}.parquet",
        label_column=source.truth,
        **items,
    )
    # one reading for each column of labels; pictures come from the cache
    data = prepare(spec, encoder.preprocess).dataset
    given = {c: _column(spec, encoder.preprocess, c, data) for c in source.given}
    return Pool(Task(data, encoder), data.labels, given)


def _column(spec: Any, preprocess: Any, column: str, data: Dataset) -> np.ndarray:
    """[n] classes of a column of labels, in the order of `data`."""
    other = prepare(load(spec, label_column=column), preprocess).dataset
    at = dict(zip(other.ids.to_pylist(), other.labels.tolist(), strict=True))
    number = {label: i for i, label in enumerate(data.classes)}
    rows = [at[i] for i in data.ids.to_pylist()]
    return np.array([number[other.classes[row]] for row in rows])


def labels_of(pool: Pool, labels: str, draw: int) -> np.ndarray:
    """[n] of all images, from a column or planted."""
    if labels in pool.given:
        return pool.given[labels]
    kind, rate, _ = labels.split()
    rng = np.random.default_rng([draw, 1])
    generator = registry.load("noise/generators", kind)
    context = {"centre": True}
    if kind == "instance":
        context["pixels"] = pool.pixels
    classes = len(pool.task.data.classes)
    planted: np.ndarray = generator.corrupt(
        pool.truth, classes, int(rate) / 100, rng, context
    )
    return planted


def _votes(pool: Pool, rows: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """As `Task.reference_votes`, of some rows."""
    data = pool.task.data
    features = pool.features[rows]
    sample = references.sample_rows(len(rows), 0)
    agreement = references.measure(
        features[sample], pool.task.class_features(), labels[sample], data.classes
    )
    votes = {"text": pool.probs[rows]}
    if agreement.verdict != FITS:
        answers = probe.cross_validated(features, labels, len(data.classes), 0)
        votes["pictures"] = answers.astype(np.float64)
    return votes


def _estimate(
    pool: Pool, votes: Mapping[str, np.ndarray], labels: np.ndarray, rows: np.ndarray
) -> Noise:
    """As `select_reference` and a scan's figures, of some rows."""
    reference = select_among(votes, labels, 0)
    rates = reference.transition.rates
    if len(votes) == 1 and is_asked(pool.task):
        classes = len(pool.task.data.classes)
        answers = probe.cross_validated(pool.features[rows], labels, classes, 0)
        rates = widened(reference.transition, answers, labels, 0).rates
    posterior = reference.posterior(labels)
    return noise_rate.summarise(posterior, labels, pool.task.data.classes, rates)


def measure(pool: Pool, cell: Cell, draw: int, compare: bool) -> dict[str, Any]:
    """One draw: what is true and what is said.

    Args:
        compare: also say what is said by class alone, which takes as long again.
    """
    n = len(pool.truth)
    rows = np.random.default_rng([draw, cell.images]).permutation(n)[: cell.images]
    labels = labels_of(pool, cell.labels, draw)[rows]
    votes = _votes(pool, rows, labels)
    result = {
        "cell": list(cell),
        "draw": draw,
        "true": float((labels != pool.truth[rows]).mean()),
        "said": _said(_estimate(pool, votes, labels, rows)),
    }
    if compare:
        levels = transition.LEVELS
        transition.LEVELS = ()
        result["by_class"] = _said(_estimate(pool, votes, labels, rows))
        transition.LEVELS = levels
    return result


def _said(noise: Noise) -> list[float]:
    return [float(noise.rate), float(noise.low), float(noise.high)]


def cells(model: str, name: str, sizes: Sequence[int], n: int) -> Iterator[Cell]:
    """Of one model and source."""
    source = SOURCES[name]
    kinds = [f"{kind} {100 * r:.0f} %" for kind in PLANTED for r in RATES if r]
    planted = ["symmetric 0 %", *kinds] if source.planted else []
    for labels in (*source.given, *planted):
        for images in sorted({min(size, n) for size in sizes}):
            yield Cell(model, name, labels, images)


def draws_of(cell: Cell, args: argparse.Namespace, n: int) -> int:
    """How many are drawn of a cell."""
    if cell.labels in SOURCES[cell.source].given:
        # all images of a set are one draw
        return 1 if cell.images == n else args.draws
    # errors are planted anew each time; large draws hardly differ
    return args.planted_draws if cell.images < 10_000 else min(2, args.planted_draws)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All draws of all cells; those that are kept are not measured again."""
    results = []
    if args.keep and args.keep.exists():
        lines = args.keep.read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines]
    done = {(Cell(*r["cell"]), r["draw"]) for r in results}
    for model in args.models:
        for name in args.sources:
            images = pool(name, model, args.data_root)
            n = len(images.truth)
            for cell in cells(model, name, args.sizes, n):
                for draw in range(draws_of(cell, args, n)):
                    if (cell, draw) in done:
                        continue
                    compare = draw < args.compared
                    results.append(measure(images, cell, draw, compare))
                    _keep(args.keep, results[-1])
    return results


def _keep(path: Path | None, result: dict[str, Any]) -> None:
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def figures(key: str, results: Sequence[Mapping[str, Any]]) -> list[object]:
    """Mean estimate and interval, draws that hold the truth, mean width; in per cent."""
    some = [r for r in results if key in r]
    if not some:
        return ["", "", ""]
    rate, low, high = np.array([r[key] for r in some]).T
    true = np.array([r["true"] for r in some])
    holds = int(((low <= true) & (true <= high)).sum())
    mean = [f"{100 * v.mean():.1f}" for v in (rate, low, high, high - low)]
    interval = f"{mean[0]} ({mean[1]}-{mean[2]})"
    return [interval, f"{holds} of {len(some)}", mean[3]]


def line(cell: Cell, results: Sequence[Mapping[str, Any]]) -> list[object]:
    """Means over the draws of a cell."""
    wrong = np.mean([r["true"] for r in results])
    row: list[object] = [*cell, f"{100 * wrong:.1f}"]
    return row + figures("said", results) + figures("by_class", results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["tiny", "tower"])
    parser.add_argument("--sources", nargs="+", default=PICTURES)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[400, 2000, 4000, 20000]
    )
    parser.add_argument("--draws", type=int, default=30, help="of people's labels")
    parser.add_argument("--planted-draws", type=int, default=10, help="of each noise")
    parser.add_argument(
        "--compared", type=int, default=3, help="draws that are also judged by class"
    )
    parser.add_argument("--keep", type=Path, help="what was measured, line by line")
    args = parser.parse_args()
    by_cell: dict[Cell, list[dict[str, Any]]] = {}
    for result in run(args):
        by_cell.setdefault(Cell(*result["cell"]), []).append(result)
    header = [*Cell._fields, "wrong %"]
    for what in ("", " by class"):
        header += [f"estimate{what}", f"holds{what}", f"width{what}"]
    rows = [line(cell, results) for cell, results in by_cell.items()]
    for key in ("said", "by_class"):
        for people in (True, False):
            everything = [
                r
                for cell, results in by_cell.items()
                for r in results
                if (cell.labels in SOURCES[cell.source].given) == people
                # equal terms: draws that were judged in both ways
                and "by_class" in r
            ]
            if everything:
                whose = "people's labels" if people else "planted errors"
                what = ["all", f"{whose}, {key}", "", "", ""]
                rows.append([*what, *figures(key, everything), "", "", ""])
    table("95 % intervals of the share of wrong labels", header, rows)


if __name__ == "__main__":
    main()
