"""TaI-Adapter: a head that learned from sentences alone judges sets of labels.

After Zhu et al., "Text as Image: Learning Transferable Adapter for Multi-Label Classification",
arXiv 2312.04160, with what its relatives publish as code: TaI-DPT (Guo et al., CVPR 2023, commit
1333ecaa of guozix/TaI-DPT) and CoMC (Liu et al., ICML 2024, commit a2d40b8a of yic20/CoMC). Only
the abstract was readable, so this is made after it and reproduces no figure of it.

Sentences that name 1 to 5 classes stand for pictures; an adapter on the text features learns

    a(t) = t (1 - α) + α W2 relu(W1 t),   s_k = 4 cos(a(t), t_k)

with the ranking loss over pairs of a class that is named and one that is not (TaI-DPT, margin 1),
Gaussian noise on t in training (CoMC). It never sees a picture or a given label. Applied to a
picture, s becomes log-odds of the classes that compete within a view, and the largest over
the whole picture and its regions is the score (the local branch of TaI-DPT; the maximum of CoMC).

Differences, all of our choice: sentences come from templates, or from `captions`; no language model
is asked. Noise has the norm `noise` whatever the width (CoMC: 3.2 at its width). Classes compete in
each view, as in CDUL (Abdelfattah et al., ICCV 2023). What is learned starts as zero-shot: W2 = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.cache import cache_folder, cached_array, key_of
from labelsieve.estimation.calibration import logit
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import Evidence, _captions
from labelsieve.methods._evidence import Rules
from labelsieve.methods._sets import (
    ClassScores,
    from_channel,
    from_scores,
    largest_over_views,
)
from labelsieve.settings import AtLeast, AtMost, Share
from labelsieve.training.losses import set_ranking

COST = "one pass of the image tower for each view (5 by default, cached), thousands of short texts"
NEEDS = ("text",)
JUDGES = ("set",)
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "whole": {"regions": 1},
    # without training: the class names alone, in the same views
    "zero-shot": {"epochs": 0},
}
SCALE = 4.0  # of cosines in the loss: fixed in TaI-DPT
# Least probability of a class in a view: below, scores would only tell digits of float32.
LEAST = 1e-7
HIDDEN = 4  # the adapter is so many times narrower than the features, as CLIP-Adapter's


@dataclass(frozen=True)
class Settings(Rules):
    """See the module's docstring.

    regions: of a grid of so many rows and columns, and of all coarser ones; 1 looks at the whole.
    captions: a file of sentences, one a line, in the place of those from templates.
    """

    regions: Annotated[int, AtLeast(1), AtMost(4)] = 2
    texts: Annotated[int, AtLeast(1)] = 3_000  # more change nothing any more
    classes_per_text: Annotated[int, AtLeast(1)] = 5
    captions: str | None = None
    epochs: Annotated[int, AtLeast(0)] = 20
    batch_size: Annotated[int, AtLeast(1)] = 512
    lr: Annotated[float, AtLeast(0)] = 1e-3
    noise: Annotated[float, AtLeast(0)] = 1.0
    mix: Annotated[float, Share()] = 0.2  # α


class Head(nn.Module):
    """The adapter, scored against the classes' names.

    Args:
        names: [k, d] text features of the classes, of length one.
        mix: α.
        generator: of the first weights.
    """

    def __init__(self, names: Tensor, mix: float, generator: torch.Generator) -> None:
        super().__init__()
        width = names.shape[1]
        inner = max(1, width // HIDDEN)
        # He et al., ICCV 2015: activations keep their size through a relu
        first = torch.randn(inner, width, generator=generator) * (2 / width) ** 0.5
        self.first = nn.Parameter(first)
        # nothing is added in the beginning, so that it begins as zero-shot
        self.second = nn.Parameter(torch.zeros(width, inner))
        # no parameter: it stays what the text tower said
        self.names = names
        self.mix = mix

    def forward(self, features: Tensor) -> Tensor:
        """[n, d] of texts or of pictures -> cosines [n, k] with the classes."""
        learned = torch.relu(features @ self.first.T) @ self.second.T
        adapted = (1 - self.mix) * features + self.mix * learned
        cosines: Tensor = F.normalize(adapted, dim=-1) @ self.names.T
        return cosines


def perturbed(features: Tensor, norm: float, generator: torch.Generator) -> Tensor:
    """Features [b, d] with Gaussian noise of about this length (CoMC), not scaled back."""
    if not norm:
        return features
    noise = torch.randn(features.shape, generator=generator)
    return features + noise * norm / features.shape[1] ** 0.5


def train(
    features: np.ndarray,
    present: np.ndarray,
    names: np.ndarray,
    settings: Settings,
    seed: int,
) -> Head:
    """A head that learned from texts.

    Args:
        features: [m, d] of texts, of length one. present: [m, k] bool, what each names.
        names: [k, d] of the class names, of length one.
    """
    generator = torch.Generator().manual_seed(seed)
    head = Head(torch.from_numpy(np.array(names)), settings.mix, generator)
    texts, named = torch.from_numpy(np.array(features)), torch.from_numpy(present)
    optimiser = torch.optim.Adam(head.parameters(), settings.lr)
    # rounded up: the last batch is smaller
    batches = -(-len(texts) // settings.batch_size)
    steps = max(1, settings.epochs * batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(settings.epochs):
        order = torch.randperm(len(texts), generator=generator)
        for rows in order.split(settings.batch_size):
            inputs = perturbed(texts[rows], settings.noise, generator)
            loss = set_ranking(SCALE * head(inputs), named[rows]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


def scorer(head: Head, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    """Features [n, d] -> [n, k] log-odds of each class among the others in a view."""

    @torch.no_grad()
    def score(features: np.ndarray) -> np.ndarray:
        cosines = head(torch.from_numpy(features)).numpy()
        # the model's own temperature
        return logit(softmax(cosines * scale), LEAST)

    return score


def _corpus(task: Task, settings: Settings) -> tuple[np.ndarray, np.ndarray, str]:
    """Text features [m, d], what they name [m, k], and where they come from."""
    # as they are written into prompts, which the user may have chosen
    names = task.data.names
    if settings.captions is not None:
        texts, present = _captions.read(Path(settings.captions), names)
        source = f"{len(texts)} captions of {settings.captions}"
    else:
        texts, present = _captions.generate(
            names, settings.texts, settings.classes_per_text, task.seed
        )
        source = f"{len(texts)} sentences from templates"
    path = (
        cache_folder()
        / "features"
        / f"text-{key_of(tuple(texts), task.features.weights)}.npy"
    )
    features = cached_array(
        path, lambda: task.encoder.text_features(texts).cpu().numpy()
    )
    return features, present, source


def detect(task: Task, settings: Settings) -> Evidence:
    """Learn from sentences, look at every view of every picture, judge class by class."""
    features, present, source = _corpus(task, settings)
    head = train(features, present, task.class_features(), settings, task.seed)
    score = scorer(head, task.encoder.logit_scale)
    values = largest_over_views(task, settings.regions, score)
    facts = {"texts": source, "temperature": 1 / task.encoder.logit_scale}
    learned = {"first": head.first, "second": head.second}
    scores = ClassScores(values, facts=facts, learned=learned)
    return from_scores(task, scores, settings)


def judge(task: Task, settings: Settings, learned: dict[str, Tensor]) -> Evidence:
    """Sets of other pictures, with the head and the channel of a scan."""
    # its first weights are replaced
    generator = torch.Generator().manual_seed(0)
    names = torch.from_numpy(np.array(task.class_features()))
    head = Head(names, settings.mix, generator)
    head.load_state_dict({name: learned[name] for name in ("first", "second")})
    score = scorer(head.eval(), task.encoder.logit_scale)
    values = largest_over_views(task, settings.regions, score)
    return from_channel(task, values, learned, settings)
