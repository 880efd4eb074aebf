"""The model that DeFT learns: a positive and a negative prompt per class, and an image side that adapts to them.

Shapes: b images, n images in all, k classes, d width of the common space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.data import augment
from labelsieve.data.dataset import Dataset
from labelsieve.models import adapters
from labelsieve.models.encoder import ClassTokens, DualEncoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.training import losses


@dataclass(frozen=True)
class Step:
    """Everything one step computes; logits are scaled cosines, [b, k] float32."""

    positive: Tensor
    negative: Tensor
    p_clean: Tensor  # [b]
    selected: Tensor  # [b] bool
    loss_class: Tensor
    loss_dual: Tensor

    @property
    def loss(self) -> Tensor:
        """What is minimised."""
        return self.loss_class + self.loss_dual


class Detector:
    """Dual prompts and an adapted image side: the model that DeFT learns.

    Args:
        adapter: [d, d]; pictures are then given as frozen features and pass through f + f A instead of the tower.
        residuals: [2, k, d], added to the features of the positive and the negative prompts (Yu et al., "Task Residual for
            Tuning Vision-Language Models", CVPR 2023, eq. 4): classes whose names say nothing learn where they lie.
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
        self.encoder, self.tokens, self.prompts, self.tuned = (
            encoder,
            tokens,
            prompts,
            tuned,
        )
        self.adapter, self.residuals = adapter, residuals

    def image_parameters(self) -> dict[str, nn.Parameter]:
        """What learns on the image side."""
        return (
            dict(self.tuned.parameters)
            if self.adapter is None
            else {"adapter": self.adapter}
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        residuals = {} if self.residuals is None else {"residuals": self.residuals}
        return {
            "contexts": self.prompts.contexts,
            **residuals,
            **self.image_parameters(),
        }

    def image_features(self, pictures: Tensor) -> Tensor:
        """Normalised pixels [b, 3, h, w], or frozen features [b, d] with an adapter -> [b, d] float32 of length one."""
        if self.adapter is None:
            return self.encoder.image_features(pictures, self.tuned.tokens())
        return F.normalize(pictures + pictures @ self.adapter, dim=-1)

    def text_features(self) -> tuple[Tensor, Tensor]:
        """Positive and negative class features, [k, d] each, of length one."""
        both = self.prompts.both(self.encoder, self.tokens)
        if self.residuals is None:
            return both
        positive, negative = F.normalize(torch.stack(both) + self.residuals, dim=-1)
        return positive, negative

    def logits(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Positive and negative logits [b, k].

        The negative prompts get no gradient through the image side (image features detached, as in the paper).
        """
        features = self.image_features(pictures)
        positive, negative = self.text_features()
        scale = self.encoder.logit_scale
        return scale * features @ positive.T, scale * features.detach() @ negative.T

    def step(
        self,
        pictures: Tensor,
        labels: Tensor,
        complementary: Tensor,
        *,
        selecting: bool,
        rule: str = "threshold",
    ) -> Step:
        """One training step's losses (Wei et al. 2024, eq. 3-5).

        Args:
            pictures: what `image_features` takes.
            labels: [b] given labels.
            complementary: [b] a random other class of each.
            selecting: False in the warm-up, where every label is trusted.
            rule: "real" adds the argmax condition and warms up with symmetric cross-entropy, as the authors' script
                for real-world noise does.
        """
        positive, negative = self.logits(pictures)
        p_yes = losses.clean_probability(positive.detach(), negative)
        p_clean = p_yes.gather(1, labels[:, None])[:, 0]
        selected = p_clean > 0.5
        if rule == "real":
            selected = selected & (p_yes.argmax(1) == labels)
        if selecting:
            target = torch.where(selected, labels, positive.argmax(1))
            loss_class = losses.selected_mean(
                losses.cross_entropy(positive, labels), selected
            )
        else:
            target = labels
            warmup = (
                losses.symmetric_cross_entropy
                if rule == "real"
                else losses.cross_entropy
            )
            loss_class = warmup(positive, labels).mean()
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
        images: Dataset,
        features: np.ndarray | None = None,
        views: int = 1,
        mirror: bool = True,
        batch_size: int = 256,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative logits [n, k] of all pictures, the mean over `views`, in a pass without chance.

        Args:
            features: frozen features [n, d], needed with an adapter.
            views, mirror: of pixels, see `labelsieve.data.augment.views`; of features there is one.
        """
        positive, negative = self.text_features()
        text = torch.cat([positive, negative]).T * self.encoder.logit_scale
        out = np.empty((len(images), text.shape[1]), dtype=np.float32)
        with progress.bar("Scoring", len(images)) as shown:
            for start in range(0, len(images), batch_size):
                rows = np.arange(start, min(start + batch_size, len(images)))
                pictures = pictures_of(images, rows, features, self.encoder)
                seen = augment.views(pictures, views if features is None else 1, mirror)
                out[rows] = (
                    torch.stack([self.image_features(view) @ text for view in seen])
                    .mean(0)
                    .cpu()
                    .numpy()
                )
                shown.advance(len(rows))
        return out[:, : len(positive)], out[:, len(positive) :]


def pictures_of(
    images: Dataset,
    rows: np.ndarray,
    features: np.ndarray | None,
    encoder: DualEncoder,
) -> Tensor:
    """What a detector takes of the given rows, without augmentation."""
    if features is None:
        return encoder.normalise(images.inputs(rows))
    return torch.from_numpy(np.asarray(features[rows], dtype=np.float32)).to(
        encoder.device
    )


def complementary_labels(
    labels: Tensor, classes: int, generator: torch.Generator
) -> Tensor:
    """For each label [b] a random other class."""
    return (
        labels + torch.randint(1, classes, labels.shape, generator=generator)
    ) % classes
