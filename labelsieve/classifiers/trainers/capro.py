"""CAPro: prototypes of trusted pictures, contrast, and labels from look-alikes, while training.

After Qin et al., "CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes",
NeurIPS 2023 (arXiv 2310.09761), read with the authors' code (yuleiqin/capro). v is what the head is
given, p its answer; z = P v of length one, q a second classifier on z, R z a way back; k a key of a
slowly moving copy of the model; z^c prototypes:

    CE(p, y) + (1 - β) CE(q, y) - β Σ_c b[c] log q[c] + MSE(R z, v) - log softmax(z·z^c / τ)[y]
             - log exp(z·k / τ) / (exp(z·k / τ) + Σ_j exp(z·k_j / τ))        k_j: other keys
    b        Σ_j w_j u_j, w_j ∝ max(0, z·k_j): what is said of other keys (collective bootstrapping)
    u_j      α softmax(q(k_j)) + (1 - α) softmax(k_j·z^c / τ)
    o        α p + (1 - α) softmax(z·z^c / τ); from epoch `capro_clean` on a picture gets the label
             that o is sure of (γ), keeps its own where o[y] >= 1 / k, and is left out elsewhere
    z^c      from epoch `capro_prototypes` on, the mean of anchors, moved by kept pictures (m)

Differences: the model is pre-trained, so there is no step 0, and `train` has no step 8. Anchors are
of each class the 50 pictures, at most a tenth, whose labels the scan trusts most (the paper: whose
texts are nearest); they keep their labels. The queue begins full, with keys of training pictures,
and a picture's own key is no neighbour of its own. P, R and q are single linear layers.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.classifiers.backbone import (
    given_to,
    logits_of,
    seeded,
)
from labelsieve.classifiers.fine_tuning import BATCH, Fitting
from labelsieve.classifiers.trainers import Beginning, Place, need_head
from labelsieve.data.batches import batches
from labelsieve.training.loop import Batch

OPTION = "recipe"
ANCHORS = 50  # K, most of a class
ANCHOR_SHARE = 0.1  # ours: most of a class, as in labelsieve.methods.capro
LEAST = 1e-7  # weight of a key that looks like nothing, as in the authors' code


def run(beginning: Beginning, place: Place) -> tuple[Fitting, dict[str, Any]]:
    """Train with prototypes; figures say how many labels were changed and left out at the end."""
    fitting = beginning.fitting(Prototyping, beginning.samples)
    assert isinstance(fitting, Prototyping)
    fitting.choose_anchors(beginning.trust())
    figures = fitting.run(place.folder, place.identity, place.val)
    verdict = fitting.memory["verdict"][fitting.rows]
    counts = {"relabelled": verdict == RELABELLED, "left_out": verdict == OUTSIDE}
    found = {name: int(chosen.sum()) for name, chosen in counts.items()}
    return fitting, {**figures, "capro": found}


# Of a picture when it was last looked at.
KEPT, RELABELLED, OUTSIDE = 0, 1, 2


def bootstrapped(z: Tensor, keys: Tensor, said: Tensor, other: Tensor) -> Tensor:
    """Labels b [b, k] from what is said of keys that look alike.

    Args:
        z: [b, d]. keys: [Q, d]. said: u [Q, k], rows sum to one.
        other: [b, Q] bool, false for a picture's own key.
    """
    weights = ((z @ keys.T).clamp(0, 1) + LEAST) * other
    return weights / weights.sum(1, keepdim=True) @ said


def verdicts(opinions: Tensor, labels: Tensor, sure: float) -> tuple[Tensor, Tensor]:
    """Labels [b] and verdicts [b] by the rule of step 6, of opinions o [b, k]."""
    most, best = opinions.max(1)
    own = opinions.gather(1, labels[:, None])[:, 0]
    found = torch.where(own >= 1 / opinions.shape[1], KEPT, OUTSIDE)
    certain = most >= sure
    found = torch.where(certain & (best != labels), RELABELLED, found)
    # a label that is itself the sure class stays
    found = torch.where(certain & (best == labels), KEPT, found)
    return torch.where(found == RELABELLED, best, labels), found


def contrast(z: Tensor, own: Tensor, keys: Tensor, other: Tensor, tau: float) -> Tensor:
    """[b] how hard a picture z [b, d] is to know by its key `own` among keys [Q, d] of others."""
    positive = (z * own).sum(1, keepdim=True) / tau
    negative = (z @ keys.T / tau).masked_fill(~other, -torch.inf)
    return torch.cat([positive, negative], 1).logsumexp(1) - positive[:, 0]


class Prototyping(Fitting):
    """A training with prototypes; its own tensors are kept with every checkpoint."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.head = need_head(self.backbone, "--recipe capro")
        width, k = self.head.in_features, len(self.images.classes)
        size = self.settings.capro_width
        with seeded(self.seed):
            self.added = nn.ModuleDict(
                {
                    "project": nn.Linear(width, size),
                    "back": nn.Linear(size, width),
                    "classify": nn.Linear(size, k),
                }
            ).to(self.device)
        # of the optimiser and of checkpoints, but not of the model that is saved
        for name, parameter in self.added.named_parameters():
            self.parameters[f"capro/{name}"] = parameter
        self.plain, self.loss = self.loss, self._losses
        self.anchors = np.zeros(len(self.images), dtype=bool)
        self._seen: list[Tensor] = []
        self._keys = torch.empty(0)
        self._epoch = 0
        self._slow()

    def _slow(self) -> None:
        """A copy of model and projection that follows slowly, and the queue of its keys."""
        self.slow_model = copy.deepcopy(self.backbone.model).requires_grad_(False)
        self.slow_project = copy.deepcopy(self.added["project"]).requires_grad_(False)
        parts = {"slow": self.slow_model, "slow_project": self.slow_project}
        for part, module in parts.items():
            # the very tensors, so that a stop puts back what they were
            for name, tensor in module.state_dict().items():
                self.memory[f"{part}/{name}"] = tensor
        k, width = len(self.images.classes), self.settings.capro_width
        self.memory["prototypes"] = torch.zeros(k, width, device=self.device)
        verdict = torch.full((len(self.images),), KEPT)
        self.memory["verdict"] = verdict
        # full from the first step on: keys at random would say that all classes are alike
        size = min(self.settings.capro_queue, len(self.rows))
        drawn = np.random.default_rng([self.seed, size])
        chosen = np.sort(drawn.choice(self.rows, size, replace=False))
        self.memory["queue"] = self._encode(chosen)
        self.memory["queued"] = torch.from_numpy(chosen)
        self.memory["oldest"] = torch.zeros(1, dtype=torch.int64)

    def choose_anchors(self, trust: dict[str, float]) -> None:
        """Of each class the images that train whose labels are trusted most, at least one."""
        ids = self.images.ids.to_pylist()
        trusted = np.array([trust.get(name, 0.0) for name in ids])
        for number in np.unique(self.labels[self.rows]):
            own = self.rows[self.labels[self.rows] == number]
            count = max(1, min(ANCHORS, int(ANCHOR_SHARE * len(own))))
            # stable: equally trusted ones by their place in the data
            best = np.argsort(-trusted[own], kind="stable")[:count]
            self.anchors[own[best]] = True

    def _head_rates(self) -> dict[str, float]:
        # drawn at random: the rate of a pre-trained tower would hardly move them
        mine = [name for name in self.parameters if name.startswith("capro/")]
        return {**super()._head_rates(), **dict.fromkeys(mine, self.settings.capro_lr)}

    @torch.no_grad()
    def _encode(self, rows: np.ndarray) -> Tensor:
        """Keys [b, d] of images as they are."""
        found = []
        for part in batches(rows, BATCH, None):
            found.append(self._key(self.normalised(self.images.inputs(part))))
        return torch.cat(found)

    @torch.no_grad()
    def _key(self, pictures: Any) -> Tensor:
        # evaluation mode: batch statistics are those of the model that trains
        self.slow_model.eval()
        head = self.slow_model.get_submodule(self._name_of_head())
        assert isinstance(head, nn.Linear)
        with given_to(head) as seen:
            logits_of(self.slow_model, pictures)
        given = torch.cat(seen).float().flatten(1)
        return F.normalize(self.slow_project(given), dim=1)

    def _name_of_head(self) -> str:
        modules = self.backbone.model.named_modules()
        return next(name for name, module in modules if module is self.head)

    def loss_of(self, batch: Batch, loaded: Any) -> Tensor:
        """As for every training; another view of the batch goes through the slow copy before."""
        self._epoch = batch.epoch
        self._follow()
        if batch.epoch >= self.settings.capro_prototypes:
            self._begin_prototypes()
        views = self.backbone.inputs.varied(
            self.normalised(loaded),
            batch.generator,
            self.settings.crop,
            bool(self.settings.mirror),
        )
        self._keys = self._key(views)
        with given_to(self.head) as self._seen:
            return super().loss_of(batch, loaded)

    @torch.no_grad()
    def _follow(self) -> None:
        left = self.settings.capro_momentum
        pairs = [
            (self.slow_model, self.backbone.model),
            (self.slow_project, self.added["project"]),
        ]
        for slow, quick in pairs:
            state = quick.state_dict()
            for name, tensor in slow.state_dict().items():
                # counters of batches are whole numbers
                if tensor.is_floating_point():
                    tensor.mul_(left).add_(state[name], alpha=1 - left)
                else:
                    tensor.copy_(state[name])

    def _begin_prototypes(self) -> None:
        if self.memory["prototypes"].any():
            return
        # with the slow copy, as keys and prototypes are compared
        rows = np.flatnonzero(self.anchors)
        keys = self._encode(rows)
        labels = torch.from_numpy(self.labels[rows]).to(self.device)
        total = torch.zeros_like(self.memory["prototypes"])
        total.index_add_(0, labels, keys)
        self.memory["prototypes"].copy_(F.normalize(total, dim=1))

    def _losses(self, logits: Tensor, labels: Tensor, rows: np.ndarray) -> Tensor:
        """[b] losses; then queue and prototypes take the batch in."""
        settings, memory = self.settings, self.memory
        tau, beta = settings.capro_temperature, settings.capro_beta
        given = torch.cat(self._seen).float().flatten(1)
        z = F.normalize(self.added["project"](given), dim=1)
        q = self.added["classify"](z)
        # copies: they are written to before the gradient is taken
        queue, prototypes = memory["queue"].clone(), memory["prototypes"].clone()
        # by row number: a picture may be in the queue more than once
        own = torch.from_numpy(rows)[:, None] == memory["queued"][None]
        other = (~own).to(self.device)
        near = z @ prototypes.T / tau
        labels, weight = self._verdict(logits, near, labels, rows)
        with torch.no_grad():
            said = self.added["classify"](queue).softmax(1)
            if self._has_prototypes:
                of_keys = (queue @ prototypes.T / tau).softmax(1)
                said = (
                    settings.capro_alpha * said + (1 - settings.capro_alpha) * of_keys
                )
            b = bootstrapped(z, queue, said, other)
        losses = self.plain(logits, labels, rows)
        losses = losses + (1 - beta) * F.cross_entropy(q, labels, reduction="none")
        losses = losses + beta * F.cross_entropy(q, b, reduction="none")
        losses = losses + contrast(z, self._keys, queue, other, tau)
        losses = losses + (self.added["back"](z) - given.detach()).square().mean(1)
        if self._has_prototypes:
            losses = losses + F.cross_entropy(near, labels, reduction="none")
        self._take_in(z.detach(), labels, rows, weight)
        return losses * weight

    @property
    def _has_prototypes(self) -> bool:
        return self._epoch >= self.settings.capro_prototypes

    @torch.no_grad()
    def _verdict(
        self, logits: Tensor, near: Tensor, labels: Tensor, rows: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Labels [b] to learn, and 0 where a picture is left out, else 1."""
        if self._epoch < max(self.settings.capro_clean, self.settings.capro_prototypes):
            return labels, torch.ones(len(labels), device=self.device)
        alpha = self.settings.capro_alpha
        opinions = alpha * logits.softmax(1) + (1 - alpha) * near.softmax(1)
        found, verdict = verdicts(opinions, labels, self.settings.capro_sure)
        # anchors keep their labels, whatever is thought of them
        anchors = torch.from_numpy(self.anchors[rows]).to(self.device)
        found = torch.where(anchors, labels, found)
        verdict = torch.where(anchors, KEPT, verdict)
        self.memory["verdict"][torch.from_numpy(rows)] = verdict.cpu()
        return found, (verdict != OUTSIDE).float()

    @torch.no_grad()
    def _take_in(
        self, z: Tensor, labels: Tensor, rows: np.ndarray, weight: Tensor
    ) -> None:
        memory = self.memory
        size = len(memory["queue"])
        # a batch may be larger than the queue: its last keys stay
        new = min(len(rows), size)
        where = (int(memory["oldest"]) + torch.arange(new)) % size
        memory["queue"][where] = self._keys[-new:]
        memory["queued"][where] = torch.from_numpy(rows[-new:])
        memory["oldest"].copy_((memory["oldest"] + new) % size)
        if not self._has_prototypes:
            return
        left = self.settings.capro_polish
        kept = weight > 0
        total = torch.zeros_like(memory["prototypes"])
        total.index_add_(0, labels[kept], z[kept])
        counts = torch.bincount(labels[kept], minlength=len(total))[:, None].to(z)
        # as many single steps would leave, whatever their order within a batch
        share = left**counts
        moved = share * memory["prototypes"] + (1 - share) * total / counts.clamp(min=1)
        memory["prototypes"].copy_(F.normalize(moved, dim=1))
