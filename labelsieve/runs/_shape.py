"""What the files of a run hold, field by field: runs come from strangers, too, and from old
versions.

A stranger can write a run whose checksums are right. What is read here has the kinds that a scan
writes, or is named as damaged.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import CALLED
from labelsieve.data.preflight import Preflight
from labelsieve.errors import DataError, RunError
from labelsieve.runs.sets.shape import are_known, are_shares
from labelsieve.tables import check_unique

Check = Callable[[Any], bool]
LARGEST = 2**63
FIGURES = ("precision", "recall", "f1", "auroc", "ap")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _number(value: Any) -> bool:
    # true and false are numbers to Python alone, NaN and Infinity are none to JSON
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # larger integers are no numbers of a scan, and cannot be computed with
    return abs(value) < LARGEST if isinstance(value, int) else math.isfinite(value)


def _share(value: Any) -> bool:
    # sums of rounded shares may be a little above one
    return _number(value) and -1e-6 <= value <= 1 + 1e-6


def _intervals(value: Any) -> bool:
    """Whether each name has two shares."""
    pairs = value.values() if isinstance(value, dict) else [None]
    return all(
        isinstance(p, list) and len(p) == 2 and all(map(_share, p)) for p in pairs
    )


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _mapping_or_none(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _kind(value: Any) -> bool:
    return value in CALLED


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _text_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _number_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _quality(value: Any) -> bool:
    """Figures of `labelsieve.pipeline.results.evaluate_detection`, and the same of clean ones."""
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("clean"), dict):
        return False
    figures = [side.get(name) for side in (value, value["clean"]) for name in FIGURES]
    return all(figure is None or _number(figure) for figure in figures)


def _template(value: Any) -> bool:
    """Whether a class name can be put into it, as `labelsieve.load` asks for."""
    if not isinstance(value, str):
        return False
    try:
        # other braces would reach into objects ("{0.__class__}")
        return "{}" in value and value.format("") == value.replace("{}", "")
    except (LookupError, ValueError, AttributeError):
        return False


def _plain(value: Any, depth: int = 4) -> bool:
    """What settings may be: JSON that is not nested for the sake of it."""
    if isinstance(value, dict):
        return depth > 0 and all(_plain(inner, depth - 1) for inner in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_plain(inner, depth - 1) for inner in value)
    return value is None or isinstance(value, str | bool) or _number(value)


# a parent comes before its fields; what is not listed is looked at where it is used
FIELDS: Mapping[str, Check] = {
    "state": _text,
    "identity": _text,
    "command": _mapping,
    "command.data": _text,
    "command.model": _text,
    "command.method": _text,
    "command.class_names": _text_by_name,
    "command.image_column": _text_or_none,
    "command.text_column": _text_or_none,
    "command.side_text_column": _text_or_none,
    "command.label_column": _text_or_none,
    "command.truth_column": _text_or_none,
    "command.id_column": _text_or_none,
    "command.label_separator": _text_or_none,
    "command.vote_columns": _text_or_none,
    "command.count_columns": _text_or_none,
    "command.items": _text_or_none,
    "command.urls": _text_or_none,
    "command.root": _text_or_none,
    "command.split": _text_or_none,
    "command.template": _template,
    "command.settings": _plain,
    "environment": _text_by_name,
    "working_folder": _text,
    "device": _text,
    "precision": _text,
    "preprocess": _mapping,
    **dict.fromkeys(("model_stamps", "model_files"), _text_by_name),
    "data_fingerprint": _text,
    "classes": _texts,
    "method_facts": _mapping,
    "images": _number,
    "scored": _number,
    "flagged": _number,
    "noise_rate": _number_by_name,
    "noise_per_class": _number_by_name,
    "noise_class_intervals": _intervals,
    "confused_pairs": _list,
    "warnings": _texts,
    "agreement": _mapping,
    "quality": _quality,
    "findings": _mapping,
    "caveats": _texts,
    "text_warnings": _texts,
    "chosen": _text_by_name,
    "labels": _kind,
    "set_flags": _number_by_name,
    "set_noise": are_shares,
    "set_quality": _mapping_or_none,
    "set_words": _texts,
    "files": _text_by_name,
    "seconds": _number_by_name,
}
# what every version wrote into a finished run
ALWAYS = (
    "command",
    "command.data",
    "command.model",
    "command.method",
    "identity",
    "data_fingerprint",
    "images",
    "scored",
)


def check_shape(path: Path, record: Mapping[str, Any], *, whole: bool) -> None:
    """Raise RunError where a field of a run's record is not of the kind that a scan writes.

    Args:
        path: of the record, for the message.
        whole: the run is finished, so nothing may be missing that every version wrote.
    """
    for name, is_right in FIELDS.items():
        holder, key = _holder(record, name)
        lacking = whole and name in ALWAYS and key not in holder
        if lacking or (key in holder and not is_right(holder[key])):
            raise _damaged(path, name)


def _holder(record: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], str]:
    """The object that a field belongs to, and its name there."""
    parent, _, key = name.rpartition(".")
    return (record.get(parent, {}) if parent else record), key


# --- noise.json and preflight.json


def check_noise(path: Path, noise: Mapping[str, Any]) -> None:
    """Raise RunError where noise.json does not hold what an estimate holds."""
    rates = noise.get("per_class")
    if not isinstance(rates, dict) or not all(map(_share, rates.values())):
        raise _damaged(path, "per_class")
    for name in ("rate", "low", "high"):
        if not _share(noise.get(name)):
            raise _damaged(path, name)
    # runs of earlier versions have none
    intervals = noise.get("class_intervals", {})
    if not _intervals(intervals):
        raise _damaged(path, "class_intervals")
    # of sets: class by class, what is extra and what is missing
    for name in ("extra_of", "missing_of") if "extra_of" in noise else ():
        shares = noise.get(name)
        if not are_shares(shares) or set(shares or ()) != set(rates):
            raise _damaged(path, name)
    pairs = noise.get("pairs")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise _damaged(path, "pairs")
    if not _is_matrix(noise.get("matrix"), len(rates)):
        raise _damaged(path, "matrix")
    for name in ("witness", "method"):
        if not _text_or_none(noise.get(name)):
            raise _damaged(path, name)


def _is_pair(pair: Any) -> bool:
    if not isinstance(pair, dict):
        return False
    names = _text(pair.get("given")) and _text(pair.get("suggested"))
    return names and _number(pair.get("images"))


def _is_matrix(matrix: Any, k: int) -> bool:
    """Whether this is a [k, k] matrix as triplets."""
    if not isinstance(matrix, dict):
        return False
    columns: list[Any] = [matrix.get(name) for name in ("given", "true", "share")]
    if not all(isinstance(column, list) for column in columns):
        return False
    given, true, share = columns
    numbers = [*given, *true]
    places = all(type(n) is int and 0 <= n < k for n in numbers)
    alike = len(given) == len(true) == len(share)
    return places and alike and all(map(_share, share))


def check_preflight(path: Path, found: Mapping[str, Any]) -> None:
    """Raise RunError where preflight.json is not a `labelsieve.data.preflight.Preflight`."""
    kinds = typing.get_type_hints(Preflight)
    for name, value in found.items():
        if name not in kinds or not _fits(value, kinds[name]):
            raise _damaged(path, name)
    try:
        Preflight(**found)
    except TypeError as error:  # a field without a default is missing
        raise _damaged(path, str(error).rpartition(" ")[2].strip("'")) from error


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of an annotated kind."""
    holder, inner = typing.get_origin(kind), typing.get_args(kind)
    if holder is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if holder is dict:
        return isinstance(value, dict) and all(
            _fits(v, inner[1]) for v in value.values()
        )
    if holder in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Any:
        return True
    if kind in (int, float):
        return _number(value) and isinstance(value, int if kind is int else int | float)
    return isinstance(value, kind)


