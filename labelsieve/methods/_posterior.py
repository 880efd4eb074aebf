"""Labels judged by Bayes' rule: two votes on the class, times the probability of the label.

P(class k | picture, label y) ∝ p(k) q(k) T[k, y]: p are the class probabilities of a model that
was trained on these labels, q those of a reference classifier that knows none of the labels it
judges, and T[k, y] is the probability that class k is labelled y, estimated with q.

Shapes: n images, k classes, d width of the features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation.calibration import calibrate, parts, reweigh
from labelsieve.estimation.transition import (
    TEMPERATURES,
    Transition,
    fit_transition,
    sample,
    select,
)
from labelsieve.features import probe
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods._evidence import of_given

TEXT = "text"  # the reference classifier that answers with the class names


@dataclass(frozen=True)
class Reference:
    """The reference classifier that a task's labels speak for.

    name: "text" or "pictures", as in `Task.reference_votes`.
    vote: [n, k] its class probabilities, calibrated.
    transition: T, estimated with it.
    """

    name: str
    vote: np.ndarray
    transition: Transition


def select_reference(task: Task) -> Reference:
    """Estimate T with each reference classifier and keep the one that predicts labels best."""
    labels = task.data.labels
    votes = task.reference_votes()
    # an earlier one is kept unless a later one is clearly better, so text comes first
    fits = {name: fit_transition(q, labels, task.seed) for name, q in votes.items()}
    name, transition = select(fits)
    vote = transition.calibrate(votes[name])
    if name != TEXT:
        # a probe has learned the confusions of the labels; T must not count them again
        transition = transition.simplified(vote, labels, task.seed)
    return Reference(name, vote, transition)


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
    product is too confident. Zero-shot answers have learned from none: 1.
    """
    if reference.name == TEXT:
        return 1.0
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
    """

    parameters: dict[str, Tensor]
    matrix: np.ndarray
    class_weights: np.ndarray
    temperature: float
    votes_temperature: float
    probe: tuple[np.ndarray, np.ndarray] | None

    @classmethod
    def of(
        cls,
        task: Task,
        parameters: Mapping[str, Tensor],
        reference: Reference,
        votes_temperature: float,
    ) -> Learned:
        """From what was found out about the images of a task."""
        weights = None
        if reference.name != TEXT:
            # out-of-fold probes are for these images; others are judged by one probe of all
            features = np.asarray(task.image_features(), dtype=np.float32)
            data = task.data
            weights = probe.linear(features, data.labels, len(data.classes), task.seed)
        transition = reference.transition
        return cls(
            {name: p.detach() for name, p in parameters.items()},
            transition.matrix,
            transition.weights,
            transition.temperature,
            votes_temperature,
            weights,
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
            weight, bias = self.probe
            tensors["probe_weight"] = torch.from_numpy(weight)
            tensors["probe_bias"] = torch.from_numpy(bias)
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
        return cls(rest, matrix, class_weights, temperature, votes_temperature, weights)

    def vote(self, task: Task) -> np.ndarray:
        """[n, k] class probabilities of the reference classifier for other images, calibrated."""
        if self.probe is None:
            probs = task.zero_shot().probs()
        else:
            weight, bias = self.probe
            probs = softmax(np.asarray(task.image_features()) @ weight.T + bias)
        return calibrate(probs, self.temperature, self.class_weights)
