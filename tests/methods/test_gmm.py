from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from labelsieve.estimation import mixture
from labelsieve.methods import gmm
from labelsieve.methods._tuned_classifier import Classifier


def test_own_rule_is_the_posterior_of_the_smaller_losses(
    plant: Callable[..., Any],
) -> None:
    planted = plant()
    found = planted.detect(gmm, tuning="features", epochs=4, flags="own")
    loss = found.columns["loss"]
    assert np.array_equal(found.flagged, mixture.upper_cluster(-loss) <= 0.5)
    order = np.argsort(loss)
    assert (np.diff(found.p_clean[order]) <= 1e-12).all()


def test_after_the_warm_up_only_clean_labels_are_learned_from(
    plant: Callable[..., Any], monkeypatch: Any
) -> None:
    planted = plant(each=15)
    kept: list[tuple[int, float, float]] = []
    train = Classifier.train

    def watched(
        self: Any,
        name: str,
        keep: Any,
        memory: Any = None,
        after_epoch: Any = None,
    ) -> None:
        def noted(batch: Any, losses: torch.Tensor) -> torch.Tensor:
            chosen, wrong = (
                keep(batch, losses),
                torch.from_numpy(planted.wrong[batch.rows]),
            )
            kept.append(
                (
                    batch.epoch,
                    float(chosen[wrong].float().mean()),
                    float(chosen[~wrong].float().mean()),
                )
            )
            return chosen

        train(self, name, noted, memory, after_epoch)

    monkeypatch.setattr(Classifier, "train", watched)
    planted.detect(gmm, tuning="features", epochs=4, warmup_epochs=2, batch_size=60)
    assert [(w, r) for epoch, w, r in kept if epoch < 2] == [(1.0, 1.0)] * 2
    later = [(w, r) for epoch, w, r in kept if epoch >= 2]
    assert len(later) == 2 and all(w < 0.3 and r > 0.7 for w, r in later)
