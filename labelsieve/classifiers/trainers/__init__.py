"""Ways to train that are more than one pass of `Fitting`: one per file.

A file of this room offers:

    OPTION: str                       "recipe" or "loss": the option of `train` that names it
    run(beginning, place) -> (Fitting, figures)

`figures` are those of `Fitting.run`, with what the trainer adds to them. The same call after a stop
continues from the checkpoints below `place.folder` and ends with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labelsieve import registry
from labelsieve.errors import OptionError
from labelsieve.training import distributed

if TYPE_CHECKING:
    from torch import nn

    from labelsieve.classifiers.backbone import Backbone
    from labelsieve.classifiers.fine_tuning import Fitting
    from labelsieve.data.dataset import Dataset

ROOM = "classifiers/trainers"  # of the registry


@dataclass(frozen=True)
class Beginning:
    """What a training begins with.

    Attributes:
        samples: labels, weights and parts by sample id (`labelsieve.tables.SAMPLES`).
        fitting: a kind of `Fitting` and samples -> one with a fresh backbone; every call gives
            the same weights.
        trust: gives sample id -> p_clean of the scan; of a million images it is large.
    """

    samples: pa.Table
    fitting: Callable[[type[Fitting], pa.Table], Fitting]
    trust: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Place:
    """Where checkpoints go, of which command, and what is validated on (None: the part kept)."""

    folder: Path
    identity: str
    val: Dataset | None


def names(option: str) -> tuple[str, ...]:
    """Trainers that an option of `train` names."""
    found = []
    for name in registry.names(ROOM):
        if registry.constants(ROOM, name, ("OPTION",))["option"] == option:
            found.append(name)
    return tuple(found)


def refuse_two(recipe: str, loss: str) -> None:
    """Raises OptionError where both options name a trainer."""
    if recipe in names("recipe") and loss in names("loss"):
        raise OptionError(
            f"--recipe {recipe} and --loss {loss} are two ways to train.", "Name one."
        )


def need_head(backbone: Backbone, option: str) -> nn.Linear:
    """The one linear head, of which a trainer takes what it is given.

    Raises:
        OptionError: there is none, or several processes train together, each with its own part.
    """
    if backbone.linear is None:
        raise OptionError(
            f"{option} needs a model whose head is one linear layer.",
            "Take another --student.",
        )
    if distributed.size() > 1:
        raise OptionError(f"{option} trains in one process.")
    return backbone.linear


def run(
    recipe: str, loss: str, beginning: Beginning, place: Place
) -> tuple[Fitting, dict[str, Any]]:
    """Train as the two options say; neither may name a trainer."""
    from labelsieve.classifiers.fine_tuning import Fitting

    # at most one of the two is a trainer
    for option, name in (("recipe", recipe), ("loss", loss)):
        if name in names(option):
            found: tuple[Fitting, dict[str, Any]] = registry.load(ROOM, name).run(
                beginning, place
            )
            return found
    fitting = beginning.fitting(Fitting, beginning.samples)
    return fitting, fitting.run(place.folder, place.identity, place.val)
