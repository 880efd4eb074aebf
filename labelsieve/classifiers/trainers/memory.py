"""Memory: regions of look-alikes gather labels while a model trains, filter them and soften them.

After Zhu, Zheng, Zheng, Lyu, Luo, "Learning to Aggregate and Refine Noisy Labels for Visual
Sentiment Analysis", ICPR 2022 (arXiv 2109.07509), of which only the abstract could be read; the
equations are ours, those of `labelsieve.methods.memory` made online. z is what the head is given,
of length one; regions have prototypes m_j and votes n_j:

    read     w_j = softmax_j(z·m_j / τ);  r = Σ_j w_j l_j;  z~ = Σ_j w_j m_j, as long as z was
    filter   g = 1 where r[y] / max r > θ
    loss     g CE(p(z), y) + λ1 KL(r || p(z)) + λ2 CE(p(z~), r),  r without gradient
    write    m_j* <- a m_j* + (1 - a) z of the nearest region, batch by batch; one vote for y there

Votes that are read are those of the epoch before, in which every image voted once, and an image's
own vote is taken out before it reads: it would vouch for itself. Prototypes that nothing was near
to in an epoch are planted again. In the first `warmup_epochs` the loss is CE(p(z), y) alone. Labels
are never replaced; the paper may do so. By default λ1 is .3 and λ2 is 0: with 1 and 1 training got
worse with every epoch (see the documentation), as regions of few images say less than their labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelsieve.classifiers.backbone import features_before, given_to
from labelsieve.classifiers.fine_tuning import Fitting
from labelsieve.classifiers.trainers import Beginning, Place, need_head
from labelsieve.training.loop import Batch

OPTION = "loss"
PASSES = 4  # over the images before the first epoch, until regions lie where they are
PRIOR = 1.0  # votes of the class frequencies that every region has besides


def run(beginning: Beginning, place: Place) -> tuple[Fitting, dict[str, Any]]:
    """Train with a memory."""
    fitting = beginning.fitting(Remembering, beginning.samples)
    return fitting, fitting.run(place.folder, place.identity, place.val)


def nearest(features: Tensor, prototypes: Tensor) -> Tensor:
    """[b] int64, the region of each feature [b, d]; prototypes [M, d]."""
    return (features @ prototypes.T).argmax(1)


def written(
    prototypes: Tensor, features: Tensor, regions: Tensor, momentum: float
) -> Tensor:
    """Prototypes [M, d] of length one after a batch wrote to them.

    What is left of a prototype is what as many single writes would leave, so that the order within
    a batch decides nothing.
    """
    counts = torch.bincount(regions, minlength=len(prototypes))[:, None].to(features)
    total = torch.zeros_like(prototypes).index_add_(0, regions, features)
    left = momentum**counts
    moved = left * prototypes + (1 - left) * total / counts.clamp(min=1)
    return F.normalize(moved, dim=1)


def soft_labels(
    weights: Tensor, votes: Tensor, own: Tensor, labels: Tensor, frequencies: Tensor
) -> Tensor:
    """R [b, k]: what regions say of each image without its own vote.

    Args:
        weights: w [b, M]. votes: n [M, k]. frequencies: [k], of the classes.
        own: [b] the region that each image voted in; -1 where it did not. labels: [b] for what.
    """
    said = _shares(votes, frequencies)
    result = weights @ said
    rows = torch.nonzero(own >= 0)[:, 0]
    # only the region that was voted in changes, so the rest need not be read again
    without = votes[own[rows]].clone()
    without[torch.arange(len(rows)), labels[rows]] -= 1
    change = _shares(without, frequencies) - said[own[rows]]
    result[rows] += weights[rows, own[rows]][:, None] * change
    # rounding may leave a little below zero
    result = result.clamp(min=1e-12)
    return result / result.sum(1, keepdim=True)


def _shares(votes: Tensor, frequencies: Tensor) -> Tensor:
    """Label distributions [M, k] of votes [M, k]."""
    counted = votes + PRIOR * frequencies
    return counted / counted.sum(1, keepdim=True)


class Remembering(Fitting):
    """A training with a memory of regions; its tensors are kept with every checkpoint."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.head = need_head(self.backbone, "--loss memory")
        labels = torch.from_numpy(self.labels[self.rows])
        k = len(self.images.classes)
        counts = torch.bincount(labels, minlength=k).float()
        self.frequencies = (counts / counts.sum()).to(self.device)
        self.plain, self.loss = self.loss, self._remembered
        self._seen: list[Tensor] = []
        self._epoch = 0
        self._plant()

    def _plant(self) -> None:
        """Regions of the training images as the model sees them before it is trained."""
        with features_before(self.head) as seen:
            self.probabilities(self.images, self.rows)
        features = F.normalize(torch.cat(seen), dim=1).to(self.device)
        size = self.settings.memory_per_class * len(self.images.classes)
        # no more regions than images to begin them with
        size = min(size, len(self.rows))
        drawn = np.random.default_rng([self.seed, size])
        chosen = np.sort(drawn.choice(len(self.rows), size, replace=False))
        prototypes = features[torch.from_numpy(chosen)]
        for _ in range(PASSES):
            regions = nearest(features, prototypes)
            prototypes = written(
                prototypes, features, regions, self.settings.memory_momentum
            )
        # who does not train votes nowhere
        regions = nearest(features, prototypes)
        own = torch.full((len(self.images),), -1)
        own[torch.from_numpy(self.rows)] = regions.cpu()
        labels = torch.from_numpy(self.labels[self.rows]).to(self.device)
        votes = torch.zeros(size, len(self.images.classes), device=self.device)
        votes.index_put_((regions, labels), torch.ones_like(labels).float(), True)
        # what is read, and what is written until the epoch ends
        self.memory["regions"] = prototypes
        self.memory["votes"], self.memory["voted"] = votes, own
        self.memory["next_votes"] = torch.zeros_like(votes)
        self.memory["next_voted"] = own.clone()

    def loss_of(self, batch: Batch, loaded: Any) -> Tensor:
        """As for every training; what the head is given is looked at on the way."""
        self._epoch = batch.epoch
        with given_to(self.head) as self._seen:
            return super().loss_of(batch, loaded)

    def _remembered(self, logits: Tensor, labels: Tensor, rows: np.ndarray) -> Tensor:
        """[b] losses; then the batch is written."""
        given = torch.cat(self._seen).float().flatten(1)
        z = F.normalize(given.detach(), dim=1)
        losses = self.plain(logits, labels, rows)
        if self._epoch >= self.settings.warmup_epochs:
            losses = self._softened(losses, logits, labels, rows, given)
        self._write(z, labels, rows)
        return losses

    def _softened(
        self,
        losses: Tensor,
        logits: Tensor,
        labels: Tensor,
        rows: np.ndarray,
        given: Tensor,
    ) -> Tensor:
        settings, memory = self.settings, self.memory
        # with gradient: what is read moves with the features
        length = given.norm(dim=1, keepdim=True)
        # a copy: it is written to before the gradient is taken
        regions = memory["regions"].clone()
        cosines = given / length @ regions.T
        weights = (cosines / settings.memory_temperature).softmax(1)
        own = memory["voted"][rows].to(self.device)
        with torch.no_grad():
            r = soft_labels(weights, memory["votes"], own, labels, self.frequencies)
            agreed = r.gather(1, labels[:, None])[:, 0] / r.amax(1)
            trusted = (agreed > settings.memory_keep).float()
        # of the same length, as the head was made for what it is usually given
        told = F.normalize(weights @ regions, dim=1) * length
        refined = F.kl_div(logits.log_softmax(1), r, reduction="none").sum(1)
        # not by calling the head: others look at what it is called with
        answers = F.linear(told, self.head.weight, self.head.bias)
        smoothed = F.cross_entropy(answers, r, reduction="none")
        refined = settings.memory_refine * refined
        return trusted * losses + refined + settings.memory_denoise * smoothed

    def _write(self, z: Tensor, labels: Tensor, rows: np.ndarray) -> None:
        memory = self.memory
        regions = nearest(z, memory["regions"])
        moved = written(memory["regions"], z, regions, self.settings.memory_momentum)
        # in place: these tensors are put back after a stop
        memory["regions"].copy_(moved)
        ones = torch.ones_like(labels).float()
        memory["next_votes"].index_put_((regions, labels), ones, accumulate=True)
        memory["next_voted"][torch.from_numpy(rows)] = regions.cpu()

    def _after(self, *words: Any) -> bool:
        """Votes of the epoch that ends are read in the next one."""
        memory = self.memory
        # an epoch without a vote
        idle = torch.nonzero(memory["next_votes"].sum(1) == 0)[:, 0]
        if len(idle):
            self._replant(idle)
        memory["votes"].copy_(memory["next_votes"])
        memory["voted"].copy_(memory["next_voted"])
        memory["next_votes"].zero_()
        return super()._after(*words)

    def _replant(self, idle: Tensor) -> None:
        """Regions that nothing was near to begin again, where the memory covers least."""
        with features_before(self.head) as seen:
            self.probabilities(self.images, self.rows)
        features = F.normalize(torch.cat(seen), dim=1).to(self.device)
        # by the regions that are left
        covered = (features @ self.memory["regions"].T).amax(1)
        lonely = covered.argsort(stable=True)[: len(idle)]
        self.memory["regions"][idle[: len(lonely)]] = features[lonely]
