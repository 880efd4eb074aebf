"""`labelsieve train --student A,B --recipe X,Y`: every pair is trained, the best one is kept.

The best is the one that agrees with most held-out labels, the first that was named where several
do; whether it is really better than another is told by the tests of `labelsieve compare`. The
labels are those that each candidate chose its epoch on, so that all of them look a little better
than they are.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import progress
from labelsieve.classifiers.classifier import BATCH, Classifier
from labelsieve.classifiers.comparison import held_out
from labelsieve.classifiers.comparison.held_out import Validation
from labelsieve.classifiers.predict import SAMPLES
from labelsieve.classifiers.train import (
    OWNED,
    TrainOptions,
    model_folder,
    own_folder,
    train,
)
from labelsieve.classifiers.trainers._data import read, spec_for, validation_spec
from labelsieve.classifiers.training_set import VALIDATION
from labelsieve.data.batches import batches
from labelsieve.data.dataset import prepare
from labelsieve.errors import OptionError
from labelsieve.files import replacing
from labelsieve.runs.folder import FINISHED
from labelsieve.runs.run import Run
from labelsieve.settings import override
from labelsieve.tables import read_parquet

BESIDE = "-candidates"  # folder of the candidates: that of the model, with this behind
COMPUTED = ("device", "precision")  # options that say how a model answers


def choose(
    run: str | Path | Run,
    students: Sequence[str] = ("clip",),
    recipes: Sequence[str] = ("auto",),
    *,
    output: str | Path | None = None,
    data: Any = None,
    val: Any = None,
    force: bool = False,
    **choices: Any,
) -> Classifier:
    """Train a classifier for each student and recipe, and save the best on held-out labels.

    Interrupted at any time, the same call continues: candidates that are finished are not trained
    again.

    Args:
        run, output, data, val, force: as in `labelsieve.train`. Candidates lie beside the output.
        students, recipes: names that `labelsieve.train` takes.
        choices: other fields of `labelsieve.classifiers.train.TrainOptions`.

    Returns:
        the best one; its record says how the candidates compare (figures, candidates).

    Raises:
        LabelsieveError: as `labelsieve.train`; nothing to choose from, or nothing is held out.
    """
    opened = run if isinstance(run, Run) else Run(run)
    pairs = list(dict.fromkeys(product(students, recipes)))
    if len(pairs) < 2:
        raise OptionError("One candidate leaves no choice.", "Name two or more.")
    path = Path(output) if output is not None else own_folder(opened)
    # all are checked before hours are spent on the first
    for student, recipe in pairs:
        override(TrainOptions(), {**choices, "student": student, "recipe": recipe}, "")
    progress.note(f"{len(pairs)} trainings; the best on held-out labels is kept.")
    # each in a folder of its own, with checkpoints of its own
    folders = {}
    for student, recipe in pairs:
        name = f"{student}, {recipe}"
        folder = _folder(path, student, recipe)
        words: dict[str, Any] = {**choices, "student": student, "recipe": recipe}
        train(opened, output=folder, data=data, val=val, force=force, **words)
        folders[name] = folder
    how = {name: choices[name] for name in COMPUTED if name in choices}
    models = {n: Classifier.from_pretrained(f, **how) for n, f in folders.items()}
    facts = _compared(opened, folders, models, data, val)
    if facts is None:
        raise OptionError(
            "Nothing is held out to choose by.",
            "Leave --set val_share=0 out, or name data with --val.",
        )
    _keep(path, folders[facts["best"]], facts, force)
    return Classifier.from_pretrained(path, **how)


def by_names(student: str, recipe: str) -> Callable[..., Classifier]:
    """`labelsieve.train`, or `choose` where one of the two names several, with commas between."""
    # a folder may have a comma in its name
    students = [student] if Path(student).exists() else student.split(",")
    recipes = recipe.split(",")
    if len(students) * len(recipes) == 1:
        return partial(train, student=student, recipe=recipe)
    return partial(choose, students=students, recipes=recipes)


def _folder(path: Path, student: str, recipe: str) -> Path:
    # names of students may be paths
    name = re.sub(r"[^\w.+-]+", "_", f"{student}+{recipe}").strip("_")
    return path.with_name(path.name + BESIDE) / name


def _compared(
    opened: Run,
    folders: dict[str, Path],
    models: dict[str, Classifier],
    data: Any,
    val: Any,
) -> dict[str, Any] | None:
    """The candidates on the same held-out labels, joined by id."""
    # all answer for the rows of the first, in its order
    right, first = {}, None
    for name, model in models.items():
        aside = _aside(opened, model, folders[name], data, val)
        if first is None:
            first = aside
        hits = []
        for rows in batches(aside.rows, BATCH, None):
            probs = model.probabilities(aside.images.inputs(rows))
            hits.append(probs.argmax(1) == aside.labels[rows])
        if not hits:
            return None
        # each prepares images in its own way, and so has its own order
        wanted = first.images.ids.take(first.rows)
        where = pc.index_in(wanted, aside.images.ids.take(aside.rows))
        right[name] = np.concatenate(hits)[where.to_numpy()]
    return None if first is None else held_out.between(right, first)


def _aside(
    opened: Run, model: Classifier, folder: Path, data: Any, val: Any
) -> Validation:
    """What a candidate was validated on."""
    spec = spec_for(opened, data)
    # data of the user's own: all of them, and nothing is known of their errors
    if val is not None:
        named = validation_spec(spec, val)
        images = prepare(named, model.preprocess, classes=model.classes).dataset
        return Validation(images, np.arange(len(images)), images.labels)
    samples = read_parquet(folder / SAMPLES)
    kept = samples.filter(pc.equal(samples["part"], VALIDATION))
    images = read(opened, spec, model.preprocess)
    # all that were scored can be read, or `read` would have said so
    where = pc.index_in(kept["sample_id"].combine_chunks(), images.ids)
    rows = np.sort(where.to_numpy()).astype(np.int64)
    labels = _labels(samples, images.ids, images.classes)
    noise = held_out.noise_of(opened, images, labels, rows)
    return Validation(images, rows, labels, noise)


def _labels(samples: pa.Table, ids: pa.Array, classes: Sequence[str]) -> np.ndarray:
    """Class numbers [n] of images, by id."""
    # as they were decided, which may not be as they were given
    number = {name: k for k, name in enumerate(classes)}
    rows = pc.index_in(ids, samples["sample_id"].combine_chunks())
    named = samples["label"].take(rows).to_pylist()
    return np.array([number[name] for name in named], dtype=np.int64)


def _keep(path: Path, best: Path, facts: dict[str, Any], force: bool) -> None:
    """The best candidate as the model of the folder, with its record."""
    won = model_folder(best).read()
    folder = model_folder(path)
    with folder.locked():
        # the same command as that of the one training: who asks for it finds it done
        done = folder.begin(won["command"], force=force) == FINISHED
        if not done:
            for name in OWNED:
                _copy(best / name, path / name)
        figures = {**won["figures"], "candidates": facts}
        known = {**won, "figures": figures, "folder": str(path)}
        # what was finished before has the figures of its own training alone
        folder.finish({**known, "state": FINISHED})


def _copy(old: Path, new: Path) -> None:
    # the last epoch is a folder; not every training leaves one
    if old.is_dir():
        shutil.copytree(old, new, dirs_exist_ok=True)
    elif old.is_file():
        with replacing(new) as scratch:
            shutil.copyfile(old, scratch)
