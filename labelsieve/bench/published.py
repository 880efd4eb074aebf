"""What DeFT's paper printed, beside our own figures of the same data, noise and rate.

And what differs between the two. The figures are in `assets/published/`, with their source.
They are of keeping right labels ("clean"), on CLIP ViT-B/16 and ViT-B/32; test accuracies of
classifiers are listed, but the bench, which finds labels, has nothing to set beside them.
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
    Row,
    by_method,
    fields,
    finished,
    groups,
    mean,
)

FILES = Path(__file__).parent.parent / "assets" / "published"
TASKS = ("detection", "classification")
SHARES = ("precision", "recall", "f1")
PUBLISHED = pa.schema(
    [
        *fields(("task", "dataset", "noise"), pa.string()),
        ("rate", pa.float64()),
        *fields(("method", "backbone"), pa.string()),
        *fields((*SHARES, "best", "last"), pa.float64()),
        ("source", pa.string()),
    ]
)
BESIDE = pa.schema(
    [
        *fields((*GROUP, "published_method", "backbone"), pa.string()),
        *fields([f"published_{name}" for name in CLEAN], pa.float64()),
        *fields(("method", "preset"), pa.string()),
        *fields(CLEAN, pa.float64()),
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
# Training images of the data sets, to notice a comparison on a part of them.
IMAGES = {
    "CIFAR-100": 50_000,
    "CIFAR-100N": 50_000,
    "Tiny-ImageNet": 100_000,
    "Stanford-Cars": 8_144,
    "CUB-200-2011": 5_994,
}
# Fine-grained data, for which the authors' code makes no instance-dependent noise.
WITHOUT_INSTANCE_NOISE = ("Stanford-Cars", "CUB-200-2011")
# as the names of OpenAI's checkpoints end
BACKBONES = {"patch16": "ViT-B/16", "patch32": "ViT-B/32"}
MAIN = "ViT-B/16"
SAME_RATE = 1e-9  # rates are typed with a few digits; only rounding may tell them apart


@dataclass(frozen=True)
class Counterpart:
    """Our file of a method that the paper names.

    Attributes:
        trained: it learns, so preset `paper` matters.
        batches: the paper's figures are means over the batches of the last epoch.
        differs: what is never the same.
    """

    detector: str
    trained: bool = True
    batches: bool = False
    differs: str = ""


# Of RoLT, UNICON, LongReMix and ProMix, which the paper lists too, there is none here.
METHODS = {
    "Label-match": Counterpart("zero-shot", trained=False),
    "Small-loss": Counterpart("small-loss", batches=True),
    "GMM": Counterpart("gmm", differs="visual prompts tuned (there not told)"),
    "GMM w/ PEFT": Counterpart("gmm"),
    "GMM w/ FFT": Counterpart(
        "gmm", differs="visual prompts tuned (there the whole tower)"
    ),
    "DeFT": Counterpart("deft", batches=True),
}


def load() -> pa.Table:
    """All 559 figures: percent as printed, null where nothing was printed.

    Returns:
        Columns `PUBLISHED`.
    """
    # the type of a column without any value cannot be guessed
    types = dict(zip(PUBLISHED.names, PUBLISHED.types, strict=True))
    options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True)
    parts = []
    for task in TASKS:
        table = pacsv.read_csv(FILES / f"deft-{task}.csv", convert_options=options)
        columns = {}
        for name, kind in types.items():
            # each task has figures of its own
            absent = name not in table.column_names
            columns[name] = pa.nulls(len(table), kind) if absent else table[name]
        columns["task"] = pa.array([task] * len(table), pa.string())
        parts.append(pa.table(columns, PUBLISHED))
    return pa.concat_tables(parts).combine_chunks()


def beside(results: pa.Table) -> pa.Table:
    """Published figures of all data, noises and rates that the results have, and ours.

    A data set is known by its name, however it is written (`cifar100` is `CIFAR-100`). Of a
    published method that the results lack, ours are null. A tower is compared with the
    figures of its own backbone, any other one with ViT-B/16.

    Args:
        results: columns of `labelsieve.bench.results.RESULTS`.

    Returns:
        Columns `BESIDE`: shares, ours as means over seeds; a published F1 that was not
        printed is computed of precision and recall. `differs` says what is not the same.
    """
    rows = []
    known = _merged()
    for names, own in groups(finished(results), GROUP).items():
        group = dict(zip(GROUP, names, strict=True))
        for line in _same_setting(known, own[0]):
            for ours in _counterparts(line, own):
                differs = "; ".join(_differs(line, ours, own[0]))
                figures = {**_line(line), **_ours(ours)}
                rows.append({**group, **figures, "differs": differs})
    return pa.Table.from_pylist(rows, BESIDE)


def _counterparts(line: Row, rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the same method, by what the configuration calls it; one empty list if none."""
    counterpart = METHODS.get(line["method"])
    if counterpart is None:
        return [[]]
    same = [row for row in rows if row["detector"] == counterpart.detector]
    # several presets of one method are several lines
    return list(by_method(same).values()) or [[]]


def _merged() -> list[Row]:
    """Detection figures by data set, noise, rate, method and backbone.

    Several tables of the paper print the same ones, not always all of them.
    """
    table = load().filter(pc.field("task") == "detection")
    by = ("dataset", "noise", "rate", "method", "backbone")
    return [_merge(own) for own in groups(table, by).values()]


