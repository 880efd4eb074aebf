"""`labelsieve compare`: which of several classifiers is better, without clean labels.

All answer the same images that none of them was trained on; see
`labelsieve.estimation.validation.noisy_accuracy` for what follows from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.classifiers.classifier import BATCH, Classifier
from labelsieve.classifiers.predict import _open, _probabilities, trained_on
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.errors import DataError, OptionError
from labelsieve.estimation.noise_rate import noise_matrix
from labelsieve.estimation.validation import noisy_accuracy
from labelsieve.estimation.validation.noisy_accuracy import ClassNoise
from labelsieve.progress import counted
from labelsieve.runs.run import Run

FEW = 100  # images: below, next to nothing can be told apart
UNLIKE = (
    2.0  # D_max / D_min; above, the order on noisy labels says little about the other
)

UNKNOWN = (
    "How labels come about is not known, so nothing is said of right ones: name a scan "
    "with --run, or the share of wrong labels with --noise-rate."
)


@dataclass(frozen=True)
class Answers:
    """Of one classifier: sample ids, labels, and whether each label was given."""

    name: str
    ids: pa.Array
    labels: np.ndarray
    right: np.ndarray
    classes: tuple[str, ...]


def compare(
    models: Sequence[str | Path | Classifier],
    data: Any,
    *,
    run: str | Path | Run | None = None,
    noise_rate: float | None = None,
    batch_size: int = BATCH,
    device: str = "auto",
    precision: str = "auto",
) -> dict[str, Any]:
    """Judge classifiers on labels that may be wrong.

    Args:
        models: two or more, as `predict` takes one.
        data: what `load` takes or gives. Images that one of the models was trained on, as its
            folder says, are left out.
        run: a scan of such data, whose estimate says how labels come about.
        noise_rate: the share of wrong labels instead, spread evenly over the classes.

    Returns:
        images; noun: what people call one; trained_on: how many more there are that a model was
        trained on; models: of each noisy_accuracy with its 95 % interval, and of right labels an
        estimate, clean, and its bounds, None where nothing is known of the noise; differences;
        best; warnings.

    Raises:
        LabelsieveError: what is wrong with models, data or run, and what to do.
    """
    # before any model is opened, which takes seconds
    if len(models) < 2:
        raise OptionError("One model cannot be compared.", "Name two or more.")
    if run is not None and noise_rate is not None:
        raise OptionError("Of run and noise_rate one says how labels come about.")
    spec = load(data)
    answers, noun = [], "image"
    for number, model in enumerate(models, 1):
        name = f"model {number}" if isinstance(model, Classifier) else str(model)
        opened = _open(model, device, precision)
        # each prepares pictures as it wants them, and numbers classes in its own order
        prepared = prepare(spec, opened.preprocess, classes=opened.classes)
        images = prepared.dataset
        right = _probabilities(opened, images, batch_size).argmax(1) == images.labels
        classes = tuple(opened.classes)
        noun = images.noun
        answers.append(Answers(name, images.ids, images.labels, right, classes))
    ids = _shared(answers)
    unseen = _unseen(ids, models)
    noise = _noise(answers[0].classes, run, noise_rate)
    facts = judged(answers, unseen, noise)
    return {**facts, "noun": noun, "trained_on": len(ids) - len(unseen)}


def _shared(answers: Sequence[Answers]) -> pa.Array:
    """Ids of images that all could read."""
    ids = answers[0].ids
    for other in answers[1:]:
        if set(other.classes) != set(answers[0].classes):
            raise OptionError(
                f"'{other.name}' and '{answers[0].name}' know different classes.",
                "Compare classifiers of the same classes.",
            )
        ids = ids.filter(pc.is_in(ids, other.ids))
    return ids


def _unseen(ids: pa.Array, models: Sequence[Any]) -> pa.Array:
    """Ids of images that no model was trained on."""
    for model in models:
        ids = ids.filter(pc.invert(trained_on(model, ids)))
    if not len(ids):
        raise DataError(
            "The models were trained on all of these images.",
            "Hold some out, and compare on those: a model repeats the errors it has seen.",
        )
    return ids


def _noise(
    classes: tuple[str, ...], run: str | Path | Run | None, rate: float | None
) -> ClassNoise | None:
    if rate is not None:
        if not 0 <= rate <= 1:
            raise OptionError(f"--noise-rate {rate} is no share.", "It is from 0 to 1.")
        return noisy_accuracy.even(rate, len(classes))
    if run is None:
        return None
    opened = run if isinstance(run, Run) else Run(run)
    if set(opened.classes) != set(classes):
        raise OptionError(
            f"'{opened.folder}' has other classes than the models.",
            "Name a scan of such data with --run.",
        )
    return noisy_accuracy.from_joint(noise_matrix(opened.noise).toarray())


def judged(
    answers: Sequence[Answers],
    ids: pa.Array,
    noise: ClassNoise | None,
    unknown: str = UNKNOWN,
) -> dict[str, Any]:
    """The figures of all models and of each pair of them, as `compare` gives them.

    Args:
        answers: one or more.
        ids: of the images that all answered.
        unknown: the warning where there is no `noise`.
    """
    rights = []
    for one in answers:
        # joined by id: models may prepare, and so read, images otherwise
        rights.append(one.right[pc.index_in(ids, one.ids).to_numpy()])
    # without dominance nothing follows from these labels about right ones
    usable = noise is not None and noise.dominant
    models = []
    for one, right in zip(answers, rights, strict=True):
        figures: dict[str, Any] = {"model": one.name}
        figures["noisy_accuracy"] = noisy = float(right.mean())
        low, high = noisy_accuracy.interval(right)
        figures |= {"low": low, "high": high}
        figures |= {"clean": None, "clean_low": None, "clean_high": None}
        if usable and noise is not None:
            figures["clean"] = noise.estimate(noisy)
            # chance widens what the noise leaves open
            figures["clean_low"] = noise.bounds(low)[0]
            figures["clean_high"] = noise.bounds(high)[1]
        models.append(figures)
    # of equal ones the first that was named
    best = int(np.argmax([m["noisy_accuracy"] for m in models]))
    return {
        "images": len(ids),
        "models": models,
        "differences": _differences(answers, rights),
        "best": models[best]["model"],
        "warnings": _warnings(models, len(ids), noise, unknown),
    }


def _differences(
    answers: Sequence[Answers], rights: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    found = []
    for a, b in combinations(range(len(answers)), 2):
        names = {"first": answers[a].name, "second": answers[b].name}
        found.append(names | asdict(noisy_accuracy.paired(rights[a], rights[b])))
    # together: of many pairs some differ by chance
    holds = noisy_accuracy.real(np.array([pair["p"] for pair in found]))
    return [{**p, "real": bool(h)} for p, h in zip(found, holds, strict=True)]


def _warnings(
    models: Sequence[dict[str, Any]],
    images: int,
    noise: ClassNoise | None,
    unknown: str,
) -> list[str]:
    """Where the figures do not mean what they seem to."""
    warnings = []
    if images < FEW:
        warnings.append(f"{images} images can hardly tell models apart.")
    if noise is None:
        warnings.append(unknown)
    elif not noise.dominant:
        warnings.append(
            "In some class a wrong label is as likely as the right one: a model that is right "
            "more often may agree less with these labels. Judge a random sample with "
            "labelsieve audit."
        )
    else:
        warnings += _doubts(models, noise)
    return warnings


def _doubts(models: Sequence[dict[str, Any]], noise: ClassNoise) -> list[str]:
    doubts = []
    # with even errors all gaps are the same
    gaps = noise.gaps()
    if gaps.max() > UNLIKE * gaps.min():
        doubts.append(
            "Errors are not spread evenly, so the order on right labels may be another one "
            "where the bounds overlap."
        )
    for one in models:
        # no classifier that knows the classes alone can agree more often than that
        if one["low"] > noise.ceiling:
            doubts.append(
                f"'{one['model']}' agrees with more labels ({100 * one['noisy_accuracy']:.1f} %) "
                f"than can be right ({100 * noise.ceiling:.1f} %): it repeats errors that it has "
                "seen, errors depend on the picture, or fewer labels are wrong."
            )
    return doubts


def in_words(facts: dict[str, Any]) -> list[str]:
    """What a terminal shows, a line each."""
    lines = [f"! {warning}" for warning in facts["warnings"]]
    items = counted(facts["images"], facts.get("noun", "image"))
    lines.append(f"On {items} that no model was trained on:")
    left_out = facts.get("trained_on", 0)
    if left_out:
        lines.append(
            f"{left_out:,} more were trained on and left out. What is left of data that were "
            "scanned is what the scan flagged and what training held out, so that models agree "
            "with fewer of these labels than of all."
        )
    for one in facts["models"]:
        line = (
            f"{one['model']}: agrees with {_share(one, 'noisy_accuracy', '')} of labels"
        )
        if one["clean"] is not None:
            line += f", right for about {_share(one, 'clean', 'clean_')}"
        lines.append(line)
    for pair in facts["differences"]:
        points = 100 * pair["difference"]
        verdict = "a real difference" if pair["real"] else "may be chance"
        lines.append(
            f"{pair['first']} less {pair['second']}: {points:+.1f} points "
            f"({100 * pair['low']:+.1f} to {100 * pair['high']:+.1f}), {verdict}"
        )
    return lines


def _share(figures: dict[str, Any], name: str, prefix: str) -> str:
    low, high = figures[f"{prefix}low"], figures[f"{prefix}high"]
    return f"{100 * figures[name]:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
