"""Planted label errors: one noise model per file.

A file of this room offers `corrupt(labels, classes, rate, rng, context) -> labels`: int64 [n]
in, int64 [n] out, the input untouched; where it says `LABELS = "set"`, bool [n, k] instead of
both. `context` maps names to what some models need beside the
labels; each file says which of these it takes:

    matrix    [k, k] float: rows true class, columns given label, rows sum to one
    targets   [k] int: the class that each class is taken for, -1 for a class that is never mistaken
    pixels    [n, s] float: the pictures, all of one size
    centre    bool: whether the mean picture is taken off the pixels
    recorded  [n] int: labels that somebody gave
    added     float: of sets, expected number of labels put in for each that is there
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelsieve.errors import OptionError


def check(rate: float, classes: int) -> None:
    """Raises OptionError when the rate is no probability, or there is no other class."""
    if not 0 <= rate <= 1:
        raise OptionError(
            f"A noise rate of {rate} is impossible.", "Give a number from 0 to 1."
        )
    if classes < 2:
        raise OptionError(
            f"Labels cannot be replaced among {classes} class.",
            "Give data with two or more classes.",
        )


def need(
    context: Mapping[str, Any] | None, name: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    """What a model needs beside the labels; None in `shape` stands for any size.

    Raises:
        OptionError: it is missing or of another shape.
    """
    value = None if context is None else context.get(name)
    if value is None:
        raise OptionError(
            f"This noise model needs '{name}'.",
            "See labelsieve noise --help for the option that gives it.",
        )
    array = np.asarray(value)
    if not _fits(array.shape, shape):
        wanted = " x ".join("any" if s is None else str(s) for s in shape)
        raise OptionError(
            f"'{name}' has the shape {' x '.join(map(str, array.shape))}.",
            f"It must be {wanted}.",
        )
    return array


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(want in (None, have) for have, want in zip(shape, wanted, strict=True))
