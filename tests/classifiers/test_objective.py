"""What is minimised: every loss gets its own settings, and ELR its memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelsieve.classifiers.objective import LOSSES, Memory
from labelsieve.classifiers.recipe import Settings
from labelsieve.training import losses

LOGITS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 1, 0])
ROWS = np.array([7, 1, 3, 0, 4])
OWN = Settings(sce_alpha=0.5, sce_beta=2.0, gce_q=0.4, elr_momentum=0.6, elr_strength=4)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ce", losses.cross_entropy(LOGITS, LABELS)),
        ("sce", losses.symmetric_cross_entropy(LOGITS, LABELS, 0.5, 2.0)),
        ("gce", losses.generalized_cross_entropy(LOGITS, LABELS, 0.4)),
        ("mae", losses.mean_absolute_error(LOGITS, LABELS)),
    ],
)
def test_settings_reach_the_formula(name: str, wanted: torch.Tensor) -> None:
    assert torch.equal(LOSSES[name](OWN, {})(LOGITS, LABELS, ROWS), wanted)


def test_early_learning_remembers_each_image() -> None:
    memory: Memory = {"elr": torch.zeros(8, 3)}
    loss = LOSSES["elr"](OWN, memory)
    targets = torch.zeros(5, 3)
    for _ in range(2):
        targets = losses.early_targets(targets, LOGITS, 0.6)
        each = loss(LOGITS, LABELS, ROWS)
        assert torch.equal(each, losses.early_learning(LOGITS, LABELS, targets, 4.0))
        assert torch.equal(memory["elr"][ROWS], targets)
    others = [row for row in range(8) if row not in ROWS]
    assert not memory["elr"][others].any()
