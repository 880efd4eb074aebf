"""The data of a cell: a table of images with given and true labels, planted, drawn or as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from labelsieve import registry, tables
from labelsieve.bench.plan import SETS, Data, Noise
from labelsieve.bench.plan import Plan as Configured
from labelsieve.bench.sets import mosaics
from labelsieve.data.load import load, read_class_names
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError
from labelsieve.noise import planting
from labelsieve.noise.context import Plan
from labelsieve.pipeline import demo

COLUMNS = (
    *("image_column", "label_column", "truth_column", "id_column", "split"),
    *("label_separator", "vote_columns", "count_columns", "items", "urls"),
)
OWN = ("embeddings", "pred_probs")  # files of numbers in the place of a model's
# A column that is named outweighs the votes; any, as types of the other fields differ.
NO_VOTES: dict[str, Any] = {"vote_columns": None, "count_columns": None}
# Of the embedded digits as this file writes them.
EMBEDDED = {
    "image_column": "image",
    "label_column": "true_label",
    "id_column": "id",
}


def with_own(plan: Configured, root: Path, own: Mapping[str, str | None]) -> Configured:
    """The plan with the user's own embeddings or predictions, checked before anything runs.

    Args:
        root: folder that names in the configuration are relative to.
        own: "embeddings" and "pred_probs" as the command line names them, from here.

    Raises:
        OptionError: it is not clear whose they are, a file is missing, or a method needs a model.
    """
    # any, as types of the other fields differ
    named: dict[str, Any] = {
        name: str(Path(file).resolve()) for name, file in own.items() if file
    }
    if named and len(plan.data) != 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in named)
        raise OptionError(
            f"{flags}: '{plan.name}' has {len(plan.data)} data sets.",
            'Write embeddings = "…" into the [[data]] that they are of.',
        )
    if named:
        plan = replace(plan, data=(replace(plan.data[0], **named),))
    for data in plan.data:
        if _own(data, root):
            _check_own(plan, data, root)
    return plan


def _check_own(plan: Configured, data: Data, root: Path) -> None:
    for name, file in _own(data, root).items():
        if not Path(file).is_file():
            raise OptionError(f"{name} of '{data.name}': '{file}' does not exist.")
    for method in plan.methods:
        needs = registry.constants("methods", method.detector, ("NEEDS",))["needs"]
        # it would judge by the tower, beside others that judge by the user's own numbers
        if needs:
            raise OptionError(
                f"Method {method.name} needs a model, and '{data.name}' brings numbers of its "
                "own.",
                "Leave it out, or bench it with a configuration of its own.",
            )


def own_files(data: Data) -> dict[str, str]:
    """The user's own embeddings and predictions of a data set, as it names their files."""
    files = {name: getattr(data, name) for name in OWN}
    return {name: file for name, file in files.items() if file is not None}


def _own(data: Data, root: Path) -> dict[str, str]:
    return {name: str((root / f).resolve()) for name, f in own_files(data).items()}


def material(job: Mapping[str, Any], folder: Path, watch: object) -> dict[str, Any]:
    """A table with given and true labels: planted, drawn, or as it is.

    Args:
        job: data, noise, seed and data_root, as `labelsieve.bench.steps` wrote them.
        folder: where a table goes.

    Returns:
        spec: of the table.
        own: files of the user's own embeddings and predictions, which are joined by id.
    """
    made = _material(job, folder)
    return {**made, "own": _own(Data(**job["data"]), Path(job["data_root"]))}


