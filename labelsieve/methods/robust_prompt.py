"""Robust prompt: a context learned with a loss that withstands wrong labels; labels are judged out of fold.

After Wu, Tian, Yu, Wang, Morgado, Hu, Yang, "Why Is Prompt Tuning for Vision-Language Models Robust to Noisy Labels?", ICCV
2023 (arXiv 2307.11978); authors' code CEWu/PTNL, commit fa965a0. There it is a classifier: one context shared by all
classes is learned before fixed class names with frozen towers, generalised cross-entropy (1 - p_y^q) / q, no selection,
no relabelling; p = softmax(cosines · the model's own logit scale). Using it as a detector is derived, not the paper's:
p_clean = p(given label) from a context that was learned on the other folds. Own rule: another class is likelier.

Preset `unsupervised` is the paper's robust UPL: the model's own zero-shot answers are the labels, of which a random few per
class (not the surest) are learned from, so the given labels are not used at all. This draw is written anew: the released
code does not have it.

Differences: the context starts at the words of the template and Adam's steps do not depend on the logit scale (as in `deft`;
preset `paper`: 16 random vectors, SGD 0.002, 50 epochs, batches of 32); frozen features, so no augmentation; float32.
q = 0.7 as in the paper (0.5 in the code, which with its mixed precision uses cross-entropy whatever is asked for).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.dataset import Dataset
from labelsieve.features.cached import image_features
from labelsieve.features.probe import split
from labelsieve.features.task import Workplace
from labelsieve.features.zero_shot import (
    softmax,
    temperature_facts,
    temperature_of,
    zero_shot,
)
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.training import losses
from labelsieve.training.loop import Batch, Recipe, fit

COST = "one pass of the image tower (cached); every step runs the text tower over all class names, in each fold"
NEEDS = ("text",)
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "unsupervised": {"labels": "model"},
    "paper": {
        "context_start": "random",
        "optimizer": "sgd",
        "epochs": 50,
        "batch_size": 32,
    },
}


@dataclass(frozen=True)
class Settings:
    """See the module's docstring."""

    labels: Literal["given", "model"] = "given"
    q: float = 0.7
    folds: int = 3
    shots: int = 16  # images of each class that are learned from, with labels=model
    context_length: int = 16  # where the context starts at random
    context_start: Literal["template", "random"] = "template"
    epochs: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(
            self,
            q=1e-3,
            folds=2,
            shots=1,
            context_length=1,
            lr=0,
            epochs=0,
            batch_size=1,
        )


def opening(
    images: Dataset, encoder: DualEncoder, settings: Settings, seed: int
) -> nn.Parameter:
    """The context [1, m, text_width] before training."""
    generator = torch.Generator().manual_seed(seed)
    template = images.template if settings.context_start == "template" else None
    start = DualPrompts.start(
        encoder, template, settings.context_length, 0.0, generator
    )
    return nn.Parameter(start.contexts.detach()[:1].clone())


def learn(
    images: Dataset,
    encoder: DualEncoder,
    labels: np.ndarray,
    rows: np.ndarray,
    settings: Settings,
    run: Workplace,
    name: str,
) -> np.ndarray:
    """Learn a context on `rows` with `labels` [n]; gives the class features [k, d]."""
    features = image_features(images, encoder)
    context = opening(images, encoder, settings, run.seed)
    tokens = encoder.class_tokens(images.names, context.shape[1])
    target = torch.from_numpy(labels).to(encoder.device)

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        text = encoder.prompt_features(context, tokens)[0]
        logits = encoder.logit_scale * loaded.to(encoder.device) @ text.T
        return losses.generalized_cross_entropy(
            logits, target[batch.rows], settings.q
        ).mean()

    fit(
        {"context": context},
        rows,
        lambda some: torch.from_numpy(np.asarray(features[some], dtype=np.float32)),
        loss_of,
        Recipe(
            settings.epochs,
            settings.batch_size,
            settings.lr,
            settings.optimizer,
            settings.momentum,
            settings.weight_decay,
            schedule="smooth",
        ),
        seed=run.seed,
        what="Training a prompt",
        checkpoint=run.checkpoint(name),
    )
    with torch.no_grad():
        return encoder.prompt_features(context, tokens)[0].cpu().numpy()


def few_of_each(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of at most `shots` random images of each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(
        np.concatenate(
            [order[labels[order] == label][:shots] for label in np.unique(labels)]
        )
    )


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Learn contexts and judge each image by one that has not seen its label."""
    features = np.asarray(image_features(images, encoder), dtype=np.float32)
    logits = np.empty((len(images), len(images.classes)), dtype=np.float32)
    if settings.labels == "model":
        answers = zero_shot(images, encoder).cosines.argmax(1)
        rows = few_of_each(answers, settings.shots, run.seed)
        logits[:] = (
            encoder.logit_scale
            * features
            @ learn(images, encoder, answers, rows, settings, run, "robust-prompt").T
        )
    else:
        fold = split(images.labels, settings.folds, run.seed)
        for number in np.unique(fold):
            others, own_part = np.flatnonzero(fold != number), fold == number
            text = learn(
                images,
                encoder,
                images.labels,
                others,
                settings,
                run,
                f"robust-prompt-{number}",
            )
            logits[own_part] = encoder.logit_scale * features[own_part] @ text.T
    probs = softmax(logits)
    given = probs[np.arange(len(images)), images.labels]
    own = logits.argmax(1) != images.labels if settings.flags == "own" else None
    facts = temperature_facts(temperature_of(encoder, None), True)
    return judged(
        images,
        run,
        probs,
        -given,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=given,
        facts=facts,
    )
