"""Labels judged by Bayes' rule: two votes times the transition matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation.transition import (
    TEMPERATURES,
    Transition,
    calibrate,
    parts,
    reweigh,
    sample,
)

pass
from labelsieve.data.dataset import Dataset
from labelsieve.features.cached import image_features
from labelsieve.features.probe import linear
from labelsieve.features.zero_shot import softmax, zero_shot
from labelsieve.methods._dual_prompts import Detector as Detector
from labelsieve.methods._dual_prompts import Step as Step
from labelsieve.models.encoder import DualEncoder


def _voter(transition: Transition) -> dict[str, Tensor]:
    """What `_vote` and `_evidence` need of T, to judge other images."""
    return {
        "transition": torch.from_numpy(transition.matrix),
        "class_weights": torch.from_numpy(transition.weights),
        "temperature": torch.tensor(transition.temperature),
    }


def _probe(images: Dataset, encoder: DualEncoder, seed: int) -> dict[str, Tensor]:
    """The reference classifier of other images where it is the pictures."""
    weight, bias = linear(images, encoder, seed)
    return {
        "probe_weight": torch.from_numpy(weight),
        "probe_bias": torch.from_numpy(bias),
    }


def _vote(
    images: Dataset, encoder: DualEncoder, learned: dict[str, Tensor]
) -> np.ndarray:
    """[n, k] class probabilities of the reference classifier, calibrated as in training."""
    if "probe_weight" in learned:
        weight, bias = (
            learned[f"probe_{name}"].cpu().numpy() for name in ("weight", "bias")
        )
        probs = softmax(np.asarray(image_features(images, encoder)) @ weight.T + bias)
    else:
        probs = zero_shot(images, encoder).probs()
    return calibrate(
        probs, float(learned["temperature"]), learned["class_weights"].cpu().numpy()
    )


def _posterior(
    positive: np.ndarray,
    vote: np.ndarray,
    labels: np.ndarray,
    transition: np.ndarray,
    temperature: float,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Probability of each class, given picture and label: two votes on the picture, times T[:, label].

    The votes are the softmax of the positive logits and `vote` [n, k].

    Yields:
        Some rows and their [r, k], float64; all at once would often be the largest array of a scan.
    """
    for part in parts(*vote.shape):
        votes = positive[part].astype(np.float64) + np.log(vote[part].clip(1e-12))
        yield part, reweigh(softmax(votes / temperature), transition[:, labels[part]].T)


def _temper(
    positive: np.ndarray,
    vote: np.ndarray,
    labels: np.ndarray,
    transition: Transition,
    seed: int,
) -> float:
    """Temperature of the two votes under which the share of wrong labels is the one that the reference classifier alone gives.

    Prompts and a probe that learned from the same labels are not independent, so their product is too sure of itself.
    """
    rows = sample(len(labels), seed)
    positive, vote, labels = positive[rows], vote[rows], labels[rows]
    wanted = 1 - float(
        transition.posterior(vote, labels)[np.arange(len(labels)), labels].mean()
    )
    rates = [_rate(positive, vote, labels, transition.matrix, t) for t in TEMPERATURES]
    return float(TEMPERATURES[np.abs(np.array(rates) - wanted).argmin()])


def _rate(
    positive: np.ndarray,
    vote: np.ndarray,
    labels: np.ndarray,
    transition: np.ndarray,
    temperature: float,
) -> float:
    """Share of wrong labels by `_posterior`, of which few rows are held at a time."""
    found = _posterior(positive, vote, labels, transition, temperature)
    right = [probs[np.arange(len(probs)), labels[part]] for part, probs in found]
    return float(1 - np.concatenate(right).mean())
