"""What changes the meaning of a result, in a sentence each: it stands beside the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from labelsieve.data.labels import SET
from labelsieve.data.preflight import Preflight
from labelsieve.models.load import DEMO, DEMO_SIDE, PHOTOS, READER, WORDS
from labelsieve.progress import counted, percent
from labelsieve.runs.run import Run
from labelsieve.tables import QUALITY, read_parquet

# Below, an estimated share of wrong labels has an interval that says next to nothing.
FEW_IMAGES = 100
# How much longer than wide pictures are of which the middle is not enough, with one label (what
# people take pictures of is in the middle of 16:9, too) and with several.
LONG, LONG_OF_SETS = 1.9, 1.4
MANY = 0.1  # share of such pictures that is worth a word
# Images of a class from which neighbours and probes learn what it looks like.
FEW_OF_CLASS = 5


def of_run(
    run: Run,
    model: str,
    findings: Mapping[str, Any],
    names: list[str] | None,
    facts: Mapping[str, Any],
) -> list[str]:
    """What a person must know before the verdict.

    Args:
        model: that judged the images.
        findings: what `labelsieve.pipeline.findings.write` gave.
        names: warnings about the class names; None where nothing has read them.
        facts: `preprocess` of the model, and `labels` of sets, as the record has them.
    """
    checked = Preflight(**run.preflight)
    # of texts there are duplicates alone
    side = _typical_side(run) if "crops_sought" in findings else 0.0
    of_model = list(_of_model(model, side))
    # what the demo model knows of photos says nothing about the names
    if not of_model and names is not None:
        of_model += [*names, *_of_names(checked)]
    if "crops_sought" in findings:
        of_model += _of_shape(run, facts)
    return [*of_model, *_of_size(checked)]


def demo_on_photos(side: float) -> str:
    """The sentence about the demo model and pictures of this side in pixels."""
    return (
        f"The demo model ({DEMO}) judged these pictures, about {side:.0f} pixels wide, as "
        f"32 × 32 pixels: for photos take --model {PHOTOS}."
    )


def _of_model(model: str, side: float) -> Iterator[str]:
    if model == DEMO and side > DEMO_SIDE:
        yield demo_on_photos(side)
    if model == WORDS:
        yield OF_WORDS


# what a person is told before the verdict
OF_WORDS = (
    f"The embedded model ({WORDS}) compared these texts by the words they share: it does not "
    f"understand meaning, and class names tell it little. --model {READER} does; it is downloaded "
    "once (about 92 MB)."
)


def _of_shape(run: Run, facts: Mapping[str, Any]) -> Iterator[str]:
    """Where a model that cuts a square out of the middle misses much of many pictures."""
    prepared = facts.get("preprocess") or {}
    if prepared.get("shortest_edge") is None:
        return
    sides = read_parquet(run.file("quality.parquet"), QUALITY).select(
        ["width", "height"]
    )
    sizes = np.column_stack([column.to_numpy() for column in sides.columns])
    sizes = sizes[~np.isnan(sizes).any(1)]
    # what a person labels may stand at the side, of a set even mostly
    long = LONG_OF_SETS if facts.get("labels") == SET else LONG
    cut = sizes.max(1) > long * sizes.min(1)
    if cut.sum() > MANY * len(cut):
        lost = float(np.median(1 - sizes[cut].min(1) / sizes[cut].max(1)))
        yield (
            f"Of {int(cut.sum()):,} of {counted(len(cut), 'picture')} the model saw only the "
            f"square in the middle, {percent(1 - lost)} of each or so: labels of what stands at "
            "the sides look wrong."
        )


def _of_names(checked: Preflight) -> Iterator[str]:
    if 2 * len(checked.id_like) > len(checked.classes):
        yield (
            "Most class names look like ids and say nothing to a model that reads: "
            "give names in words with --class-names."
        )


def _of_size(checked: Preflight) -> Iterator[str]:
    if checked.usable < FEW_IMAGES:
        yield f"With {counted(checked.usable, checked.noun)} every figure here is rough."
    # neighbours and probes of such a class are mostly other classes
    small = sum(count < FEW_OF_CLASS for count in checked.classes.values())
    if 2 * small > len(checked.classes):
        yield (
            f"{small} of {len(checked.classes)} classes have fewer than {FEW_OF_CLASS} "
            f"{checked.noun}s: too few to learn what they are like."
        )


def _typical_side(run: Run) -> float:
    """Median over the images of the mean side, in pixels; 0 where none could be read."""
    table = read_parquet(run.file("quality.parquet"), QUALITY)
    area = pc.multiply(table["width"], table["height"]).drop_null()
    return float(np.median(np.sqrt(area.to_numpy()))) if len(area) else 0.0
