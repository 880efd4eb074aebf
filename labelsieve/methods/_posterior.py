"""Labels judged by Bayes' rule: two votes on the class, times the probability of the label.

P(class k | picture, label y) ∝ p(k) q(k) T[k, y]: p are the class probabilities of a model that
was trained on these labels, q those of a reference classifier that knows none of the labels it
judges, and T[k, y] is the probability that class k is labelled y, estimated with q.

What the reference classifier and T say alone is what every method's ranking is calibrated against
(`Reference.posterior`). T takes errors to depend on the class alone; with people's errors, which
depend on the picture, labels are doubted more (`labelsieve.estimation.doubt`).

Shapes: n images, k classes, d width of the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from labelsieve.estimation.calibration import (
    Curve,
    fit_curve,
    logit,
    of_given,
    parts,
    reweigh,
    sigmoid,
    soften,
    with_given,
)
from labelsieve.estimation.doubt import BELIEVED, believed, doubt
from labelsieve.estimation.em import sample
from labelsieve.estimation.transition import (
    TEMPERATURES,
    Transition,
    fit_transition,
    select,
)
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods._second_vote import is_asked, sees_errors, widened

TEXT = "text"  # the reference classifier that answers with the class names
PICTURES = "pictures"  # the probe, of whatever the items are
# Temperature of the other classes' shares, where zero-shot answers are the reference, and where a
# probe is: errors of one tower go together.
OTHERS = {True: 1.25, False: 2.0}
# What `ignorance_of` adds to it, and its most: with 40 images of each of 100 classes, DeFT's
# suggestions said to be right with .9 or more were so in .89 and .86 of cases at 1.25, .97 and 1.0
# at 1.75 (errors of what a probe of another tower hesitates over, 20 and 40 %); with 400 of each of
# 10 classes, in 1.0 and .97 at 1.25 (`random_label1`, rows 0 to 7,999, two draws).
OTHERS_GROW = 2.5
OTHERS_MOST = 2.0
# Images a class with which a probe's evidence about a label counts half: its temperature and T are
# fitted to as few. Chosen on draws of 100 to 400 of `random_label1`, rows 0 to 7,999, no class
# known by name: of 112 labels said to be wrong with .9 in four draws of 100 by `benchmarks/tower`
# 77 were right, now none is said so; log loss 1.42 -> .41 (100), .82 -> .41 (200), .52 -> .44 (400)
HALF = 20
# Share of wrong labels that is supposed before any evidence, for what the evidence lacks.
SUPPOSED = 0.1


@dataclass(frozen=True)
class Reference:
    """The reference classifier that a task's labels speak for.

    name: "text" or "pictures", as in `Task.reference_votes`.
    vote: [n, k] its class probabilities, calibrated.
    transition: T, estimated with it.
    doubt: added to the logit of P(wrong), for errors that depend on the picture; below 0 where
        nothing says that any label is wrong.
    ignorance: share of the logit of P(wrong) that is supposed, not known; see `ignorance_of`.
    others: temperature of the other classes' shares.
    """

    name: str
    vote: np.ndarray
    transition: Transition
    doubt: float = 0.0
    ignorance: float = 0.0
    others: float = OTHERS[True]

    def posterior(self, labels: np.ndarray) -> np.ndarray:
        """[n, k] float32 probability of each class, given picture and label [n]."""
        probs = self.transition.posterior(self.vote, labels)
        wrong = self.doubt - logit(of_given(probs, labels))
        supposed = logit(np.array(SUPPOSED))
        wrong += self.ignorance * (supposed - wrong)
        right = sigmoid(-wrong)
        # which other class is right is doubtful, too
        return with_given(soften(probs, self.others), labels, right)

    def wrong_rate(self, labels: np.ndarray) -> float:
        """Share of these labels [n] that are wrong."""
        right = of_given(self.posterior(labels), labels)
        return float(1 - right.mean(dtype=np.float64))

    def curve(self, suspicion: np.ndarray, labels: np.ndarray) -> Curve:
        """The map from a ranking [n] of these labels [n] to P(wrong)."""
        p_wrong = 1 - of_given(self.posterior(labels), labels).astype(np.float64)
        return fit_curve(suspicion, p_wrong)


# what is expensive and asked for several times; forgotten with the task
_SELECTED: WeakKeyDictionary[Task, Reference] = WeakKeyDictionary()


def select_reference(task: Task) -> Reference:
    """Estimate T with each reference classifier and keep the one that predicts labels best."""
    if task not in _SELECTED:
        votes, labels = task.reference_votes(), task.data.labels
        if len(votes) == 1 and is_asked(task):
            reference = _of_texts(task, votes, labels)
        else:
            reference = select_among(votes, labels, task.seed)
        _SELECTED[task] = reference
    return _SELECTED[task]


def _of_texts(
    task: Task, names: Mapping[str, np.ndarray], labels: np.ndarray
) -> Reference:
    """Names, or a probe where that sees errors; see `labelsieve.methods._second_vote`."""
    probe = task.out_of_fold().astype(np.float64)
    other = fit_transition(probe, labels, task.seed)
    if sees_errors(other):
        return select_among({**names, PICTURES: probe}, labels, task.seed)
    reference = select_among(names, labels, task.seed)
    return replace(reference, transition=widened(reference.transition, other))


def select_among(
    votes: Mapping[str, np.ndarray],
    labels: np.ndarray,
    seed: int,
    linear: np.ndarray | None = None,
) -> Reference:
    """The same for class probabilities [n, k] of reference classifiers, by name.

    An earlier one is kept unless a later one is clearly better.

    Args:
        linear: [n, k] of a linear probe, out of fold, where that is none of the votes that learned
            from labels; see `_support`.
    """
    fits = {name: fit_transition(q, labels, seed) for name, q in votes.items()}
    name, transition = select(fits)
    vote = transition.calibrate(votes[name])
    # a classifier hesitates between classes that labels confuse; T must not count that again
    transition = transition.simplified(vote, labels, seed)
    rows = sample(len(labels), seed)
    learned = name != TEXT
    shift = doubt(vote[rows], labels[rows], transition.matrix, learned=learned)
    n, k = vote.shape
    support = _support(transition, linear if learned else None, labels, seed)
    nothing = believed(support, n / k, learned=learned)
    # by degrees, so that two draws of the same data are not judged by different rules
    shift = (1 - nothing) * shift + nothing * math.log(BELIEVED)
    ignorance = ignorance_of(*vote.shape)
    others = min(OTHERS_MOST, OTHERS[not learned] + OTHERS_GROW * ignorance)
    # zero-shot answers learn from no label, but T does, which the shares are judged by
    supposed = ignorance if learned else 0.0
    return Reference(name, vote, transition, shift, supposed, others)


def _support(
    transition: Transition, linear: np.ndarray | None, labels: np.ndarray, seed: int
) -> tuple[float, float]:
    """How much speaks of errors at all, and its standard error; see `Transition.support`.

    Of a linear probe where there is one. What ranks better is not the better witness: answers
    whose doubts have another shape than any temperature gives them look as if labels were wrong.
    Of 4,000 right labels (`random_label1`'s rows 0 to 4,999, `benchmarks/tower`) the mean with
    kernel ridge regression has .0009 and .0014 with a standard error of .002, the linear probe 0.
    """
    if linear is None:
        return transition.support
    return fit_transition(linear.astype(np.float64), labels, seed).support


def ignorance_of(n: int, k: int) -> float:
    """How little a probe of n images of k classes can know of a label: 1 nothing, 0 all.

    Falls with the square of the images a class, so that it is felt with few alone.
    """
    return 1 / (1 + (n / k / HALF) ** 2)


@dataclass(frozen=True)
class Votes:
    """Two votes on the class of each picture, and the given label.

    positive: [n, k] float32 logits of the model that was trained on these labels.
    reference: [n, k] calibrated class probabilities of the reference classifier.
    labels: [n] int64.
    """

    positive: np.ndarray
    reference: np.ndarray
    labels: np.ndarray

    def posterior(
        self, matrix: np.ndarray, temperature: float
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Probability of each class, given picture and label.

        Args:
            matrix: T [k, k].
            temperature: of the product of both votes.

        Yields:
            Some rows and their [r, k] float64; all at once would often be the largest array
            of a scan.
        """
        for part in parts(*self.reference.shape):
            # zero in float32 is a small probability, no impossibility
            second = np.log(self.reference[part].clip(1e-12))
            # the product of both votes, as a sum of logarithms; float64 only for these rows
            logits = self.positive[part].astype(np.float64) + second
            likelihoods = matrix[:, self.labels[part]].T
            yield part, reweigh(softmax(logits / temperature), likelihoods)

    def wrong_rate(self, matrix: np.ndarray, temperature: float) -> float:
        """Share of wrong labels by the posterior."""
        right = [
            of_given(probs, self.labels[part])
            for part, probs in self.posterior(matrix, temperature)
        ]
        return float(1 - np.concatenate(right).mean())

    def take(self, rows: np.ndarray) -> Votes:
        """The votes on some rows [m]."""
        return Votes(self.positive[rows], self.reference[rows], self.labels[rows])


def votes_temperature(votes: Votes, reference: Reference, seed: int) -> float:
    """Temperature of both votes under which they call as many labels wrong as the reference alone.

    Prompts and a probe that have learned from the same labels are not independent, so their
    product is too confident. Where zero-shot answers are the reference, which have learned from
    none, labels tell (`labelsieve.methods._picture_votes.hearing`).
    """
    # a sample is enough for one number
    some = votes.take(sample(len(votes.labels), seed))
    transition = reference.transition
    # by the reference classifier alone
    posterior = transition.posterior(some.reference, some.labels)
    wanted = 1 - float(of_given(posterior, some.labels).mean())
    rates = [some.wrong_rate(transition.matrix, float(t)) for t in TEMPERATURES]
    return float(TEMPERATURES[np.abs(np.array(rates) - wanted).argmin()])
