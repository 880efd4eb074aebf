"""Test accuracy of classifiers trained on noisy labels, with and without a scan before: a table
over label sets and seeds.

    python benchmarks/bench_train.py --data cifar10n.parquet --test cifar10-test.parquet \\
        --out results

Every figure is one that the commands give: `noise` plants the errors, `scan` looks for them
once per label set and seed, `train` trains, `evaluate` judges. The test table is opened by
`evaluate` alone. The epoch is chosen on a tenth of the labels that the scan did not flag,
whatever is trained on. A cell is one JSON file in --out/cells; the same command goes on where
it was stopped. The defaults make about 80 trainings with the embedded model, of one to two
minutes each on two processor cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from timing import machine, table

from labelsieve import progress, registry
from labelsieve.classifiers import predict
from labelsieve.classifiers.train import LAST, RECORD, train
from labelsieve.data.load import load
from labelsieve.data.spec import DataSpec
from labelsieve.files import fingerprint, read_json, write_json
from labelsieve.models import identity
from labelsieve.models.load import load_encoder
from labelsieve.noise import planting
from labelsieve.noise.context import Plan
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run
from labelsieve.settings import parse_sets

TRUE = "true labels"  # a label set without noise


@dataclass(frozen=True)
class Row:
    """What is trained on what.

    clean: on the true labels. once: the seed decides nothing.
    """

    title: str
    use: str = "all"
    loss: str = "ce"
    recipe: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    clean: bool = False
    once: bool = False


ROWS = {
    "zero-shot": Row(
        "zero-shot", settings={"epochs": 0, "head_start": "text"}, clean=True, once=True
    ),
    "head": Row("linear head, all labels", settings={"tune": "head"}),
    "probe": Row(
        "linear probe, clean part",
        use="clean",
        settings={"epochs": 0, "head_start": "probe"},
    ),
    "all": Row("fine-tuned, all labels"),
    "clean": Row("fine-tuned, clean part", use="clean"),
    "relabelled": Row("fine-tuned, clean part and relabelled", use="clean+relabelled"),
    "weighted": Row("fine-tuned, weighted by p_clean", use="weighted"),
    "sce": Row("fine-tuned, all labels, SCE", loss="sce"),
    "elr": Row("fine-tuned, all labels, ELR", loss="elr"),
    "gce": Row("fine-tuned, all labels, GCE", loss="gce"),
    "nts": Row("NTS, all labels", recipe="nts"),
    "nts-head": Row("NTS, linear head", recipe="nts", settings={"tune": "head"}),
    "nts-given": Row(
        "NTS, all labels, epoch by given labels",
        recipe="nts",
        settings={"validate": "given"},
    ),
    "all-given": Row(
        "fine-tuned, all labels, epoch by given labels", settings={"validate": "given"}
    ),
    "memory": Row("fine-tuned, all labels, memory", loss="memory"),
    "memory-plain": Row(
        "the same without refined labels",
        loss="memory",
        settings={"memory_refine": 0.0, "memory_denoise": 0.0},
    ),
    "capro": Row("CAPro, all labels", recipe="capro"),
    "capro-plain": Row(
        "the same without labels from look-alikes",
        recipe="capro",
        settings={"capro_beta": 0.0},
    ),
    "gmm": Row("fine-tuned, GMM selection", use="gmm"),
    "true": Row("fine-tuned, true labels", clean=True),
}
USUAL = ("zero-shot", "head", "all", "clean", "relabelled", "weighted", "true")
LABELS = (
    "worse_label",
    "random_label1",
    "symmetric-20",
    "symmetric-40",
    "symmetric-60",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        required=True,
        help="Parquet with images, true labels and columns of noisy labels",
    )
    add(
        "--test",
        type=Path,
        required=True,
        help="Parquet with test images and true labels",
    )
    add("--out", type=Path, required=True, help="folder of the cells")
    add(
        "--labels",
        nargs="+",
        default=LABELS,
        help="columns of --data, or NOISE-PERCENT as in symmetric-40",
    )
    add("--rows", nargs="+", default=USUAL, choices=ROWS)
    add("--seeds", type=int, default=3, help="how many")
    add("--limit", type=int, default=3000, help="training images, drawn once; 0: all")
    add("--test-limit", type=int, default=2000, help="test images, drawn once; 0: all")
    add("--truth-column", default="clean_label")
    add("--test-column", default="label")
    add("--model", default="tiny")
    add("--method", default="deft")
    add("--preset", default="fast", help="of the scan")
    add("--student", default="clip")
    add("--recipe", default="auto")
    add(
        "--set",
        dest="sets",
        action="append",
        default=[],
        help="NAME=VALUE, a setting of the training",
    )
    add(
        "--keep-runs",
        action="store_true",
        help="do not delete scans and models when their cells are done",
    )
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds is at least 1")
    args.settings = {"epochs": 4, **parse_sets(args.sets)}
    return args


def check_folder(args: argparse.Namespace) -> dict[str, Any]:
    """What decides the figures; cells of other options are never mixed with these."""
    encoder = load_encoder(args.model)
    names = (
        "limit",
        "test_limit",
        "truth_column",
        "test_column",
        "model",
        "method",
        "preset",
        "student",
        "recipe",
        "settings",
    )
    options = {name: getattr(args, name) for name in names}
    options["weights"] = identity.fingerprint(encoder)
    options |= {
        name: hashlib.sha256(getattr(args, name).read_bytes()).hexdigest()[:16]
        for name in ("data", "test")
    }
    path = args.out / "options.json"
    if path.exists() and (before := read_json(path)) != json.loads(json.dumps(options)):
        changed = ", ".join(
            name for name in options if options[name] != before.get(name)
        )
        sys.exit(
            f"error: '{args.out}' holds cells of other options ({changed}). Choose another --out."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(path, options)
    return options


def drawn(source: Path, limit: int, target: Path) -> Path:
    """Rows of a table, the same ones at every call."""
    if not target.exists():
        whole = pq.read_table(source)
        rows = np.sort(
            np.random.default_rng(0).permutation(len(whole))[: limit or None]
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(whole.take(pa.array(rows)), target)
    return target


def noisy(args: argparse.Namespace, labels: str, seed: int, folder: Path) -> DataSpec:
    """The training images with one set of labels, and the truth beside them for scoring."""
    images = drawn(args.data, args.limit, args.out / "train.parquet")
    kind, _, percent = labels.rpartition("-")
    if kind in registry.names("noise/generators") and percent.isdigit():
        plan = Plan(kind, int(percent) / 100, seed)
    else:
        plan = Plan(
            "recorded", recorded=args.truth_column if labels == TRUE else labels
        )
    target = folder / "data.parquet"
    planting.plant(load(images, label_column=args.truth_column), plan, target)
    return load(
        target, label_column="given_label", truth_column="true_label", id_column="id"
    )


def scanned(args: argparse.Namespace, labels: str, seed: int, folder: Path) -> Run:
    if (folder / "run" / "run.json").exists() and (
        found := Run(folder / "run")
    ).finished:
        return found
    spec = noisy(args, labels, seed, folder)
    return scan(
        spec,
        output=folder / "run",
        model=args.model,
        method=args.method,
        preset=args.preset,
        seed=seed,
    )


def noise_of(run: Run) -> dict[str, Any]:
    """Wrong labels before and behind the scan, against the truth."""
    quality, flagged = run.record["quality"], run.record["flagged"]
    left = quality["wrong"] * (1 - (quality["recall"] or 0))
    return {
        "wrong": quality["wrong"] / quality["images"],
        "estimated": run.noise_rate[0],
        "f1": quality["f1"],
        "auroc": quality["auroc"],
        "wrong_left": left / max(quality["images"] - flagged, 1),
    }


def cell(args: argparse.Namespace, name: str, labels: str, seed: int) -> dict[str, Any]:
    """Train one classifier and judge it, or read what was found before."""
    path = args.out / "cells" / f"{fingerprint([name, labels, seed])}.json"
    if path.exists():
        return read_json(path)
    row, start = ROWS[name], time.perf_counter()
    folder = args.out / "work" / f"{labels.replace(' ', '-')}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run = scanned(args, labels, seed, folder)
    after_scan = time.perf_counter()
    settings = {**args.settings, "keep": "both", **row.settings}
    train(
        run,
        output=folder / name,
        use=row.use,
        loss=row.loss,
        settings=settings,
        seed=seed,
        student=args.student,
        recipe=row.recipe or args.recipe,
    )
    found = {
        "row": name,
        "labels": labels,
        "seed": seed,
        **judged(args, folder / name),
        "noise": noise_of(run),
        "seconds": {
            "scan": after_scan - start,
            "train": time.perf_counter() - after_scan,
        },
    }
    path.parent.mkdir(exist_ok=True)
    write_json(path, found)
    if not args.keep_runs:
        shutil.rmtree(folder / name)
    accuracy = f"{100 * found['chosen']:.1f} / {100 * found['last']:.1f}"
    print(f"{name:11} {labels:14} seed {seed}: {accuracy}", file=sys.stderr)
    return found


def judged(args: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Test accuracy of the chosen epoch and of the last one."""
    test = drawn(args.test, args.test_limit, args.out / "test.parquet")
    record = read_json(model / RECORD)
    both = {"chosen": model, "last": model / LAST if (model / LAST).exists() else model}
    accuracy = {
        k: predict.evaluate(m, test, truth_column=args.test_column)["accuracy"]
        for k, m in both.items()
    }
    validation = {
        k: v and {"epoch": v["epoch"], "accuracy": v["accuracy"]}
        for k, v in record["figures"].items()
        if k in both
    }
    return {
        **accuracy,
        "validation": validation,
        "samples": record["samples"],
        "settings": record["command"]["settings"],
    }