def _damaged(path: Path, name: str) -> RunError:
    return RunError(
        f"'{path}' is damaged: '{name}' is missing or not what a scan writes.",
        "Restore it from a copy, or run the command again with --force.",
    )


# --- tables


def check_ids(path: Path, table: pa.Table) -> None:
    """Raise RunError where an image has no id, or two have the same."""
    try:
        check_unique(table)
    except DataError as error:
        raise _wrong(path, error.what) from error
    if table["sample_id"].null_count:
        raise _wrong(path, "An image has no sample_id.")


def check_same_images(path: Path, table: pa.Table, scores: pa.Table) -> None:
    """Raise RunError where a table is about other images than the scores, or twice."""
    _check_same(path, table, scores)


def _check_same(path: Path, table: pa.Table, scores: pa.Table) -> None:
    ids = table["sample_id"].combine_chunks()
    known = pc.all(pc.is_in(scores["sample_id"], ids), min_count=0).as_py()
    # as many rows as the scores have ids, and all of these among them: each stands there once
    if len(table) != len(scores) or not known:
        check_ids(path, table)
        raise _wrong(path, "It is about other images than scores.parquet.")


def typed(path: Path, table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of a schema in its types, and its other columns as they are.

    Raises:
        RunError: a column is missing or of another kind.
    """
    for field in schema:
        if table.column_names.count(field.name) != 1:
            raise _wrong(path, f"It does not have one column '{field.name}'.")
        place = table.column_names.index(field.name)
        try:
            column = table.column(place).cast(field.type)
        except (pa.ArrowException, ValueError) as error:
            raise _wrong(path, f"'{field.name}' is of another type.") from error
        table = table.set_column(place, field, column)
    return table


def check_shares(path: Path, name: str, values: pa.ChunkedArray | pa.Array) -> None:
    """Raise RunError where a column of probabilities holds something else; null is allowed."""
    try:
        bounds = pc.min_max(values).as_py()
        odd = pc.any(pc.is_nan(values)).as_py()
    except pa.ArrowException as error:  # text, lists
        raise _wrong(path, f"'{name}' are no numbers.") from error
    lowest, highest = bounds["min"], bounds["max"]
    if odd or (lowest is not None and not (_share(lowest) and _share(highest))):
        raise _wrong(path, f"'{name}' are not between 0 and 1.")


def check_scores(path: Path, table: pa.Table) -> None:
    """Raise RunError where scores are of no images, or what is said of one is half said."""
    check_ids(path, table)
    for name in ("p_clean", "suggested_prob"):
        check_shares(path, name, table[name])
    for name in ("path", "status"):
        if table[name].null_count:
            raise _wrong(path, f"'{name}' is missing for an image.")
    # nothing is said of an image, or all of it is
    said = table.filter(pc.is_valid(table["is_label_issue"]))
    for name in ("p_clean", "given_label"):
        if said[name].null_count:
            raise _wrong(path, f"'{name}' is missing for an image that was judged.")


def check_probs(
    path: Path, table: pa.Table, classes: list[str], scores: pa.Table, labels: str
) -> None:
    """Raise RunError where it is not a probability per class for every judged image."""
    k = len(classes)
    if not {"sample_id", "probs"} <= set(table.column_names):
        raise _wrong(path, "It lacks the columns sample_id and probs.")
    if not pa.types.is_string(table.schema.field("sample_id").type):
        raise _wrong(path, "'sample_id' is of another type.")
    _check_judged(path, table, classes, scores, labels)
    kind = table.schema.field("probs").type
    fixed = pa.types.is_fixed_size_list(kind) and kind.list_size == k
    if not fixed or not pa.types.is_floating(kind.value_type):
        raise _wrong(path, f"'probs' are not {k} numbers each.")
    values = table["probs"].combine_chunks().flatten()
    # a missing one would move all that follow
    if len(values) != k * len(table) or values.null_count:
        raise _wrong(path, f"'probs' are not {k} numbers each.")
    check_shares(path, "probs", values)


def _check_judged(
    path: Path, probs: pa.Table, classes: list[str], scores: pa.Table, labels: str
) -> None:
    judged = scores.filter(pc.is_valid(scores["p_clean"]))
    _check_same(path, probs, judged)
    if not are_known(judged, classes, labels):
        raise _wrong(path, "Labels in scores.parquet are none of its classes.")


def _wrong(path: Path, why: str) -> RunError:
    return RunError(
        f"'{path}' is damaged: {why[0].lower()}{why[1:].rstrip('.')}.",
        "Restore it from a copy, or run the command again with --force.",
    )
