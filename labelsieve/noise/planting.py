"""Planting label errors: a table of a data set with wrong labels made by a noise model, and the truth beside them.

The table (Parquet or CSV) has the columns `id, image, given_label, true_label` and `split` where there is one, so it can be
scanned at once with `--truth-column true_label`. Beside it, FILE.json says how it was made: noise model, nominal and
realised rate, seed, the share of each true class that was given each label, and a fingerprint of ids and labels.
Parquet holds the same in its metadata, and keeps pictures that the data hold as bytes; paths are relative to the table.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from PIL import Image

from labelsieve import files, registry
from labelsieve.data.images import decode, from_object, read_bytes
from labelsieve.data.load import load, read_class_names
from labelsieve.data.sources import Row, Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, OptionError, unknown
from labelsieve.noise.generators.asymmetric import CIFAR10

SIDE = 32  # pixels; pictures are brought to this size for noise that depends on them
BATCH = 1_000
RATED = (
    "symmetric",
    "symmetric-biased",
    "asymmetric",
    "pair",
    "instance",
)  # models that a rate decides


@dataclass(frozen=True)
class Plan:
    """Which noise.

    matrix: file for class-conditional noise: CSV of numbers, rows true and columns given classes in sorted order, or JSON
        {"true": {"given": share}} of what is mistaken. map: file for asymmetric noise: JSON {"class": "taken for"}, or lines
        class,taken-for. recorded: column for recorded noise. centre: instance noise without the mean picture. limit: only so
        many images, the same ones whatever the noise and its seed; a smaller limit takes a part of them.
    """

    kind: str
    rate: float | None = None
    seed: int = 0
    matrix: Path | None = None
    map: Path | None = None
    recorded: str | None = None
    centre: bool = False
    limit: int | None = None


@dataclass
class _Part:
    """Some rows of a source."""

    source: Source
    chosen: frozenset[int]
    notes: list[str]

    def rows(self) -> Iterator[Row]:
        return (row for i, row in enumerate(self.source.rows()) if i in self.chosen)

    def read(self, uri: str) -> Any:
        return self.source.read(uri)


def _draw(source: Source, limit: int | None) -> Source:
    if limit is None:
        return source
    order = np.random.default_rng(0).permutation(sum(1 for _ in source.rows()))
    return _Part(source, frozenset(order[:limit].tolist()), source.notes)


def plant(data: Any, plan: Plan, output: str | Path) -> dict[str, Any]:
    """Write the table and what was done; gives the latter.

    Args:
        data: what `labelsieve.load` takes; its labels are the truth.
        output: a .parquet or .csv file.

    Raises:
        OptionError: an unknown noise model, or one without what it needs.
        DataError: pictures that a CSV file cannot hold.
    """
    target = Path(output)
    if target.suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{output}' must end in .parquet or .csv.")
    model = registry.load("noise/generators", plan.kind)
    if plan.rate is None and plan.kind in RATED:
        raise OptionError(
            f"Noise '{plan.kind}' needs --rate.", "For example --rate 0.2."
        )
    source = _draw(open_source(_spec(load(data), plan)), plan.limit)
    rows = [replace(row, image=None) for row in source.rows()]
    truth = [row.truth if plan.kind == "recorded" else row.label for row in rows]
    known = np.array(
        [
            i
            for i, label in enumerate(truth)
            if label is not None and rows[i].label is not None
        ],
        dtype=int,
    )
    classes = sorted(
        {str(truth[i]) for i in known} | {str(rows[i].label) for i in known}
    )
    number = {label: k for k, label in enumerate(classes)}
    labels = np.array([number[str(truth[i])] for i in known], dtype=np.int64)
    context, readable = _context(plan, source, rows, known, classes, number)
    noisy = model.corrupt(
        labels,
        len(classes),
        plan.rate or 0.0,
        np.random.default_rng(plan.seed),
        context,
    )
    noisy = np.where(readable, noisy, labels)
    given: list[str | None] = [row.label for row in rows]
    for i, k in zip(known, noisy, strict=True):
        given[i] = classes[k]
    record = _record(
        plan,
        classes,
        labels,
        noisy,
        _nominal(plan, labels, context),
        [r.key for r in rows],
        given,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, source, given, truth, record)
    files.write_json(target.with_name(f"{target.name}.json"), record)
    return {**record, "table": str(target)}


def _spec(spec: DataSpec, plan: Plan) -> DataSpec:
    if plan.kind != "recorded":
        return spec
    if plan.recorded is None or spec.label_column is None:
        raise OptionError(
            "Recorded noise needs two columns.",
            "Give the true labels with --label-column and the others with --recorded.",
        )
    return replace(spec, label_column=plan.recorded, truth_column=spec.label_column)


def _context(
    plan: Plan,
    source: Source,
    rows: list[Row],
    known: np.ndarray,
    classes: list[str],
    number: dict[str, int],
) -> tuple[dict[str, Any], np.ndarray]:
    """What the noise model needs, and which of the labelled rows [n] have what it needs."""
    readable = np.ones(len(known), dtype=bool)
    if plan.kind == "class-conditional" and plan.matrix is not None:
        return {"matrix": read_matrix(plan.matrix, classes)}, readable
    if plan.kind == "asymmetric":
        return {"targets": _targets(plan, classes, number)}, readable
    if plan.kind == "recorded":
        return {
            "recorded": np.array(
                [number[str(rows[i].label)] for i in known], dtype=np.int64
            )
        }, readable
    if plan.kind == "instance":
        wanted = set(known.tolist())
        pixels = [_pixels(row) for i, row in enumerate(source.rows()) if i in wanted]
        readable = np.array([p is not None for p in pixels])
        blank = np.zeros(SIDE * SIDE * 3, dtype=np.uint8)
        return {
            "pixels": np.stack([blank if p is None else p for p in pixels]),
            "centre": plan.centre,
        }, readable
    return {}, readable


def _pixels(row: Row) -> np.ndarray | None:
    """uint8 [s], pixel by pixel; None where the image cannot be read."""
    try:
        picture = _picture(row.image)
    except ImageError:
        return None
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(-1)


def _picture(item: Any) -> Image.Image:
    return (
        decode(read_bytes(item))
        if isinstance(item, bytes | str | Path) or item is None
        else from_object(item)
    )


def _targets(plan: Plan, classes: list[str], number: dict[str, int]) -> np.ndarray:
    taken = read_class_names(plan.map) if plan.map is not None else CIFAR10
    strange = [name for pair in taken.items() for name in pair if name not in number]
    if strange and plan.map is None:
        raise OptionError(
            "Asymmetric noise needs --map FILE: which class is taken for which.",
            "JSON, or lines class,taken-for.",
        )
    if strange:
        raise OptionError(
            f"--map '{plan.map}': {unknown('Class', strange[0], classes)}"
        )
    return np.array([number[taken[c]] if c in taken else -1 for c in classes])


def read_matrix(path: Path, classes: list[str]) -> np.ndarray:
    """[k, k] of a file: see `Plan`.

    Raises:
        OptionError: not there, not readable, or of other classes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
        matrix = np.eye(len(classes))
        for true, mistaken in json.loads(text).items():
            for given, share in mistaken.items():
                i, j = classes.index(true), classes.index(given)
                if i != j:
                    matrix[i, j] = float(share)
                    matrix[i, i] -= float(share)
        return matrix
    except OSError as error:
        raise OptionError(
            f"--matrix '{path}' cannot be opened: {error.strerror}.",
            "Give a CSV or JSON file.",
        ) from error
    except (ValueError, AttributeError) as error:
        raise OptionError(
            f"--matrix '{path}' cannot be read: {error}.",
            f"The classes are: {', '.join(classes)}.",
        ) from error


