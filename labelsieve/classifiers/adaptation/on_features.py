"""A step on what a classifier's head is given, and on its weights: no tower is trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.classifiers.adaptation._examples import Examples, features, weights
from labelsieve.classifiers.classifier import BATCH, Classifier
from labelsieve.data.batches import batches
from labelsieve.features.in_context import Head, Settings, adapt, likeliest
from labelsieve.runs.run import Run


class OnFeatures:
    """See `labelsieve.features.in_context`. Features of all examples are computed once.

    Args:
        head: the last layer of the classifier.
        run: a scan whose trusted pictures are the examples.
    """

    settings = Settings

    def __init__(
        self, opened: Classifier, head: nn.Linear, run: Run, settings: Settings
    ) -> None:
        self._opened, self._layer, self._settings = opened, head, settings
        self._head = Head(*weights(head))
        self.examples = Examples(opened, run, settings.shots)
        parts = [torch.empty(0, head.in_features, device=opened.device)]
        for part in batches(len(self.examples.ids), BATCH, "Reading examples"):
            parts.append(features(opened, head, self.examples.ready(part)))
        self._features = torch.cat(parts)

    def answer(self, views: Tensor, content: str) -> Tensor:
        """Probabilities [k] from views [v, 3, h, w] of a picture, ready for the model."""
        seen = features(self._opened, self._layer, views)[None]
        answers = seen[:, 0] @ self._head.weight.T + self._head.bias
        rivals = likeliest(answers, self._settings.rivals)[0].tolist()
        examples, labels = self.of(content, rivals)
        return adapt(seen, examples, labels, self._head, self._settings)[0]

    def of(self, content: str, rivals: list[int]) -> tuple[Tensor, Tensor]:
        """Examples [1, e, d] and their classes [1, e] for a picture of some content."""
        rows, classes = self.examples.drawn(content, rivals)
        device = self._features.device
        known = self._features[torch.from_numpy(rows).to(device)]
        return known[None], torch.from_numpy(np.asarray(classes))[None].to(device)