def _merge(own: Sequence[Row]) -> Row:
    """What several tables print of the same setting, as one row."""
    row = dict(own[0])
    # the first table that prints a figure; percent become shares
    for name in SHARES:
        printed = [r[name] / 100 for r in own if r[name] is not None]
        row[name] = printed[0] if printed else None
    # the harmonic mean, to what rounding to a tenth of a percent leaves
    if row["f1"] is None:
        precision, recall = row["precision"], row["recall"]
        row["f1"] = 2 * precision * recall / (precision + recall)
    row["source"] = ", ".join(dict.fromkeys(r["source"] for r in own))
    return row


def _plain(name: str) -> str:
    """A name of data without what people write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def backbone(model: str) -> str | None:
    """The paper's name of a CLIP checkpoint; None for any other model."""
    # anywhere in it: a hub id and a folder's path hold the same words
    match = re.search(r"clip-vit-base-(patch\d+)", model)
    return BACKBONES.get(match[1]) if match else None


def _same_setting(known: Sequence[Row], own: Row) -> list[Row]:
    """Published figures of the same data, noise and rate; of the same backbone if there are."""
    lines = [line for line in known if _is_same(line, own)]
    name = backbone(own["model"]) or MAIN
    return [line for line in lines if line["backbone"] == name] or lines


def _is_same(line: Row, own: Row) -> bool:
    if _plain(line["dataset"]) != _plain(own["data"]):
        return False
    # None, of a kind that the paper has not, is equal to none of its names
    if line["noise"] != NOISE.get(own["kind"]):
        return False
    if line["rate"] is None:  # noise as people made it
        return True
    rate = own["nominal_rate"]
    return rate is not None and abs(rate - line["rate"]) < SAME_RATE


def _line(line: Row) -> Row:
    figures = {f"published_{name}": line[name.removeprefix("clean_")] for name in CLEAN}
    return {
        "published_method": line["method"],
        "backbone": line["backbone"],
        "source": line["source"],
        **figures,
    }


def _ours(rows: Sequence[Row]) -> Row:
    if not rows:
        return {}  # columns without a value become null
    return {
        "method": rows[0]["method"],
        "preset": rows[0]["preset"],
        "seeds": len(rows),
        **{name: mean(rows, name) for name in CLEAN},
    }


def _differs(line: Row, ours: Sequence[Row], own: Row) -> Iterator[str]:
    """What is not the same there and here, one remark each."""
    if not ours:
        known = line["method"] in METHODS
        yield "not among these results" if known else "no such method here"
        return
    if backbone(own["model"]) != line["backbone"]:
        # a path's last part: where it lies says nothing of the model
        yield f"model {Path(own['model']).name} (there CLIP {line['backbone']})"
    if own["images"] != IMAGES[line["dataset"]]:
        yield f"{own['images']:,} images (there {IMAGES[line['dataset']]:,})"
    yield from _noise(line, own)
    yield from _method(METHODS[line["method"]], line, ours[0])
    if len(ours) > 1:
        yield f"mean of {len(ours)} seeds (there one)"


def _noise(line: Row, own: Row) -> Iterator[str]:
    if own["kind"] == "symmetric":
        yield "every error is another class (there the true one may be drawn)"
    if line["noise"] == "idn" and line["dataset"] in WITHOUT_INSTANCE_NOISE:
        yield "the authors' code has no instance noise for these data"
    if line["noise"] == "idn" and line["dataset"] == "Tiny-ImageNet":
        yield "noise from 32 x 32 pixels (there 64 x 64)"


def _method(counterpart: Counterpart, line: Row, row: Row) -> Iterator[str]:
    # as resolved by the scan, so defaults are among them
    settings = json.loads(row["settings"] or "{}")
    detector = counterpart.detector
    if counterpart.differs:
        yield counterpart.differs
    if counterpart.trained and row["preset"] != "paper":
        yield f"preset {row['preset']} (there as preset paper)"
    # the authors' code has a stricter rule for labels that people gave
    by_people = line["noise"] == "human"
    if detector == "deft" and by_people and settings.get("rule") != "real":
        yield "rule for planted noise (there a label must also be the best class)"
    if detector == "small-loss" and settings.get("noise_rate") is None:
        yield "noise rate estimated (there known)"
    if counterpart.batches:
        yield "over all images (there means over batches of the last epoch)"


def show(output: Path) -> dict[str, Any]:
    """What `labelsieve bench --published` shows.

    Returns:
        results, beside: of a folder with results; published: all figures where it has none.

    Raises:
        RunError: the folder's results are damaged.
    """
    file = output / "results.parquet"
    if not file.exists():
        return {"results": None, "beside": [], "published": load().to_pylist()}
    rows = beside(tables.read_parquet(file, RESULTS)).to_pylist()
    return {"results": str(file), "beside": rows, "published": []}


def sheets(results: pa.Table) -> list[Sheet]:
    """The comparison as tables, one for each tower, data set and noise.

    None where nothing was published.
    """
    head = ["method there"]
    for name in CLEAN:
        head += [f"{NAMES[name]} there", f"{NAMES[name]} here"]
    head += ["method here", "source"]
    pages = []
    for (tower, data, noise), rows in groups(beside(results), GROUP).items():
        title = f"Published beside ours: {data}, {noise}, tower {tower}"
        pages.append(Sheet(title, head, list(map(_texts, rows)), _notes(rows)))
    return pages


def _texts(row: Mapping[str, Any]) -> list[Text]:
    texts = [row["published_method"]]
    for name in CLEAN:
        texts += [figure(row[f"published_{name}"]), figure(row[name])]
    texts += [row["method"] or "–", row["source"]]
    return [Text(text) for text in texts]


def _notes(rows: Sequence[Row]) -> list[str]:
    """What differs, of our methods, each once."""
    notes = []
    for row in rows:
        if row["differs"] and row["method"]:
            notes.append(f"{row['method']}: {row['differs']}.")
    return list(dict.fromkeys(notes))