def _nominal(plan: Plan, labels: np.ndarray, context: dict[str, Any]) -> float | None:
    """The rate that was asked for: given, or what the matrix makes of these classes; recorded labels have none."""
    if "matrix" in context:
        return (
            float(1 - np.diag(context["matrix"])[labels].mean()) if len(labels) else 0.0
        )
    return plan.rate if plan.kind in RATED else None


def _record(
    plan: Plan,
    classes: list[str],
    labels: np.ndarray,
    noisy: np.ndarray,
    nominal: float | None,
    keys: list[str],
    given: list[str | None],
) -> dict[str, Any]:
    """How the table was made."""
    counts = np.zeros((len(classes),) * 2, dtype=int)
    np.add.at(counts, (labels, noisy), 1)
    wrong = labels != noisy
    return {
        "kind": plan.kind,
        "nominal_rate": nominal,
        "realised_rate": float(wrong.mean()) if len(wrong) else 0.0,
        "seed": plan.seed,
        "images": len(keys),
        "labelled": len(labels),
        "wrong": int(wrong.sum()),
        "classes": classes,
        "counts": counts.tolist(),
        "fingerprint": hashlib.sha256(json.dumps([keys, given]).encode()).hexdigest()[
            :16
        ],
        "environment": files.environment(),
    }


def _write(
    target: Path,
    source: Source,
    given: list[str | None],
    truth: list[str | None],
    record: dict[str, Any],
) -> None:
    """Row by row again from the source, so that pictures need not fit into memory."""
    image = (
        pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        if target.suffix == ".parquet"
        else pa.string()
    )
    text = pa.string()
    fields = [
        ("id", text),
        ("image", image),
        ("given_label", text),
        ("true_label", text),
        ("split", text),
    ]
    schema = pa.schema(fields, {b"labelsieve": json.dumps(record).encode()})
    scratch = target.with_name(f".{target.name}.partial")
    write = pq.ParquetWriter if target.suffix == ".parquet" else pacsv.CSVWriter
    with write(scratch, schema) as writer:
        for part in _parts(source, given, truth, target):
            writer.write_batch(pa.RecordBatch.from_pylist(part, schema))
    scratch.replace(target)


def _parts(
    source: Source, given: list[str | None], truth: list[str | None], target: Path
) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for i, row in enumerate(source.rows()):
        part.append(
            {
                "id": row.key,
                "image": _cell(row, target),
                "given_label": given[i],
                "true_label": truth[i],
                "split": row.split,
            }
        )
        if len(part) == BATCH:
            yield part
            part = []
    yield part


def _cell(row: Row, target: Path) -> Any:
    """The image of a row as the table holds it: a path relative to the table where there is a file, else its bytes."""
    item, in_parquet = row.image, target.suffix == ".parquet"
    if isinstance(item, str | Path):
        path = os.path.relpath(item, target.parent)
        if (
            path.encode("utf-8", "replace").decode() == path
        ):  # tables hold no other names; such a file's bytes go in
            return {"bytes": None, "path": path} if in_parquet else path
    if not in_parquet:
        raise DataError(
            f"'{row.path}' is no file that a CSV table can name.",
            "Write -o FILE.parquet; it holds pictures.",
        )
    try:
        content = (
            read_bytes(item)
            if isinstance(item, bytes | str | Path)
            else _png(from_object(item))
        )
    except ImageError:
        content = b""  # unreadable here, unreadable there: the row stays
    return {"bytes": content, "path": None}


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