def plan(args: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Every cell once, seed by seed, so that a table of fewer seeds is whole early."""
    wanted = [
        (name, TRUE if ROWS[name].clean else labels, 0 if ROWS[name].once else seed)
        for seed in range(args.seeds)
        for labels in args.labels
        for name in args.rows
    ]
    return list(dict.fromkeys(wanted))


def show(
    args: argparse.Namespace, options: dict[str, Any], cells: list[dict[str, Any]]
) -> None:
    rows: list[list[object]] = []
    for name in args.rows:
        mine = [c for c in cells if c["row"] == name]
        sets = [
            [c for c in mine if c["labels"] in (labels, TRUE)] for labels in args.labels
        ]
        rows.append(
            [
                ROWS[name].title,
                *(f"{spread(s, 'chosen')} / {spread(s, 'last')}" for s in sets),
            ]
        )
    for title, key in (
        ("wrong labels, all, %", "wrong"),
        ("wrong labels, clean part, %", "wrong_left"),
    ):
        about = [
            {c["seed"]: c["noise"] for c in cells if c["labels"] == labels}
            for labels in args.labels
        ]
        rows.append([title, *(spread(list(seeds.values()), key) for seeds in about)])
    table(headline(args, options, cells), ["", *args.labels], rows)


def spread(found: list[dict[str, Any]], key: str) -> str:
    """Mean ± standard deviation in percent."""
    values = [100 * f[key] for f in found]
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "–"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def headline(
    args: argparse.Namespace, options: dict[str, Any], cells: list[dict[str, Any]]
) -> str:
    used = cells[-1]["settings"]
    minutes = sum(sum(c["seconds"].values()) for c in cells) / 60
    weights = options["weights"][:8]
    optimizer = f"{used['optimizer']} {used['lr']:g}"
    return (
        f"Test accuracy in %, chosen epoch / last epoch, mean ± sd over {args.seeds} seeds. "
        f"{args.limit or 'All'} training images, {args.test_limit or 'all'} test images; "
        f"student {args.student} of {args.model} ({weights}), {used['epochs']} epochs, "
        f"{optimizer}, head from {used['head_start']}; "
        f"scan: {args.method}, preset {args.preset}. {minutes:.0f} minutes. {machine()}"
    )


def main() -> None:
    args = arguments()
    progress.be_quiet()
    options = check_folder(args)
    cells = []
    for name, labels, seed in plan(args):
        cells.append(cell(args, name, labels, seed))
    show(args, options, cells)
    if not args.keep_runs:
        shutil.rmtree(args.out / "work", ignore_errors=True)


if __name__ == "__main__":
    main()
