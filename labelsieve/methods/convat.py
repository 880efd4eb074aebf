"""ConVAT: labels that a classifier whose answers hold around each context will not learn.

Lee, Kim, Seo, "Context-based Virtual Adversarial Training for Text Classification with Noisy
Labels", LREC 2022; no code was published, and the formulas are in
`labelsieve.training.context_vat`. A head of two layers learns the given labels from frozen features
(of texts or of pictures) with cross-entropy and λ KL(p || p(h + r)): where a small neighbourhood of
h must get one answer, a single wrong label cannot bend it, so its loss stays high. ConVAT is a way
to train and flags nothing itself; ours: a label is as suspect as its loss after the last epoch.
Own rule: the answer is another class.

Differences from the paper: frozen features in the place of a fine-tuned encoder, and a relative
length of r. `train --regulariser context-vat` does the same while the encoder is tuned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, AtLeast
from labelsieve.training import context_vat, losses
from labelsieve.training.context_vat import Push
from labelsieve.training.loop import Batch, Problem, Recipe, fit

COST = "one pass of the image tower (cached), one training of a small head"
NEEDS = ()
JUDGES = ("single",)
# without: cross-entropy alone, to see what the regulariser does
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "without": {"weight": 0.0}}
SHORTEST = 1e-12  # rows of zeros have no length


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    # NoisyAG-News, rows 0 to 2,999: AUROC .837 after 20 epochs, .847 after 40; without: .791
    epochs: Annotated[int, AtLeast(1)] = 40
    lr: Annotated[float, AtLeast(0)] = 1e-3
    batch_size: Annotated[int, AtLeast(1)] = 64
    width: Annotated[int, AtLeast(1)] = 256  # of the hidden layer
    weight: Annotated[float, AtLeast(0)] = 1.0  # λ
    # length of r relative to the features: with a tenth nothing happens
    size: Annotated[float, AtLeast(0)] = 1.0
    probe: Annotated[float, Above(0)] = 0.1
    steps: Annotated[int, AtLeast(1)] = 1

    def recipe(self) -> Recipe:
        """How the head is optimised."""
        return Recipe(
            self.epochs, self.batch_size, self.lr, "adamw", schedule="constant"
        )

    def push(self) -> Push:
        """How contexts are moved."""
        return Push(self.size, self.probe, self.steps)


class Head:
    """Two layers: [b, d] -> [b, k].

    Args:
        inputs: [n, d] float32.
        seed: of the first weights.
    """

    def __init__(self, inputs: np.ndarray, classes: int, width: int, seed: int) -> None:
        self.inputs = torch.from_numpy(inputs)
        chance = torch.Generator().manual_seed(seed)
        sizes = (inputs.shape[1], width, classes)
        self.parameters: dict[str, nn.Parameter] = {}
        for number in (0, 1):
            shape = (sizes[number + 1], sizes[number])
            # as wide as torch's own linear layers draw them
            drawn = 2 * torch.rand(shape, generator=chance) - 1
            self.parameters[f"weight{number}"] = nn.Parameter(drawn * shape[1] ** -0.5)
            self.parameters[f"bias{number}"] = nn.Parameter(torch.zeros(shape[0]))

    def __call__(self, x: Tensor) -> Tensor:
        p = self.parameters
        hidden = torch.relu(x @ p["weight0"].T + p["bias0"])
        return hidden @ p["weight1"].T + p["bias1"]


def detect(task: Task, settings: Settings) -> Evidence:
    """Train a head and rank labels by their losses."""
    task = seen(task, settings)
    x = np.array(task.image_features(), dtype=np.float32)
    # features have length one; of a task's own they may not
    x /= np.linalg.norm(x, axis=1, keepdims=True).clip(SHORTEST)
    head = Head(x, len(task.data.classes), settings.width, task.seed)
    train(head, task, settings)
    with torch.no_grad():
        logits = head(head.inputs)
        given = torch.from_numpy(task.data.labels)
        loss = losses.cross_entropy(logits, given).double().numpy()
    answer = logits.argmax(1).numpy()
    ranking = Ranking(
        suspicion=loss,
        own=answer != task.data.labels,
        columns={"loss": loss},
    )
    return from_ranking(task, ranking, settings)


def train(head: Head, task: Task, settings: Settings) -> None:
    """Train a head in place."""
    given = torch.from_numpy(task.data.labels)

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        each = losses.cross_entropy(head(loaded), given[batch.rows])
        # two more passes that preset `without` is spared
        if not settings.weight:
            return each.mean()
        moved = context_vat.loss(head, loaded, settings.push(), batch.generator)
        return (each + settings.weight * moved).mean()

    fit(
        Problem(
            head.parameters,
            np.arange(len(given)),
            lambda rows: head.inputs[rows],
            loss_of,
            what="Training a head",
        ),
        settings.recipe(),
        seed=task.seed,
        checkpoint=task.checkpoint("convat"),
    )
