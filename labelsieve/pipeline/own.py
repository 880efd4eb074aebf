"""A scan with embeddings or class probabilities of the user's own in the place of a model's."""

from __future__ import annotations

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

import numpy as np

from labelsieve import registry
from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.sources import Source
from labelsieve.data.spec import DataSpec, Given
from labelsieve.errors import OptionError
from labelsieve.features import task as given
from labelsieve.features.task import Task
from labelsieve.models.load import DEMO
from labelsieve.pipeline.choice import AUTO
from labelsieve.progress import counted, note


def settle(spec: DataSpec, method: ModuleType, options: Any) -> Any:
    """Options of a scan; with own embeddings "auto" takes the model that needs no download.

    It prepares the pictures for those who look at them; nothing is judged by it.

    Raises:
        OptionError: the method needs a model that sees pictures or reads names.
    """
    if spec.embeddings is None and spec.pred_probs is None:
        return options
    # a method that reads names or trains on pictures would judge by another model
    if method.NEEDS:
        without = []
        for name in registry.names("methods"):
            if not registry.constants("methods", name, ("NEEDS",))["needs"]:
                without.append(name)
        raise OptionError(
            f"Method {options.method} needs a model, and own embeddings or predictions are none.",
            f"Take one of: {', '.join(without)}.",
        )
    if options.model == AUTO and spec.embeddings is not None:
        return replace(options, model=DEMO)
    return options


def digests(spec: DataSpec) -> dict[str, str]:
    """What of the user's own decides the result, for the command of a run."""
    own = {"embeddings": spec.embeddings, "pred_probs": spec.pred_probs}
    return {name: value.digest for name, value in own.items() if value is not None}


def task_for(spec: DataSpec, source: Source, task: Task) -> Task:
    """The task with what the user gave, joined by id; the task itself where that is nothing.

    Raises:
        DataError: an image has no row, or numbers that cannot be.
    """
    if spec.embeddings is None and spec.pred_probs is None:
        return task
    features, answers = numbers(spec, source, task.data)
    if features is not None:
        # in their file, from which only what is used is in memory
        features = given.mapped(features)
    # a task with the same data, model and seed
    known = {field.name: getattr(task, field.name) for field in fields(Task)}
    return given.GivenTask(**known, own_features=features, own_answers=answers)


def numbers(
    spec: DataSpec, source: Source, data: Dataset
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Features [n, d] and answers [n, k] of the user's own; None where none were given.

    Raises:
        DataError: an image has no row, or numbers that cannot be.
    """
    features = answers = None
    if spec.embeddings is not None:
        features = given.unit(_rows(spec.embeddings, source, data))
    if spec.pred_probs is not None:
        rows = _rows(spec.pred_probs, source, data)
        columns = spec.pred_probs.classes
        of_kind = {SINGLE: given.answers, SET: given.set_answers}
        answers = of_kind[data.coding.kind](rows, columns, data.classes)
        strange = [name for name in columns or () if name not in data.classes]
        if strange:
            columns_are = counted(len(strange), "column", "is", "are")
            note(
                f"{columns_are} left out of pred_probs, as no image has the class "
                f"(first: '{strange[0]}')."
            )
    return features, answers


def _rows(own: Given, source: Source, data: Dataset) -> np.ndarray:
    # keys in the order of the data are needed only where the user said that rows match
    keys = [] if own.ids is not None else [row.key for row in source.rows()]
    return own.rows_of(data.ids, keys)


def facts(spec: DataSpec) -> dict[str, str]:
    """What the user gave, in a sentence for run.json; empty where that is nothing."""
    own = []
    if spec.embeddings is not None:
        own.append("embeddings")
    if spec.pred_probs is not None:
        own.append("predictions")
    return {"why": given.WHY.format(" and ".join(own))} if own else {}
