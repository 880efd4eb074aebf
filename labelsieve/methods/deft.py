"""DeFT: a positive and a negative prompt per class; the negative one is the learned threshold of the positive one.

Wei, Li, Li, Shi, Li, Zhang, "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS 2024 (arXiv 2409.19696),
section 3; authors' code HotanLee/DeFT, commit dafcc14. The label of an image is clean when the similarity to the positive
prompt of its class beats that to the negative one.

The preset `paper` does what the authors' code does: the labels are judged in the last training epoch, on augmented
pictures, while the weights still move. The default judges in a pass of its own, without augmentation.
Shapes: b images, n images in all, k classes, m context tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import losses, progress, tuning
from labelsieve.augment import crop_and_mirror
from labelsieve.dataset import LabelledImages
from labelsieve.methods import Evidence, Workplace
from labelsieve.models import ClassTokens, DualEncoder
from labelsieve.prompts import DualPrompts
from labelsieve.train import Batch, Recipe, fit

COST = "trains prompts: a few passes forward and backward through the frozen image tower"
NEEDS = ("text", "pixels")
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"scoring": "last-epoch"}}


@dataclass(frozen=True)
class Settings:
    """Defaults are the paper's (section 4 and appendix) where it has them."""

    tuning: str = "vpt-deep"  # how the image tower adapts
    tuning_size: int = 20  # visual prompt tokens a block; rank or width for the others
    context_length: int = 16  # context vectors before each class name
    epochs: int = 10
    warmup_epochs: int = 1  # epochs that trust every label
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 64
    rule: Literal["threshold", "real"] = "threshold"  # "real" also wants the given label to be the best class
    warmup_loss: Literal["ce", "sce"] = "ce"
    scoring: Literal["final", "last-epoch"] = "final"
    mirror: bool = True  # augmentation mirrors pictures
    accumulate: int = 1


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
        return self.loss_class + self.loss_dual


class Detector:
    """Dual prompts and a tuned image tower: the model that DeFT learns."""

    def __init__(self, encoder: DualEncoder, tokens: ClassTokens, prompts: DualPrompts, tuned: tuning.Tuning) -> None:
        self.encoder, self.tokens, self.prompts, self.tuned = encoder, tokens, prompts, tuned

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        return {"contexts": self.prompts.contexts, **self.tuned.parameters}

    def logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels [b, 3, h, w] -> positive and negative logits [b, k].

        The negative prompts get no gradient through the image tower (image features detached, as in the paper).
        """
        features = self.encoder.image_features(pixels, self.tuned.tokens())
        positive, negative = self.prompts.both(self.encoder, self.tokens)
        scale = self.encoder.logit_scale
        return scale * features @ positive.T, scale * features.detach() @ negative.T

    def step(
        self,
        pixels: Tensor,
        labels: Tensor,
        complementary: Tensor,
        *,
        selecting: bool,
        rule: str = "threshold",
        warmup_loss: str = "ce",
    ) -> Step:
        """One training step's losses (Wei et al. 2024, eq. 3-5; design of the recordings in tests/parity).

        Args:
            selecting: False in the warm-up, where every label is trusted.
        """
        positive, negative = self.logits(pixels)
        p_yes = losses.clean_probability(positive.detach(), negative)
        p_clean = p_yes.gather(1, labels[:, None])[:, 0]
        selected = p_clean > 0.5
        if rule == "real":
            selected = selected & (p_yes.argmax(1) == labels)
        if selecting:
            target = torch.where(selected, labels, positive.argmax(1))
            loss_class = losses.selected_mean(losses.cross_entropy(positive, labels), selected)
        else:
            target = labels
            first = losses.symmetric_cross_entropy if warmup_loss == "sce" else losses.cross_entropy
            loss_class = first(positive, labels).mean()
        loss_dual = losses.dual_prompt_loss(p_yes, target, complementary).mean()
        return Step(positive, negative, p_clean.detach(), selected.detach(), loss_class, loss_dual)

    @torch.no_grad()
    def judge(self, images: LabelledImages, rows: np.ndarray, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Positive and negative logits [n, k] of the pictures as they are, in a pass without augmentation."""
        positive, negative = self.prompts.both(self.encoder, self.tokens)
        text = torch.cat([positive, negative]).T * self.encoder.logit_scale
        parts = []
        with progress.bar("Scoring", len(rows)) as shown:
            for part in np.array_split(rows, max(1, -(-len(rows) // batch_size))):
                pixels = self.encoder.normalise(images.pixels(part))
                parts.append((self.encoder.image_features(pixels, self.tuned.tokens()) @ text).cpu().numpy())
                shown.advance(len(part))
        both = np.concatenate(parts)
        return both[:, : positive.shape[0]], both[:, positive.shape[0] :]


def complementary_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """For each label [b] a random other class."""
    return (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes


def detect(images: LabelledImages, encoder: DualEncoder, settings: Settings, run: Workplace) -> Evidence:
    """Train the detector on all images and judge their labels."""
    generator = torch.Generator().manual_seed(run.seed)
    prompts = DualPrompts.random(encoder, settings.context_length, generator)
    tuned = tuning.build(settings.tuning, encoder, settings.tuning_size, generator)
    tokens = encoder.class_tokens(images.names, settings.context_length)
    detector = Detector(encoder, tokens, prompts, tuned)
    n, k = len(images), len(images.classes)
    seen = {"p_clean": torch.zeros(n), "selected": torch.zeros(n, dtype=torch.bool)}
    labels = torch.from_numpy(images.labels)
    recipe = Recipe(
        epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, momentum=settings.momentum,
        weight_decay=settings.weight_decay, accumulate=settings.accumulate,
    )  # fmt: skip

    def loss_of(batch: Batch, pixels: Tensor) -> Tensor:
        given = labels[batch.rows]
        other = complementary_labels(given, k, batch.generator).to(encoder.device)
        views = crop_and_mirror(encoder.normalise(pixels), batch.generator, mirror=settings.mirror)
        step = detector.step(
            views, given.to(encoder.device), other,
            selecting=batch.epoch >= settings.warmup_epochs, rule=settings.rule, warmup_loss=settings.warmup_loss,
        )  # fmt: skip
        seen["p_clean"][batch.rows], seen["selected"][batch.rows] = step.p_clean.cpu(), step.selected.cpu()
        return step.loss

    fit(
        detector.parameters(), np.arange(n), images.pixels, loss_of, recipe, seed=run.seed, what="Training prompts",
        memory=seen, checkpoint=run.checkpoint("deft"),
    )  # fmt: skip
    positive, negative = detector.judge(images, np.arange(n))
    return _evidence(positive, negative, images.labels, seen, settings)


def _evidence(
    positive: np.ndarray, negative: np.ndarray, labels: np.ndarray, seen: dict[str, Tensor], settings: Settings
) -> Evidence:
    each = np.arange(len(labels))
    probs = torch.from_numpy(positive).softmax(1).numpy()
    p_yes = torch.sigmoid(torch.from_numpy(positive - negative)).numpy()
    p_clean = p_yes[each, labels]
    selected = p_clean > 0.5
    if settings.rule == "real":
        selected &= p_yes.argmax(1) == labels
    if settings.scoring == "last-epoch":
        p_clean, selected = seen["p_clean"].numpy(), seen["selected"].numpy()
    columns = {"positive_logit": positive[each, labels], "negative_logit": negative[each, labels]}
    return Evidence(p_clean.astype(np.float64), ~selected, probs.argmax(1), probs, columns)
