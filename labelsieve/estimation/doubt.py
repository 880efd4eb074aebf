"""How far a label is to be doubted beyond what class probabilities and T say.

T takes errors to depend on the class alone. People err where the picture is doubtful, which is
where the model hesitates, too: both then agree in their errors, and P(wrong) by Bayes' rule is too
low, the more so the fewer labels are wrong, since those are of the hardest pictures. A shift of its
logit mends it. Whether it is needed shows in two ways, and either will do:
- errors go where the probabilities of the same picture hesitate (`calibration.hesitation`), or
- the labels are about as likely if errors follow the pictures as far as we know of people
  (`difficulty.LEVELS`). Planted errors contradict that: they are on easy pictures, too. Only where
  T is well observed, with zero-shot answers, and errors are too few to see where they go.

Of a few errors in a hundred most are what the model itself gets wrong, and clean labels must not be
doubted, so the shift fades there.

And a label is believed where nothing says that any is wrong. T has many cells, and fitted to labels
it takes what the model gets wrong for errors, also where there are none. Labels that it was not
fitted to tell: if they are as likely without any error (`Transition.support`), P(wrong) is lowered,
all labels alike, so that their order stays (`believed`).

Shapes: n images, k classes.
"""

from __future__ import annotations

import numpy as np

from labelsieve.estimation.calibration import hesitation, of_given, reweigh
from labelsieve.estimation.difficulty import LEVELS, explain
from labelsieve.estimation.em import log_likelihoods

# All of this was chosen on CIFAR-10N's random_label1, rows 0 to 7,999, draws of 4,000 and 800: as
# it is; with 9, 4 and 2 % of its errors kept, at random or of the pictures that a probe of another
# tower finds hard; without any; and on planted errors: symmetric, pair, and of what such a probe
# hesitates over, 2 to 40 %. Mean F1 over the 57 draws with zero-shot answers .644 -> .660,
# calibration error .021 -> .018; with 9 % of hard pictures F1 .43 -> .56 and .62 -> .69.
#
# Largest shift of the logit where zero-shot answers are the reference; with images drawn so that
# 25, 30 and 40 % are wrong 1.2 to 1.4 was best, F1 .78 -> .83, .79 -> .84 and .81 -> .87. Under a
# probe, which has learned some of people's confusions and doubts clean labels as it is, less.
MOST = {False: 1.4, True: 0.6}
# Estimated share of wrong labels at which half of it is felt: zero-shot answers find .3 to .7 %
# wrong labels where none is, probes with the features of a weak tower 3.5 %.
HALF = {False: 0.012, True: 0.1}
# Hesitation from which on labels count as people's: theirs have .24 to .36, symmetric and pair
# noise .00 to .05.
PEOPLE = 0.3
# Loss of log-likelihood per error, if errors follow the pictures, up to which labels count as
# people's, and from which on as planted: people's lose .00 to .21, symmetric errors .25 to .42,
# pair noise .57 to .87.
LOSSES = (0.2, 0.27)
# Estimated share of wrong labels up to which that loss counts fully. With more of them hesitation
# knows, and a weak model gives planted errors no easy pictures to be seen on.
FEW = 0.04
# Labels per cell of T, at least, for that loss to mean anything: with 100 classes and .4 labels per
# cell symmetric errors lose .20 and those that follow pictures .31.
CELL = 4

# Support up to which labels are believed, and from which on T is: held out, so less than
# `transition.DOUBT` of a fit. Images of the same rows, labels right: 0 with zero-shot answers
# (10 classes, 1,000 and 3,000 images; 100 classes, 1,500 and 4,000). 2 % wrong: .011 and more;
# 9 %: .02.
SUPPORT = (0.001, 0.003)
# What the odds of an error are multiplied with where there is no support at all. Some labels may be
# wrong all the same: what contradicts a label beyond all doubt is still the first to be looked at.
BELIEVED = 0.05
# Support of a linear probe, in standard errors of it, up to which labels are believed, and from
# which on T is. Weak tower, 1,500 to 4,000 images: right labels 0 to 1.0 (13 draws), 4 % wrong .8
# to 2.5, 9 % 1.7 and more, symmetric and pair noise of 5 % 1.5 and more. It has to be a linear
# probe: of what ranks better, right labels had as much support as 4 % errors.
ERRORS = (1.0, 1.5)
TINY = 1e-9  # no standard error, where all labels are explained alike
# Images a class up to which a probe's support says nothing, and from which on all: of draws with
# 9 % errors it was within `ERRORS` in 3 of 5 with 100, in none of 5 with 150.
ENOUGH = (100, 150)


def believed(support: tuple[float, float], per_class: float, *, learned: bool) -> float:
    """From 0 to 1, how little says that any label is wrong.

    Args:
        support: of the transition matrix, see `Transition`.
        per_class: images of a class, on average.
        learned: whether the class probabilities are of a model that learned from other labels.
    """
    most, chance = support
    if not learned:
        # what few images leave open is not ruled out: of 400 with 9 % errors of hard pictures,
        # half of the draws had no more support than clean ones have
        return 1 - _ramp(most + chance, SUPPORT)
    # a probe gets so much wrong that what may be chance says nothing here; where it is certain
    # it must be large, too, as no model of errors is exactly right
    by_chance = 1 - _ramp(most / max(chance, TINY), ERRORS)
    nothing = max(by_chance, 1 - _ramp(most, SUPPORT))
    # of few images it gets so much wrong that errors would not show
    return nothing * _ramp(per_class, ENOUGH)


def _ramp(value: float, ends: tuple[float, float]) -> float:
    """0 up to the first end, 1 from the second one on."""
    low, high = ends
    return float(np.clip((value - low) / (high - low), 0, 1))


def doubt(
    probs: np.ndarray, labels: np.ndarray, matrix: np.ndarray, *, learned: bool
) -> float:
    """What is to be added to the logit of P(wrong) of every label.

    Args:
        probs: [n, k] calibrated class probabilities that do not know the labels they judge.
        labels: [n] given.
        matrix: T [k, k].
        learned: whether the probabilities are of a model that learned from other labels.
    """
    # the shift is for Bayes' rule as it is, so its own rate decides how far it is felt
    right = of_given(reweigh(probs, matrix[:, labels].T), labels)
    rate = float(1 - right.mean())
    if rate <= 0:
        # nothing is wrong, and the loss per error is not defined
        return 0.0
    people = of_people(probs, labels)
    if not learned and len(labels) >= CELL * matrix.size:
        unseen = min(1.0, FEW / rate)
        people = max(people, unseen * _as_people(probs, labels, matrix, rate))
    felt = rate / (rate + HALF[learned])
    return MOST[learned] * people * felt


def of_people(probs: np.ndarray, labels: np.ndarray) -> float:
    """From 0, planted, to 1, people's: how far errors go where the same picture hesitates.

    Args:
        probs: [n, k] calibrated. labels: [n] given.
    """
    return min(1.0, hesitation(probs, labels) / PEOPLE)


def _as_people(
    probs: np.ndarray, labels: np.ndarray, matrix: np.ndarray, rate: float
) -> float:
    """From 0 to 1, how little speaks against errors that follow the pictures."""
    by_class = log_likelihoods(probs, labels, matrix).mean()
    # the strongest level is the easiest to contradict
    by_picture = explain(probs, labels, matrix, LEVELS[-1]).fitted.mean()
    # a ramp and no step: two draws of the same data must not be judged by different rules
    loss = float(by_class - by_picture) / rate
    return 1 - _ramp(loss, LOSSES)
