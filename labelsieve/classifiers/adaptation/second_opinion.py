"""`labelsieve predict --adapt ... --context RUN`: a second opinion on each picture.

What a classifier says of many views of a picture after a step on them and on examples that a scan
trusts. `in-context` moves features and the weights of the head (see
`labelsieve.features.in_context`), `in-context-tokens` prompt tokens in both towers, which takes
many times as long.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.classifiers.adaptation.on_features import OnFeatures
from labelsieve.classifiers.adaptation.on_tokens import OnTokens
from labelsieve.classifiers.classifier import Classifier
from labelsieve.data.batches import batches
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.features.in_context import Settings
from labelsieve.runs.run import Run
from labelsieve.settings import resolve

ADAPTATIONS: dict[str, type[OnFeatures | OnTokens]] = {
    "in-context": OnFeatures,
    "in-context-tokens": OnTokens,
}


class Adaptation(Protocol):
    """A classifier that takes a step on one picture, answers, and forgets it."""

    def answer(self, views: Tensor, content: str) -> Tensor:
        """Probabilities [k] from views [v, 3, h, w] of a picture, ready for the model.

        Args:
            content: hash of the picture; what is drawn by chance follows from it.
        """


def opinions(
    opened: Classifier,
    images: Dataset,
    adapt: str,
    context: str | Path | Run | None,
    settings: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Class probabilities [n, k] float32 of pictures, each adapted to by itself.

    The cost of a picture is said before more than the first is computed. Labels are not looked at.

    Args:
        adapt: a name of `ADAPTATIONS`.
        context: a finished scan whose trusted pictures are the examples.
        settings: fields of the adaptation's settings.

    Raises:
        OptionError: no context, one of other classes, a classifier of texts or without one linear
            head, or a setting that cannot be.
    """
    kind = ADAPTATIONS[adapt]
    chosen = resolve(kind.settings, settings or {})
    head = _head(opened, adapt)
    if context is None:
        raise OptionError(
            f"--adapt {adapt} needs examples.", "Name a scan with --context."
        )
    run = context if isinstance(context, Run) else Run(context)
    run.require_finished()
    adaptation = kind(opened, head, run, chosen)
    # one by one: each is adapted to alone, whatever stands beside it
    found = np.empty((len(images), len(opened.classes)), dtype=np.float32)
    keys = images.ids.to_pylist()
    start = time.perf_counter()
    for rows in batches(len(images), 1, "Adapting"):
        row = int(rows[0])
        found[row] = _one(opened, adaptation, images.inputs(rows), keys[row], chosen)
        if row == 0:
            _say_cost(time.perf_counter() - start, len(images), chosen.views)
    return found


def _head(opened: Classifier, adapt: str) -> nn.Linear:
    if opened.backbone.inputs.modality != "images":
        raise OptionError(f"--adapt {adapt} looks at views of images; texts have none.")
    if opened.backbone.linear is None:
        raise OptionError(
            f"--adapt {adapt} needs a model whose head is one linear layer.",
            "Leave --adapt out.",
        )
    return opened.backbone.linear


def _say_cost(seconds: float, count: int, views: int) -> None:
    """Of the first picture, which also warms up: an upper bound for the others."""
    progress.note(
        f"At most {seconds:.2g} s a picture ({views} views): "
        f"{count:,} pictures take up to {seconds * count / 60:.1f} minutes."
    )


def _one(
    opened: Classifier,
    adaptation: Adaptation,
    given: Any,
    key: str,
    settings: Settings,
) -> np.ndarray:
    """Probabilities [k] of one picture, as `Dataset.inputs` gives it."""
    inputs = opened.backbone.inputs
    ready = inputs.ready(given, opened.device)
    # of the content alone: neither its place among others nor its name decides anything
    content = key.rpartition("#")[2]
    digest = hashlib.sha256(content.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    others = ready.repeat(settings.views - 1, 1, 1, 1)
    if len(others):
        others = inputs.varied(others, generator, settings.crop, True)
    probs = adaptation.answer(torch.cat([ready, others]), content)
    return np.asarray(probs.cpu().numpy(), dtype=np.float32)