def _material(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    data = Data(**job["data"])
    noise = Noise(**job["noise"])
    root = Path(job["data_root"])
    spec = _source(data, root, folder)
    if data.mosaics:
        return _mosaics(spec, folder, data.mosaics, noise, job["seed"])
    if noise.kind == "recorded":
        given = noise.column or spec.label_column
        # nothing is copied where the labels that somebody gave are a column
        if _is_whole(data, spec):
            votes = NO_VOTES if noise.column else {}
            return _as_it_is(replace(spec, label_column=given, **votes))
        plan = Plan("recorded", recorded=given, limit=data.limit)
        return _plant(_of_truth(spec, spec.truth_column), plan, folder)
    plan = Plan(
        noise.kind,
        noise.rate,
        job["seed"],
        _below(root, noise.matrix),
        _below(root, noise.map),
        None,
        noise.centre,
        limit=data.limit,
    )
    return _plant(_of_truth(spec), plan, folder)


def truth(job: Mapping[str, Any], folder: Path, watch: object) -> dict[str, Any]:
    """The same images with their true labels, or the given ones where `known` is false."""
    data = Data(**job["data"])
    spec = _source(data, Path(job["data_root"]), folder)
    known = job["labels_are_true"] or spec.truth_column is not None
    if data.mosaics:
        none = Noise(SETS, 0.0)
        return {**_mosaics(spec, folder, data.mosaics, none, 0), "known": True}
    spec = _of_truth(spec)
    if _is_whole(data, spec):
        return {**_as_it_is(spec), "known": known}
    # no errors at all: planting draws the same images as for the cells
    plan = Plan("symmetric", 0.0, limit=data.limit)
    return {**_plant(spec, plan, folder), "known": known}


def _mosaics(
    spec: DataSpec, folder: Path, count: int, noise: Noise, seed: int
) -> dict[str, Any]:
    """A table of mosaics of the pictures with their true labels."""
    path = folder / "table.parquet"
    errors = noise.rate or 0.0, noise.added
    mosaics.write(open_source(_of_truth(spec)), path, count, errors, seed)
    return {"spec": _as_json(_planted(path, spec))}


def _planted(path: Path, spec: DataSpec) -> DataSpec:
    """The columns of every planted table, whatever the source called its own."""
    table = DataSpec(path, "image", "given_label", "true_label", "id")
    return replace(table, class_names=spec.class_names, template=spec.template)


def _of_truth(spec: DataSpec, column: str | None = None) -> DataSpec:
    """True labels as the labels; the only ones there are where no others are named."""
    truth = column or spec.truth_column
    # without others, the majority of votes counts as true
    votes = NO_VOTES if truth else {}
    label = truth or spec.label_column
    return replace(spec, label_column=label, truth_column=None, **votes)


def _is_whole(data: Data, spec: DataSpec) -> bool:
    """Whether the data can be read where they are, without a table of their own."""
    return data.limit is None and isinstance(spec.data, str | Path)


def _below(root: Path, path: str | None) -> Path | None:
    return None if path is None else root / path


def _as_it_is(spec: DataSpec) -> dict[str, Any]:
    open_source(spec)  # what is wrong with it stops this step, not every cell
    return {"spec": _as_json(spec)}


def _plant(spec: DataSpec, plan: Plan, folder: Path) -> dict[str, Any]:
    path = folder / "table.parquet"
    planting.plant(spec, plan, path)
    return {"spec": _as_json(_planted(path, spec))}


def _source(data: Data, root: Path, folder: Path) -> DataSpec:
    """What the configuration says of the data, as scan takes it."""
    names = _class_names(data, root)
    if data.archive is not None:
        archive = registry.load("data/archives", data.archive)
        spec: DataSpec = archive.open(root / (data.folder or ""), data.split or "train")
        names = {**spec.class_names, **names}
        return load(spec, class_names=names, template=data.template)
    columns = {name: getattr(data, name) for name in COLUMNS}
    # an address stays as it is, a path lies below --data-root
    path = data.path or ""
    where: str | Path = path if "://" in path else root / path
    if data.embedded is not None:
        where = folder / "source.parquet"
        tables.write_parquet(demo.digits(0.0), where)
        columns = EMBEDDED
    # paths inside a table are relative to the table's folder unless a root is named
    inner = None if data.root is None else str((root / data.root).resolve())
    return load(where, **columns, root=inner, class_names=names, template=data.template)


def _class_names(data: Data, root: Path) -> Mapping[str, str]:
    if isinstance(data.class_names, str):
        return read_class_names(root / data.class_names)
    return data.class_names


def _as_json(spec: DataSpec) -> dict[str, Any]:
    """A spec to be written down; paths in full, so that the bench may be started anywhere."""
    data = str(spec.data.resolve()) if isinstance(spec.data, Path) else str(spec.data)
    return {**asdict(spec), "data": data}
