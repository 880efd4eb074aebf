"""The model that DeFT learns: two prompts per class, and an image side that adapts to them.

Shapes: b images, n images in all, k classes, d width of the common space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.cache import key_of
from labelsieve.data import augment
from labelsieve.data.batches import Job, computed
from labelsieve.data.dataset import Dataset
from labelsieve.models import adapters
from labelsieve.models.encoder import ClassTokens, DualEncoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.training import losses
from labelsieve.training.distributed import across

Rule = Literal["threshold", "real"]  # which labels a step learns from


@dataclass(frozen=True)
class Step:
    """Everything one step computes.

    positive, negative: [b, k] float32 logits, which are scaled cosines.
    p_clean: [b] float32. selected: [b] bool.
    loss_class, loss_dual: of the image side and the positive prompts; of both kinds of prompts.
    """

    positive: Tensor
    negative: Tensor
    p_clean: Tensor
    selected: Tensor
    loss_class: Tensor
    loss_dual: Tensor

    @property
    def loss(self) -> Tensor:
        """What is minimised."""
        return self.loss_class + self.loss_dual


class Detector:
    """Dual prompts and an adapted image side: the model that DeFT learns.

    Args:
        adapter: [d, d]; pictures are then given as frozen features f and pass through f + f A
            instead of the tower.
        residuals: [2, k, d], added to the features of the positive and the negative prompts
            (Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, eq. 4):
            classes whose names mean nothing to the model learn where they lie.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        tokens: ClassTokens,
        prompts: DualPrompts,
        tuned: adapters.Tuning,
        adapter: nn.Parameter | None = None,
        residuals: nn.Parameter | None = None,
    ) -> None:
        self.encoder = encoder
        self.tokens = tokens
        self.prompts = prompts
        self.tuned = tuned
        self.adapter = adapter
        self.residuals = residuals
        # what another process makes the same detector from, before it was trained
        self.origin: dict[str, Any] = {}

    def image_parameters(self) -> dict[str, nn.Parameter]:
        """What learns on the image side."""
        if self.adapter is not None:
            return {"adapter": self.adapter}
        return dict(self.tuned.parameters)

    def text_parameters(self) -> dict[str, nn.Parameter]:
        """What learns on the text side."""
        parameters = {"contexts": self.prompts.contexts}
        if self.residuals is not None:
            parameters["residuals"] = self.residuals
        return parameters

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        return self.text_parameters() | self.image_parameters()

    def image_features(self, pictures: Tensor) -> Tensor:
        """[b, d] float32 of length one.

        Args:
            pictures: normalised pixels [b, 3, h, w]; frozen features [b, d] with an adapter.
        """
        if self.adapter is None:
            tokens = self.tuned.tokens()
            return across(lambda p: self.encoder.image_features(p, tokens), pictures)
        # starts at the frozen features: A is zero before training
        return F.normalize(pictures + pictures @ self.adapter, dim=-1)

    def text_features(self) -> tuple[Tensor, Tensor]:
        """Positive and negative class features, [k, d] each, of length one."""
        both = self.prompts.both(self.encoder, self.tokens)
        if self.residuals is None:
            return both
        # after encoding, so that they need no pass through the text tower of their own
        positive, negative = F.normalize(torch.stack(both) + self.residuals, dim=-1)
        return positive, negative

    def logits(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Positive and negative logits [b, k]."""
        features = self.image_features(pictures)
        positive, negative = self.text_features()
        scale = self.encoder.logit_scale
        # as in the paper, negative prompts send no gradient into the image side
        return scale * features @ positive.T, scale * features.detach() @ negative.T

    def step(
        self,
        pictures: Tensor,
        labels: Tensor,
        complementary: Tensor,
        *,
        selecting: bool,
        rule: Rule = "threshold",
    ) -> Step:
        """One training step's losses (Wei et al. 2024, eq. 3-5).

        Args:
            pictures: as for `image_features`.
            labels: [b] given labels.
            complementary: [b] a random other class of each.
            selecting: False in the warm-up, where every label is trusted.
            rule: "real" adds the argmax condition and warms up with symmetric cross-entropy, as
                the authors' script for real-world noise does.
        """
        positive, negative = self.logits(pictures)
        # thresholds teach the negative prompts alone: positive logits are detached here
        p_yes = losses.clean_probability(positive.detach(), negative)
        p_clean = p_yes.gather(1, labels[:, None])[:, 0]
        selected = p_clean > 0.5
        if rule == "real":
            selected = selected & (p_yes.argmax(1) == labels)
        if selecting:
            # labels called wrong teach the negative prompts the class the model answers
            target = torch.where(selected, labels, positive.argmax(1))
            each = losses.cross_entropy(positive, labels)
            loss_class = losses.selected_mean(each, selected)
        else:
            # nothing can be selected before the prompts have learned anything
            target = labels
            loss_class = _warmup_loss(rule)(positive, labels).mean()
        loss_dual = losses.dual_prompt_loss(p_yes, target, complementary).mean()
        return Step(
            positive,
            negative,
            p_clean.detach(),
            selected.detach(),
            loss_class,
            loss_dual,
        )

    @torch.no_grad()
    def judge(
        self,
        data: Dataset,
        features: np.ndarray | None = None,
        views: int = 1,
        mirror: bool = True,
        batch_size: int = 256,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative logits [n, k] float32 of all pictures, without chance.

        Args:
            features: frozen features [n, d], needed with an adapter.
            views, mirror: logits are the mean over views of the pixels, see
                `labelsieve.data.augment.views`; of features there is one view.
        """
        positive, negative = self.text_features()
        # one product for both kinds of prompts
        text = torch.cat([positive, negative]).T * self.encoder.logit_scale
        logits = np.empty((len(data), text.shape[1]), dtype=np.float32)

        def judge(rows: np.ndarray) -> np.ndarray:
            pictures = pictures_of(data, rows, features, self.encoder)
            seen = augment.views(pictures, views if features is None else 1, mirror)
            each = torch.stack([self.image_features(view) @ text for view in seen])
            judged: np.ndarray = each.mean(0).cpu().numpy()
            return judged

        job = None
        # of frozen features it is a moment
        if features is None and self.origin:
            facts = {**self.origin, "views": views, "mirror": mirror}
            job = self._job(data, facts, batch_size)
        for rows, values in computed(
            len(data), batch_size, "Scoring", judge, job, unit=f"{data.noun}s"
        ):
            logits[rows] = values
        return logits[:, : len(positive)], logits[:, len(positive) :]

    def _job(self, data: Dataset, facts: Mapping[str, Any], batch_size: int) -> Job:
        """`judge` in words and tensors."""
        tensors = {}
        for name, parameter in self.parameters().items():
            tensors[name] = parameter.detach().float().cpu().numpy()
        content = [data.fingerprint, facts, [t.tobytes() for t in tensors.values()]]
        key = f"logits-{key_of(*content)}"
        return Job("logits", key, data.ids, facts, tensors, whole=batch_size)


def _warmup_loss(rule: Rule) -> Callable[[Tensor, Tensor], Tensor]:
    if rule == "real":
        return losses.symmetric_cross_entropy
    return losses.cross_entropy


def pictures_of(
    data: Dataset, rows: np.ndarray, features: np.ndarray | None, encoder: DualEncoder
) -> Tensor:
    """What a detector takes for rows [b], without augmentation."""
    if features is None:
        return encoder.normalise(data.inputs(rows))
    chosen = np.asarray(features[rows], dtype=np.float32)
    return torch.from_numpy(chosen).to(encoder.device)


def complementary_labels(
    labels: Tensor, classes: int, generator: torch.Generator
) -> Tensor:
    """For each label [b] a random other class."""
    # steps of 1 to k - 1 around the circle of classes reach every other class alike
    steps = torch.randint(1, classes, labels.shape, generator=generator)
    return (labels + steps) % classes
