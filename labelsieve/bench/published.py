"""What DeFT's paper printed, beside our own figures of the same data, noise and rate, and what differs between the two.

The figures are in `assets/published/`, with their source. They are of keeping right labels ("clean"), on CLIP ViT-B/16 and
ViT-B/32; test accuracies of classifiers are listed, but the bench, which finds labels, has nothing to set beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from labelsieve import tables
from labelsieve.bench.render import NAMES, Sheet, Text, figure
from labelsieve.bench.results import (
    CLEAN,
    GROUP,
    RESULTS,
    by_method,
    finished,
    groups,
    mean,
)

FILES = Path(__file__).parent.parent / "assets" / "published"
TASKS = ("detection", "classification")
PUBLISHED = pa.schema(
    [
        *((name, pa.string()) for name in ("task", "dataset", "noise")),
        ("rate", pa.float64()),
        *((name, pa.string()) for name in ("method", "backbone")),
        *(
            (name, pa.float64())
            for name in ("precision", "recall", "f1", "best", "last")
        ),
        ("source", pa.string()),
    ]
)
BESIDE = pa.schema(
    [
        *(
            (name, pa.string())
            for name in ("tower", "data", "noise", "published_method", "backbone")
        ),
        *((f"published_{name}", pa.float64()) for name in CLEAN),
        *((name, pa.string()) for name in ("method", "preset")),
        *((name, pa.float64()) for name in CLEAN),
        ("seeds", pa.int64()),
        ("source", pa.string()),
        ("differs", pa.string()),
    ]
)
# What the paper calls noise: `sym` draws from all classes, the true one among them.
NOISE = {
    "symmetric": "sym",
    "symmetric-biased": "sym",
    "instance": "idn",
    "recorded": "human",
}
IMAGES = {
    "CIFAR-100": 50_000,
    "CIFAR-100N": 50_000,
    "Tiny-ImageNet": 100_000,
    "Stanford-Cars": 8_144,
    "CUB-200-2011": 5_994,
}
BACKBONES = {
    "patch16": "ViT-B/16",
    "patch32": "ViT-B/32",
}  # as the names of OpenAI's checkpoints end
MAIN = "ViT-B/16"


@dataclass(frozen=True)
class Counterpart:
    """Our file of a method that the paper names.

    trained: it learns, so preset `paper` matters. batches: the paper's figures are means over the batches of the last epoch.
    differs: what is never the same.
    """

    detector: str
    trained: bool = True
    batches: bool = False
    differs: str = ""


METHODS = {
    "Label-match": Counterpart("zero-shot", trained=False),
    "Small-loss": Counterpart("small-loss", batches=True),
    "GMM": Counterpart("gmm", differs="visual prompts tuned (there not told)"),
    "GMM w/ PEFT": Counterpart("gmm"),
    "GMM w/ FFT": Counterpart(
        "gmm", differs="visual prompts tuned (there the whole tower)"
    ),
    "DeFT": Counterpart("deft", batches=True),
}  # of RoLT, UNICON, LongReMix and ProMix we have none


def load() -> pa.Table:
    """All 559 figures with columns `PUBLISHED`: percent as printed, null where nothing was printed."""
    parts = []
    for task in TASKS:
        options = pacsv.ConvertOptions(
            column_types=dict(zip(PUBLISHED.names, PUBLISHED.types, strict=True)),
            strings_can_be_null=True,
        )
        found = pacsv.read_csv(FILES / f"deft-{task}.csv", convert_options=options)
        columns = {
            n: found[n]
            if n in found.column_names
            else pa.nulls(len(found), PUBLISHED.field(n).type)
            for n in PUBLISHED.names
        }
        parts.append(
            pa.table(
                {**columns, "task": pa.array([task] * len(found), pa.string())},
                PUBLISHED,
            )
        )
    return pa.concat_tables(parts).combine_chunks()


def beside(results: pa.Table) -> pa.Table:
    """Published figures of every data set, noise and rate that the results have, and ours of the same method.

    A data set is known by its name, however it is written (`cifar100` is `CIFAR-100`). Of a published method that the
    results lack, ours are null. A tower is compared with the figures of its own backbone, any other one with ViT-B/16.

    Args:
        results: columns of `labelsieve.bench.results.RESULTS`.

    Returns:
        Columns `BESIDE`: shares, ours as means over seeds; a published F1 that was not printed is computed of precision and
        recall. `differs` says what is not the same.
    """
    rows = []
    known = _merged()
    for (tower, data, noise), own in groups(finished(results), GROUP).items():
        for line in _same_setting(known, own[0]):
            ours = [
                r
                for r in own
                if line["method"] in METHODS
                and r["detector"] == METHODS[line["method"]].detector
            ]
            for mine in list(by_method(ours).values()) or [[]]:
                rows.append(
                    {
                        "tower": tower,
                        "data": data,
                        "noise": noise,
                        **_line(line),
                        **_ours(mine),
                        "differs": "; ".join(_differs(line, mine, own[0])),
                    }
                )
    return pa.Table.from_pylist(rows, BESIDE)


def _merged() -> list[dict[str, Any]]:
    """One row of detection figures per data set, noise, rate, method and backbone, though several tables print them."""
    table = load().filter(pc.field("task") == "detection")
    found = []
    for own in groups(
        table, ("dataset", "noise", "rate", "method", "backbone")
    ).values():
        row = dict(own[0])
        for name in ("precision", "recall", "f1"):
            row[name] = next((r[name] / 100 for r in own if r[name] is not None), None)
        if row["f1"] is None:
            row["f1"] = (
                2
                * row["precision"]
                * row["recall"]
                / (row["precision"] + row["recall"])
            )
        found.append(
            {**row, "source": ", ".join(dict.fromkeys(r["source"] for r in own))}
        )
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def backbone(model: str) -> str | None:
    """The paper's name of a CLIP checkpoint; None for any other model."""
    found = re.search(r"clip-vit-base-(patch\d+)", model)
    return BACKBONES.get(found[1]) if found else None


