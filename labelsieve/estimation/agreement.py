"""Is text the right tool for these classes? How far three reference classifiers agree, none of which needs true labels.

The reference classifiers of each image's class: the model's answer to the class names (zero-shot), the vote of its nearest other
pictures, and the given label. Agreement of two is Cohen's kappa (Educational and Psychological Measurement 20, 1960):
0 is what independent answers with the same frequencies would give, 1 is always. Its standard error comes from each
image's influence on it (the delta method), so that differences of two kappas of the same images have one, too.

Label errors that do not depend on the picture shrink the agreement of text and of pictures with the labels by the same
factor, so their ratio speaks of the reference classifiers, whatever the share of wrong labels. Hence the verdict, each "clearly" at
the 5 % level, one-sided:
- nothing: text does not agree with the labels clearly better than chance.
- little: text is clearly nearer to chance than to what pictures tell: its kappa is below half of theirs.
- partly: neither, but that is so for some classes (kappa of one class against all others; 5 % over all classes together).
- fits: none of these.
Where pictures agree no better than chance either, no method can find wrong labels with this model. Of classes with too few images to tell nothing is said. Answers are compared on at most `SAMPLE` images.

Where text does not fit, the share of wrong labels is not estimated from the model's answers alone
(labelsieve.estimation.transition, "Reference classifiers").
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from labelsieve import registry

LEVEL = 0.05
FITS, PARTLY, LITTLE, NOTHING = "fits", "partly", "little", "nothing"
SHOWN = 10  # classes that a sentence names


@dataclass(frozen=True)
class Agreement:
    """What was measured.

    images: how many were compared. text, pictures: kappa of zero-shot answers and of neighbours' votes with the given
    labels; between: of the two with each other. text_share, pictures_share, chance: shares of labels that each agrees
    with, and that text would agree with by chance. pictures_tell: their kappa is clearly above 0. verdict: see the module's docstring. unknown: classes that the model
    does not know by their names. classes: both kappas of each class.
    """

    images: int
    text: float
    pictures: float
    between: float
    text_share: float
    pictures_share: float
    chance: float
    pictures_tell: bool
    verdict: str
    unknown: tuple[str, ...]
    classes: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, with the sentence."""
        return {**asdict(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """The verdict with its figures, for people."""
        verdict = {
            FITS: "Text fits these classes",
            PARTLY: f"The model does not know some of the classes by name ({_some(self.unknown)})",
            LITTLE: "Text says little about these classes",
            NOTHING: "Text says nothing about these classes, the model answers as if by chance",
        }[self.verdict]
        if not self.pictures_tell:
            verdict += ", and the pictures say nothing either"
        return (
            f"{verdict}: the model's answers agree with {_percent(self.text_share)} of the labels, the nearest other pictures with "
            f"{_percent(self.pictures_share)}; {_percent(self.chance)} would be chance."
        )

    def warnings(self, method: str) -> list[str]:
        """What a person who took this method should know, if it reads class names and the model does not know them."""
        if self.verdict == FITS or not _reads_names(method):
            return []
        what = {
            PARTLY: f"The model does not know these classes by name: {_some(self.unknown)}.",
            LITTLE: "Text is the wrong tool here: the model knows little of these classes by their names.",
            NOTHING: "Text is the wrong tool here: the model knows nothing of these classes by their names.",
        }[self.verdict]
        if not self.pictures_tell:
            return [
                f"{what} Nor do its pictures of one class resemble each other: take another --model."
            ]
        others = ", ".join(textless())
        return [
            f"{what} Name them in words with --class-names, or take a method that needs no text: {others}."
        ]


def textless() -> list[str]:
    """Names of the methods that do not read class names."""
    return [n for n in registry.names("methods") if not _reads_names(n)]


def _reads_names(method: str) -> bool:
    return "text" in registry.constants("methods", method, ("NEEDS",))["needs"]


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def kappa(a: np.ndarray, b: np.ndarray, classes: int) -> tuple[float, np.ndarray]:
    """Cohen's kappa of answers a and b [n], and each image's influence on it [n] (its mean is 0, its spread the error)."""
    of_a, of_b = (np.bincount(x, minlength=classes) / len(x) for x in (a, b))
    agreed, chance = float((a == b).mean()), float(of_a @ of_b)
    if chance >= 1:  # both always answer the same class
        return 0.0, np.zeros(len(a))
    value = (agreed - chance) / (1 - chance)
    drift = of_b[a] + of_a[b] - 2 * chance
    return value, ((a == b) - agreed - (1 - value) * drift) / (1 - chance)


def compare(
    text: np.ndarray, pictures: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> Agreement:
    """The verdict from the classes [n] that text, pictures and labels name."""
    k = len(classes)
    of_text, of_pictures, between = (
        kappa(*pair, k)
        for pair in ((text, labels), (pictures, labels), (text, pictures))
    )
    single = [
        tuple(kappa((x == c) * 1, (labels == c) * 1, 2) for x in (text, pictures))
        for c in range(k)
    ]
    unknown = tuple(
        name
        for name, (a, b) in zip(classes, single, strict=True)
        if _nearer_to_chance(a, b, LEVEL / k)
    )
    if not _above(*of_text, LEVEL):
        verdict, unknown = NOTHING, classes
    elif _nearer_to_chance(of_text, of_pictures, LEVEL):
        verdict = LITTLE
    else:
        verdict = PARTLY if unknown else FITS
    frequencies = [np.bincount(x, minlength=k) / len(labels) for x in (text, labels)]
    return Agreement(
        len(labels),
        of_text[0],
        of_pictures[0],
        between[0],
        float((text == labels).mean()),
        float((pictures == labels).mean()),
        float(frequencies[0] @ frequencies[1]),
        _above(*of_pictures, LEVEL),
        verdict,
        unknown,
        {
            name: {"text": a[0], "pictures": b[0]}
            for name, (a, b) in zip(classes, single, strict=True)
        },
    )


def _above(value: float, influence: np.ndarray, level: float) -> bool:
    """Whether a figure is clearly above 0."""
    return bool(
        value
        > NormalDist().inv_cdf(1 - level) * influence.std() / np.sqrt(len(influence))
    )


def _nearer_to_chance(
    text: tuple[float, np.ndarray], pictures: tuple[float, np.ndarray], level: float
) -> bool:
    """Whether the first kappa is clearly below half of the second."""
    return _above(pictures[0] / 2 - text[0], pictures[1] / 2 - text[1], level)
