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
import torch
from torch import Tensor

from labelsieve.estimation.calibration import (
    Curve,
    calibrate,
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
from labelsieve.features.cached import Corners, Few
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import cosines, softmax, temperature_of
from labelsieve.methods._picture_votes import PREFIX, PictureProbes
from labelsieve.methods._second_vote import is_asked, widened

TEXT = "text"  # the reference classifier that answers with the class names
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
        reference = select_among(votes, labels, task.seed)
        if len(votes) == 1 and is_asked(task):
            known = reference.transition, task.out_of_fold(), labels, task.seed
            reference = replace(reference, transition=widened(*known))
        _SELECTED[task] = reference
    return _SELECTED[task]


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


@dataclass(frozen=True)
class Learned:
    """What judging the labels of other images needs.

    parameters: of the detector, by name.
    matrix: T [k, k] float64.
    class_weights: [k] float64, and temperature: what the reference classifier is calibrated with.
    votes_temperature: of the product of both votes.
    probe: weights [k, d] and biases [k] float64 of the reference classifier; None: zero-shot.
        Only detectors of earlier versions have it.
    curve: from P(wrong) by both votes to what holds; None: as it is.
    pictures: probes of frozen features; None: the reference classifier votes alone.
    picture_calibration: temperature [1] and class weights [k], after each other, of their vote.
    pictures_weight: how much their vote counts beside class names.
    others: temperature of the other classes' shares.
    look: what of each picture the frozen votes saw: whole pictures, corners, or the whole and a
        crop or two, mirrored or not.
    text: whether class names are the reference classifier.
    """

    parameters: dict[str, Tensor]
    matrix: np.ndarray
    class_weights: np.ndarray
    temperature: float
    votes_temperature: float
    probe: tuple[np.ndarray, np.ndarray] | None
    curve: Curve | None = None
    pictures: PictureProbes | None = None
    picture_calibration: np.ndarray | None = None
    look: Corners | Few | None = None
    text: bool = True
    pictures_weight: float = 1.0
    others: float = 1.5

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Tensor],
        reference: Reference,
        votes_temperature: float,
    ) -> Learned:
        """From what was found out about the images of a task."""
        transition = reference.transition
        return cls(
            {name: p.detach() for name, p in parameters.items()},
            transition.matrix,
            transition.weights,
            transition.temperature,
            votes_temperature,
            None,
            text=reference.name == TEXT,
            others=reference.others,
        )

    def tensors(self) -> dict[str, Tensor]:
        """By the names that detector.safetensors has for them."""
        # names and dtypes are those of detector folders that earlier versions wrote
        tensors = {
            "transition": torch.from_numpy(self.matrix),
            "class_weights": torch.from_numpy(self.class_weights),
            "temperature": torch.tensor(self.temperature),
            "votes_temperature": torch.tensor(
                self.votes_temperature, dtype=torch.float64
            ),
        }
        if self.probe is not None:
            slopes, bias = self.probe
            tensors["probe_weight"] = torch.from_numpy(slopes)
            tensors["probe_bias"] = torch.from_numpy(bias)
        if self.curve is not None:
            points = np.stack([self.curve.scores, self.curve.values])
            tensors["curve"] = torch.from_numpy(points)
        if self.pictures is not None and self.picture_calibration is not None:
            tensors |= self.pictures.tensors()
            calibration = torch.from_numpy(self.picture_calibration)
            tensors["picture_calibration"] = calibration
            weight = torch.tensor(self.pictures_weight, dtype=torch.float64)
            tensors["pictures_weight"] = weight
        if self.look is not None:
            tensors["mirror"] = torch.tensor(self.look.mirror)
        if isinstance(self.look, Few):
            tensors["crops"] = torch.tensor(self.look.crops)
        tensors["text"] = torch.tensor(self.text)
        tensors["others"] = torch.tensor(self.others, dtype=torch.float64)
        return tensors | self.parameters

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Learned:
        """The inverse of `tensors`."""
        # what is left after the names of `tensors` are the parameters of the detector
        rest = dict(tensors)
        matrix = rest.pop("transition").cpu().numpy()
        class_weights = rest.pop("class_weights").cpu().numpy()
        temperature = float(rest.pop("temperature"))
        votes_temperature = float(rest.pop("votes_temperature"))
        weights = None
        if "probe_weight" in rest:
            weight = rest.pop("probe_weight").cpu().numpy()
            weights = weight, rest.pop("probe_bias").cpu().numpy()
        curve = None
        # detectors of earlier versions have none
        if "curve" in rest:
            curve = Curve(*rest.pop("curve").cpu().numpy())
        pictures = PictureProbes.from_tensors(rest)
        calibration = None
        if pictures is not None:
            calibration = rest.pop("picture_calibration").cpu().numpy()
        look = _look_of(rest)
        text = bool(rest.pop("text")) if "text" in rest else weights is None
        heard = float(rest.pop("pictures_weight", torch.tensor(1.0)))
        # what earlier versions did
        others = float(rest.pop("others", torch.tensor(1.5 if text else 2.0)))
        return cls(
            {name: p for name, p in rest.items() if not name.startswith(PREFIX)},
            matrix,
            class_weights,
            temperature,
            votes_temperature,
            weights,
            curve,
            pictures,
            calibration,
            look,
            text,
            heard,
            others,
        )

    def calibrated(self, votes: Votes, reference: Reference) -> Learned:
        """With the map from P(wrong) by both votes to that of the reference classifier."""
        raw = np.empty(len(votes.labels))
        for part, probs in votes.posterior(self.matrix, self.votes_temperature):
            raw[part] = 1 - of_given(probs, votes.labels[part])
        return replace(self, curve=reference.curve(raw, votes.labels).thinned())

    def right(self, raw: np.ndarray) -> np.ndarray:
        """[n] P(right), from what both votes say about each given label [n]."""
        wrong = 1 - raw.astype(np.float64)
        if self.curve is not None:
            wrong = self.curve(wrong)
        return 1 - wrong

    def shares(
        self, probs: np.ndarray, labels: np.ndarray, right: np.ndarray
    ) -> np.ndarray:
        """The posterior [n, k] of both votes with these P(right) [n], float32.

        Which other class is right is said too surely, too: votes of one tower err together.
        """
        # detectors of earlier versions keep what they said
        if self.curve is not None:
            probs = soften(probs, self.others)
        return with_given(probs, labels, right)

    def vote(self, task: Task) -> np.ndarray:
        """[n, k] class probabilities of the reference classifier for other images, calibrated."""
        if self.probe is not None:
            weight, bias = self.probe
            probs = softmax(np.asarray(task.image_features()) @ weight.T + bias)
        elif self.text:
            probs = text_vote(task, self.look)
        else:
            return self.picture_vote(task)
        return calibrate(probs, self.temperature, self.class_weights)

    def picture_vote(self, task: Task) -> np.ndarray:
        """[n, k] class probabilities of the probes for other images, calibrated."""
        assert self.pictures is not None and self.picture_calibration is not None
        probs = self.pictures.answers(task.image_features(self.look))
        temperature = float(self.picture_calibration[0])
        return calibrate(probs, temperature, self.picture_calibration[1:])


def _look_of(rest: dict[str, Tensor]) -> Corners | Few | None:
    """The look among tensors, which are taken out."""
    if "mirror" not in rest:
        return None
    mirror = bool(rest.pop("mirror"))
    return Few(int(rest.pop("crops")), mirror) if "crops" in rest else Corners(mirror)


def text_vote(task: Task, look: Corners | Few | None) -> np.ndarray:
    """[n, k] zero-shot probabilities, of whole pictures or of the mean of several looks."""
    if look is None:
        return task.zero_shot().probs()
    values = cosines(task.image_features(look), task.class_features())
    return softmax(values / temperature_of(task.encoder, None))