def _same_setting(
    known: Sequence[dict[str, Any]], own: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    wanted = backbone(own["model"]) or MAIN
    here = [
        r
        for r in known
        if _plain(r["dataset"]) == _plain(own["data"])
        and r["noise"] == NOISE.get(own["kind"])
    ]
    here = [
        r
        for r in here
        if r["rate"] is None
        or (
            own["nominal_rate"] is not None
            and abs(own["nominal_rate"] - r["rate"]) < 1e-9
        )
    ]
    yield from [r for r in here if r["backbone"] == wanted] or here


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    figures = {f"published_{c}": line[c.removeprefix("clean_")] for c in CLEAN}
    return {
        "published_method": line["method"],
        "backbone": line["backbone"],
        "source": line["source"],
        **figures,
    }


def _ours(mine: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not mine:
        return {}
    means = {name: mean(mine, name) for name in CLEAN}
    return {
        "method": mine[0]["method"],
        "preset": mine[0]["preset"],
        "seeds": len(mine),
        **means,
    }


def _differs(
    line: Mapping[str, Any], mine: Sequence[dict[str, Any]], own: Mapping[str, Any]
) -> Iterator[str]:
    if not mine:
        yield (
            "not among these results"
            if line["method"] in METHODS
            else "no such method here"
        )
        return
    if backbone(own["model"]) != line["backbone"]:
        yield f"model {Path(own['model']).name} (there CLIP {line['backbone']})"
    if own["images"] != IMAGES[line["dataset"]]:
        yield f"{own['images']:,} images (there {IMAGES[line['dataset']]:,})"
    yield from _noise(line, own)
    yield from _method(METHODS[line["method"]], line, mine[0])
    if len(mine) > 1:
        yield f"mean of {len(mine)} seeds (there one)"


def _noise(line: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    if own["kind"] == "symmetric":
        yield "every error is another class (there the true one may be drawn)"
    if line["noise"] == "idn" and line["dataset"] in ("Stanford-Cars", "CUB-200-2011"):
        yield "the authors' code has no instance noise for these data"
    if line["noise"] == "idn" and line["dataset"] == "Tiny-ImageNet":
        yield "noise from 32 x 32 pixels (there 64 x 64)"


def _method(
    counterpart: Counterpart, line: Mapping[str, Any], row: Mapping[str, Any]
) -> Iterator[str]:
    settings = json.loads(row["settings"] or "{}")
    if counterpart.differs:
        yield counterpart.differs
    if counterpart.trained and row["preset"] != "paper":
        yield f"preset {row['preset']} (there as preset paper)"
    if (
        counterpart.detector == "deft"
        and line["noise"] == "human"
        and settings.get("rule") != "real"
    ):
        yield "rule for planted noise (there a label must also be the best class)"
    if counterpart.detector == "small-loss" and settings.get("noise_rate") is None:
        yield "noise rate estimated (there known)"
    if counterpart.batches:
        yield "over all images (there means over batches of the last epoch)"


def show(output: Path) -> dict[str, Any]:
    """What `labelsieve bench --published` shows: beside the results of a folder; all figures where there are none.

    Raises:
        RunError: the folder's results are damaged.
    """
    file = output / "results.parquet"
    found = beside(tables.read_parquet(file, RESULTS)) if file.exists() else None
    every = load().to_pylist() if found is None else []
    return {
        "results": None if found is None else str(file),
        "beside": [] if found is None else found.to_pylist(),
        "published": every,
    }


def sheets(results: pa.Table) -> list[Sheet]:
    """The comparison as tables, one for each tower, data set and noise; none where nothing was published."""
    heads = [f"{NAMES[c]} {whose}" for c in CLEAN for whose in ("there", "here")]
    made = []
    for (tower, data, noise), rows in groups(beside(results), GROUP).items():
        body = []
        for r in rows:
            numbers = [Text(figure(r[n])) for c in CLEAN for n in (f"published_{c}", c)]
            body.append(
                [
                    Text(r["published_method"]),
                    *numbers,
                    Text(r["method"] or "–"),
                    Text(r["source"]),
                ]
            )
        notes = [
            f"{r['method'] or r['published_method']}: {r['differs']}."
            for r in rows
            if r["differs"] and r["method"]
        ]
        head = ["method there", *heads, "method here", "source"]
        made.append(
            Sheet(
                f"Published beside ours: {data}, {noise}, tower {tower}",
                head,
                body,
                list(dict.fromkeys(notes)),
            )
        )
    return made
