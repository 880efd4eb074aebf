"""Fine-tuning on what was selected, against a recording of the authors' own code.

The recordings lie beside the repository (`../shared/parity`) or in LABELSIEVE_PARITY_DIR (see
test_reference_parity.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelsieve.classifiers import backbone
from labelsieve.classifiers.backbones.towers import TowerClassifier
from labelsieve.classifiers.recipe import Settings
from labelsieve.training import losses
from labelsieve.training.loop import Problem, fit

CLOSE = 1e-4  # relative, float32


def test_logits_and_losses_of_every_step(
    recording: dict[str, np.ndarray], distance: Any, parity_folder: Path
) -> None:
    """Through the student that `train` builds, the parameters it chooses, and the optimiser of
    its settings."""
    classes = [str(name) for name in recording["class_names"]]
    student = backbone.build(
        str(parity_folder / "clip"), classes, seed=0, device=torch.device("cpu")
    )
    assert isinstance(student.model, TowerClassifier)
    with torch.no_grad():
        student.model.classifier.weight.copy_(
            torch.tensor(recording["phase2_head_weight"])
        )
        student.model.classifier.bias.copy_(torch.tensor(recording["phase2_head_bias"]))
    settings = Settings(
        epochs=1,
        batch_size=1,
        lr=float(recording["phase2_lr"]),
        momentum=float(recording["momentum"]),
        weight_decay=float(recording["weight_decay"]),
        schedule="constant",
    )
    images, labels = (
        torch.tensor(recording["images"]),
        torch.tensor(recording["labels"]),
    )
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def loss_of(batch: Any, loaded: Any) -> torch.Tensor:
        chosen = torch.tensor(recording["selected"][batch.step]).bool()
        chosen = chosen if chosen.any() else torch.ones_like(chosen)
        logits = backbone.logits_of(student.model, images[batch.step])
        each = losses.cross_entropy(logits, labels[batch.step])
        seen.append((logits.detach(), losses.selected_mean(each, chosen)))
        return seen[-1][1]

    frozen = {n: p.detach().clone() for n, p in student.model.named_parameters()}
    parameters = backbone.trainable(student, settings.tune)
    fit(
        Problem(parameters, np.arange(len(images)), lambda rows: rows, loss_of),
        settings.recipe(),
        seed=0,
    )
    assert len(seen) == len(recording["phase2_loss"])
    for number, (logits, loss) in enumerate(seen):
        assert distance(logits, recording["phase2_logits"][number]) < CLOSE, number
        assert distance(loss, recording["phase2_loss"][number]) < CLOSE, number
    for name, parameter in student.model.named_parameters():
        assert torch.equal(parameter, frozen[name]) is (name not in parameters), name
    assert any("encoder.layers" in name for name in parameters) and len(
        parameters
    ) < len(frozen)
