"""What the detector of `deft` learned, beside its parameters, so that it can judge other pictures.

Shapes: n images, k classes, d width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation.calibration import (
    Curve,
    calibrate,
    of_given,
    soften,
    with_given,
)
from labelsieve.features.cached import Corners, Few
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import cosines, softmax, temperature_of
from labelsieve.methods._picture_votes import PREFIX, PictureProbes
from labelsieve.methods._posterior import TEXT, Reference, Votes


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
        """The inverse of `tensors`.

        Raises:
            LookupError, ValueError: they are not what `tensors` gives.
        """
        # what is left after the names of `tensors` are the parameters of the detector
        rest = dict(tensors)
        matrix = rest.pop("transition").cpu().numpy()
        class_weights = rest.pop("class_weights").cpu().numpy()
        # a single row would count for every class without a word
        if matrix.shape != 2 * class_weights.shape:
            raise ValueError(f"a transition of the shape {matrix.shape}")
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
