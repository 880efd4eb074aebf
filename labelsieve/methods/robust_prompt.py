"""Robust prompt: a context learned with a loss that withstands wrong labels, out of fold.

After Wu, Tian, Yu, Wang, Morgado, Hu, Yang, "Why Is Prompt Tuning for Vision-Language Models Robust
to Noisy Labels?", ICCV 2023 (arXiv 2307.11978); authors' code CEWu/PTNL, commit fa965a0. There it
is a classifier: one context shared by all classes is learned before fixed class names with frozen
towers, generalised cross-entropy (1 - p_y^q) / q, no selection, no relabelling; p = softmax(cosines
· the model's own logit scale). Using it as a detector is derived, not the paper's: score
p(given label) from a context that was learned on the other folds. Own rule: another class is
likelier.

Preset `unsupervised` is the paper's robust UPL: the model's own zero-shot answers are the labels,
of which a random few per class (not the surest) are learned from, so the given labels are not used
at all. This draw is written anew: the released code does not have it.

Differences: the context starts at the words of the template and Adam's steps do not depend on the
logit scale (as in `deft`; preset `paper`: 16 random vectors, SGD 0.002, 50 epochs, batches of 32);
frozen features, so no augmentation; float32. q = 0.7 as in the paper (0.5 in the code, which with
its mixed precision uses cross-entropy whatever its option says).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.estimation.calibration import of_given
from labelsieve.features.probe import split
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax, temperature_facts, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.models.prompts import DualPrompts
from labelsieve.settings import AtLeast
from labelsieve.training import losses
from labelsieve.training.loop import Batch, Problem, Recipe, fit

COST = (
    "one pass of the image tower (cached); every step runs the text tower over all class names, "
    "in each fold"
)
NEEDS = ("text",)
JUDGES = ("single",)
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
class Settings(Frozen):
    """See the module's docstring."""

    labels: Literal["given", "model"] = "given"
    q: Annotated[float, AtLeast(1e-3)] = 0.7
    folds: Annotated[int, AtLeast(2)] = 3
    # images of each class that are learned from, with labels=model
    shots: Annotated[int, AtLeast(1)] = 16
    # where the context starts at random
    context_length: Annotated[int, AtLeast(1)] = 16
    context_start: Literal["template", "random"] = "template"
    epochs: Annotated[int, AtLeast(0)] = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, AtLeast(0)] = 2e-3
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    batch_size: Annotated[int, AtLeast(1)] = 256

    def recipe(self) -> Recipe:
        """How the context is optimised."""
        return Recipe(
            self.epochs,
            self.batch_size,
            self.lr,
            self.optimizer,
            self.momentum,
            self.weight_decay,
            schedule="smooth",
        )


def opening(task: Task, settings: Settings) -> nn.Parameter:
    """The context [1, m, text_width] before training."""
    generator = torch.Generator().manual_seed(task.seed)
    template = task.data.template if settings.context_start == "template" else None
    start = DualPrompts.start(
        task.encoder, template, settings.context_length, 0.0, generator
    )
    # of the positive and the negative context only the first is learned here
    return nn.Parameter(start.contexts.detach()[:1].clone())


def learn(
    task: Task, labels: np.ndarray, rows: np.ndarray, settings: Settings, name: str
) -> np.ndarray:
    """Learn a context on `rows` with `labels` [n]; gives the class features [k, d] float32.

    Args:
        name: of the checkpoint.
    """
    encoder = task.encoder
    features = task.image_features()
    # every fold starts at the same context
    context = opening(task, settings)
    tokens = encoder.class_tokens(task.data.names, context.shape[1])
    target = torch.from_numpy(labels).to(encoder.device)

    def load(some: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(features[some], dtype=np.float32))

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        text = encoder.prompt_features(context, tokens)[0]
        logits = encoder.logit_scale * loaded.to(encoder.device) @ text.T
        given = target[batch.rows]
        return losses.generalized_cross_entropy(logits, given, settings.q).mean()

    fit(
        Problem({"context": context}, rows, load, loss_of, what="Training a prompt"),
        settings.recipe(),
        seed=task.seed,
        checkpoint=task.checkpoint(name),
    )
    with torch.no_grad():
        return encoder.prompt_features(context, tokens)[0].cpu().numpy()


def few_of_each(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Rows of at most `shots` random images of each class."""
    # in random order, so that the first of each class are a random few
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == label][:shots] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def detect(task: Task, settings: Settings) -> Evidence:
    """Learn contexts and judge each image by one that has not seen its label."""
    task = seen(task, settings)
    labels = task.data.labels
    logits = _logits(task, settings)
    probs = softmax(logits)
    given = of_given(probs, labels)
    ranking = Ranking(
        suspicion=-given,
        # of the logits: in float32 two probabilities may both be 1
        own=logits.argmax(1) != labels,
        facts=temperature_facts(temperature_of(task.encoder, None), own=True),
    )
    return from_ranking(task, ranking, settings)


def _logits(task: Task, settings: Settings) -> np.ndarray:
    """[n, k] float32, none of which knows the given label of its image."""
    scale = task.encoder.logit_scale
    features = np.asarray(task.image_features(), dtype=np.float32)
    if settings.labels == "model":
        return scale * features @ _of_answers(task, settings).T
    labels = task.data.labels
    # as in cross-validation: each image is judged by a context of the other folds
    logits = np.empty((len(labels), len(task.data.classes)), dtype=np.float32)
    fold = split(labels, settings.folds, task.seed)
    for number in np.unique(fold):
        others = np.flatnonzero(fold != number)
        text = learn(task, labels, others, settings, f"robust-prompt-{number}")
        own = fold == number
        logits[own] = scale * features[own] @ text.T
    return logits


def _of_answers(task: Task, settings: Settings) -> np.ndarray:
    """Class features [k, d] of a context that was learned on the model's own answers."""
    answers = task.zero_shot().cosines.argmax(1)
    # random ones, not the surest: those teach the model only what it knows (the paper's UPL)
    rows = few_of_each(answers, settings.shots, task.seed)
    return learn(task, answers, rows, settings, "robust-prompt")
