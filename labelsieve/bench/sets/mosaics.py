"""Mosaics: 2 x 2 real pictures of single classes make one picture with a set of labels.

They are made: no person labelled them, and their parts lie on a grid that regions of a quarter
match. Of each, 1 to 4 classes are drawn evenly, then a picture of one of them for each quarter,
each class at least once. Given sets lack some labels and have others besides, at random.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from labelsieve.data.images import open_image, read_bytes
from labelsieve.data.sources import Source
from labelsieve.errors import OptionError
from labelsieve.noise.generators import sets
from labelsieve.tables import write_parquet

QUARTERS = 4
SIDE = 32  # pixels of a part: those of CIFAR's pictures; others are resized
SETS = pa.list_(pa.string())


def write(
    source: Source, path: Path, count: int, noise: tuple[float, float], seed: int
) -> None:
    """Write a table of mosaics: id, image, given_label and true_label, lists of classes.

    Args:
        source: pictures with their true classes as labels.
        noise: share of the labels that are dropped, and labels that are added for each that there
            is.
        seed: of the errors; the pictures are the same for all.

    Raises:
        OptionError: fewer than four classes.
    """
    rows = [row for row in source.rows() if row.label is not None]
    classes = sorted({str(row.label) for row in rows})
    if len(classes) < QUARTERS:
        raise OptionError(
            f"Mosaics need {QUARTERS} classes; the data have {len(classes)}."
        )
    of_class: dict[str, list[int]] = {name: [] for name in classes}
    for number, row in enumerate(rows):
        of_class[str(row.label)].append(number)
    parts = _drawn(of_class, count)
    true = np.zeros((count, len(classes)), dtype=bool)
    images = []
    for number, chosen in enumerate(parts):
        images.append(_mosaic([rows[part].image for part in chosen]))
        for part in chosen:
            true[number, classes.index(str(rows[part].label))] = True
    given = with_errors(true, *noise, seed)
    columns = {
        "id": pa.array([str(number) for number in range(count)]),
        "image": pa.array(images, pa.binary()),
        "given_label": pa.array(_names(given, classes), SETS),
        "true_label": pa.array(_names(true, classes), SETS),
    }
    write_parquet(pa.table(columns), path)


def _drawn(of_class: dict[str, list[int]], count: int) -> list[list[int]]:
    """Rows of the four parts of each mosaic."""
    # a seed of its own: whatever errors are planted, the same pictures are compared
    rng = np.random.default_rng(0)
    names = list(of_class)
    parts = []
    for _ in range(count):
        # the number first: sets of one are as frequent as sets of four
        chosen = rng.choice(len(names), rng.integers(1, QUARTERS + 1), replace=False)
        more = rng.choice(chosen, QUARTERS - len(chosen))
        order = rng.permutation([*chosen, *more])
        parts.append([int(rng.choice(of_class[names[k]])) for k in order])
    return parts


def _mosaic(pictures: Sequence[Any]) -> bytes:
    """Four pictures as one, losslessly encoded."""
    whole = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for place, picture in enumerate(pictures):
        with open_image(read_bytes(picture)) as part:
            small = part.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        whole.paste(small, (place % 2 * SIDE, place // 2 * SIDE))
    encoded = io.BytesIO()
    whole.save(encoded, "PNG")
    return encoded.getvalue()


def with_errors(
    true: np.ndarray, dropped: float, added: float, seed: int
) -> np.ndarray:
    """[n, k] bool sets with errors, each label by itself.

    Args:
        true: [n, k] bool.
        dropped: chance that a label is left out.
        added: expected number of labels that are put in, for each that is there.
    """
    rng = np.random.default_rng([seed, *true.shape])
    return sets.corrupt(true, true.shape[1], dropped, rng, {"added": added})


def _names(sets: np.ndarray, classes: Sequence[str]) -> list[list[str]]:
    return [[classes[k] for k in np.flatnonzero(row).tolist()] for row in sets]
