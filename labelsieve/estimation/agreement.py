"""Is text the right tool for these classes? How far three reference classifiers agree.

Three name the class of each image: the model's answer to the class names (zero-shot), the vote
of its nearest other pictures, and the given label. None needs true labels. Agreement of two is
Cohen's kappa (Educational and Psychological Measurement 20, 1960): 0 is what independent answers
with the same frequencies would give, 1 is always. Its standard error comes from each image's
influence on it (the delta method), so that differences of two kappas of the same images have
one, too.

Label errors that do not depend on the picture shrink the agreement of text and of pictures with
the labels by the same factor, so their ratio speaks of the classifiers, whatever the share of
wrong labels. Hence the verdict, each "clearly" at the 5 % level, one-sided:
- nothing: text does not agree with the labels clearly better than chance.
- little: text is clearly nearer to chance than to what pictures tell: its kappa is below half
  of theirs.
- partly: neither, but that is so for some classes (kappa of one class against all others; 5 %
  over all classes together).
- fits: none of these.
Where pictures agree no better than chance either, no method can find wrong labels with this
model. Nothing is said of classes with too few images to tell.

Where text does not fit, the share of wrong labels is not estimated from the model's answers
alone (labelsieve.estimation.transition, "Reference classifiers").
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np

from labelsieve.estimation.renaming import renamed

LEVEL = 0.05  # of every test, one-sided
FITS = "fits"
PARTLY = "partly"
LITTLE = "little"
NOTHING = "nothing"
SHOWN = 10  # classes that a sentence names

# A kappa, and each image's influence on it [n].
Kappa: TypeAlias = tuple[float, np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """What was measured.

    Attributes:
        images: how many were compared.
        text: kappa of zero-shot answers with the given labels.
        pictures: kappa of neighbours' votes with the given labels.
        between: kappa of zero-shot answers and neighbours' votes.
        text_share: of labels that zero-shot answers agree with.
        pictures_share: of labels that neighbours' votes agree with.
        chance: share of labels that text would agree with by chance.
        pictures_tell: the kappa of pictures is clearly above 0.
        verdict: see the module's docstring.
        unknown: classes that the model does not know by their names.
        classes: both kappas of each class.
        renamed: classes whose pictures bear another class's name, and whose; see
            `labelsieve.estimation.renaming`.
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
    renamed: dict[str, str] = field(default_factory=dict)
    things: str = "pictures"  # what people call the items

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, with the sentence."""
        return {**asdict(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """The verdict with its figures, for people."""
        verdict = {
            FITS: f"The class names fit these {self.things}",
            PARTLY: "The model does not know some of the classes by name "
            f"({self.unknown_names()})",
            LITTLE: f"The class names say little about these {self.things}",
            NOTHING: f"The class names say nothing about these {self.things}, "
            "the model answers as if by chance",
        }[self.verdict]
        if not self.pictures_tell:
            verdict += f", and the {self.things} say nothing either"
        return (
            f"{verdict}: the model's answers agree with {_percent(self.text_share)} "
            f"of the labels, the nearest other {self.things} with "
            f"{_percent(self.pictures_share)}; {_percent(self.chance)} would be chance."
        )

    def unknown_names(self) -> str:
        """The classes that the model does not know, at most `SHOWN` by name."""
        names = ", ".join(self.unknown[:SHOWN])
        more = len(self.unknown) - SHOWN
        return f"{names} and {more} more" if more > 0 else names


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def kappa(a: np.ndarray, b: np.ndarray, classes: int) -> Kappa:
    """Cohen's kappa of answers a and b [n], and each image's influence on it.

    Returns:
        (kappa, influence [n]): the mean influence is 0, its spread gives the standard error.
    """
    of_a = np.bincount(a, minlength=classes) / len(a)
    of_b = np.bincount(b, minlength=classes) / len(b)
    agreed = float((a == b).mean())
    chance = float(of_a @ of_b)
    if chance >= 1:  # both always answer the same class
        return 0.0, np.zeros(len(a))
    value = (agreed - chance) / (1 - chance)
    # how far an image moves chance itself, through both frequencies
    drift = of_b[a] + of_a[b] - 2 * chance
    return value, ((a == b) - agreed - (1 - value) * drift) / (1 - chance)


def compare(
    text: np.ndarray, pictures: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> Agreement:
    """The verdict from the classes that text, pictures and labels name.

    Args:
        text, pictures, labels: [n] class numbers.
        classes: names of the k classes.
    """
    k = len(classes)
    of_text = kappa(text, labels, k)
    of_pictures = kappa(pictures, labels, k)
    unknown = []
    of_class = {}
    for number, name in enumerate(classes):
        one = kappa_of_class(text, labels, number)
        other = kappa_of_class(pictures, labels, number)
        of_class[name] = {"text": one[0], "pictures": other[0]}
        # Bonferroni: 5 % over all classes together
        if _nearer_to_chance(one, other, LEVEL / k):
            unknown.append(name)
    if not _above_zero(*of_text, LEVEL):
        verdict = NOTHING
        unknown = list(classes)
    elif _nearer_to_chance(of_text, of_pictures, LEVEL):
        verdict = LITTLE
    else:
        verdict = PARTLY if unknown else FITS
    order = renamed(text, labels, k)
    answered = np.bincount(text, minlength=k) / len(labels)
    given = np.bincount(labels, minlength=k) / len(labels)
    return Agreement(
        images=len(labels),
        text=of_text[0],
        pictures=of_pictures[0],
        between=kappa(text, pictures, k)[0],
        text_share=float((text == labels).mean()),
        pictures_share=float((pictures == labels).mean()),
        chance=float(answered @ given),
        pictures_tell=_above_zero(*of_pictures, LEVEL),
        verdict=verdict,
        unknown=tuple(unknown),
        classes=of_class,
        renamed={classes[a]: classes[b] for a, b in order.items()},
    )


def kappa_of_class(answers: np.ndarray, labels: np.ndarray, number: int) -> Kappa:
    """Kappa of one class against all others, of answers and labels [n]."""
    # as numbers: in `kappa` bools would select instead of look up
    return kappa((answers == number) * 1, (labels == number) * 1, 2)


def _above_zero(value: float, influence: np.ndarray, level: float) -> bool:
    """Whether a figure is clearly above 0."""
    error = NormalDist().inv_cdf(1 - level) * influence.std() / np.sqrt(len(influence))
    return bool(value > error)


def _nearer_to_chance(text: Kappa, pictures: Kappa, level: float) -> bool:
    """Whether the first kappa is clearly below half of the second."""
    # per image, since both err on the same ones and part of the spread cancels
    gap = pictures[0] / 2 - text[0]
    return _above_zero(gap, pictures[1] / 2 - text[1], level)
