"""`labelsieve predict --adapt in-context --context RUN`: a second opinion on each picture.

What a classifier says of many views of a picture after a step on them and on examples that a scan
trusts, see `labelsieve.features.in_context`. Here features are what the classifier's head is given.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.classifiers.backbone import given_to, logits_of
from labelsieve.classifiers.classifier import BATCH, Classifier, too_much
from labelsieve.classifiers.trainers._data import read, spec_for
from labelsieve.data.batches import batches
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.features.in_context import Head, Settings, adapt, draw, likeliest
from labelsieve.runs.reasons import Trusted
from labelsieve.runs.run import Run
from labelsieve.settings import resolve

ADAPTATIONS = ("in-context",)
POOL = 50  # trusted pictures of a class that examples are drawn from
LESS = "Try --set views=16, --precision bfloat16, or --device cpu."


def opinions(
    opened: Classifier,
    images: Dataset,
    context: str | Path | Run | None,
    settings: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Class probabilities [n, k] float32 of pictures, each adapted to by itself.

    The cost of a picture is said before more than the first is computed. Labels are not looked at.

    Args:
        context: a finished scan whose trusted pictures are the examples.
        settings: fields of `labelsieve.features.in_context.Settings`.

    Raises:
        OptionError: no context, one of other classes, a classifier of texts or without one linear
            head, or a setting that cannot be.
    """
    chosen = resolve(Settings, settings or {})
    head = _head(opened)
    if context is None:
        raise OptionError(
            "--adapt in-context needs examples.", "Name a scan with --context."
        )
    run = context if isinstance(context, Run) else Run(context)
    run.require_finished()
    pool = _Examples(opened, run, chosen.shots)
    # one by one: each is adapted to alone, whatever stands beside it
    found = np.empty((len(images), len(opened.classes)), dtype=np.float32)
    keys = images.ids.to_pylist()
    start = time.perf_counter()
    for rows in batches(len(images), 1, "Adapting"):
        row = int(rows[0])
        found[row] = _one(opened, head, images.inputs(rows), keys[row], pool, chosen)
        if row == 0:
            _say_cost(time.perf_counter() - start, len(images), chosen.views)
    return found


def _head(opened: Classifier) -> nn.Linear:
    if opened.backbone.inputs.modality != "images":
        raise OptionError(
            "--adapt in-context looks at views of images; texts have none."
        )
    if opened.backbone.linear is None:
        raise OptionError(
            "--adapt in-context needs a model whose head is one linear layer.",
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
    head: nn.Linear,
    given: Any,
    key: str,
    pool: _Examples,
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
    views = _features(opened, head, torch.cat([ready, others]))[None]
    weight, bias = head.weight.detach().float(), head.bias
    # the head's arithmetic is repeated here, as its weights are moved
    flat = torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().float()
    answers = views[:, 0] @ weight.T + flat
    rivals = likeliest(answers, settings.rivals)[0].tolist()
    examples, labels = pool.of(content, rivals)
    probs = adapt(views, examples, labels, Head(weight, flat), settings)
    return np.asarray(probs[0].cpu().numpy(), dtype=np.float32)


@torch.no_grad()
def _features(opened: Classifier, head: nn.Linear, ready: Tensor) -> Tensor:
    """What the head is given [b, d] of pictures that are ready for the model."""
    opened.backbone.model.eval()
    lower = opened.dtype != torch.float32
    cast = torch.autocast(opened.device.type, opened.dtype, enabled=lower)
    with too_much(LESS), given_to(head) as seen, cast:
        logits_of(opened.backbone.model, ready)
    return torch.cat(seen).float().flatten(1)


class _Examples:
    """Trusted pictures of a scan as the classifier sees them, by class.

    Args:
        shots: of each class; the pool is read only where there are any.
    """

    def __init__(self, opened: Classifier, run: Run, shots: int) -> None:
        strange = set(run.classes) - set(opened.classes)
        if strange:
            raise OptionError(
                f"'{run.folder}' has classes that the model does not know: "
                f"'{sorted(strange)[0]}'.",
                "Name the scan that the model was trained on, with --context.",
            )
        self.shots = shots
        self.features = torch.empty(0)
        self.ids: list[str] = []
        self.rows: dict[int, np.ndarray] = {}
        if shots:
            self._read(opened, run)

    def _read(self, opened: Classifier, run: Run) -> None:
        judged = run.judged["sample_id"]
        # all judged pictures may be trusted, as they can be read
        trusted = Trusted(run, np.zeros(len(judged), dtype=np.int64))
        for name, rows in trusted.items():
            # the surest first
            chosen = judged.take(pa.array(rows[:POOL])).to_pylist()
            first = len(self.ids)
            self.ids += chosen
            number = opened.classes.index(name)
            self.rows[number] = np.arange(first, len(self.ids))
        # the run's pictures, prepared as this classifier wants them
        images = read(run, spec_for(run, None), opened.preprocess)
        wanted = pc.index_in(pa.array(self.ids, pa.string()), images.ids).to_numpy()
        head, inputs = _head(opened), opened.backbone.inputs
        parts = []
        for part in batches(wanted, BATCH, "Reading examples"):
            ready = inputs.ready(images.inputs(part), opened.device)
            parts.append(_features(opened, head, ready))
        self.features = torch.cat(parts)

    def of(self, content: str, rivals: list[int]) -> tuple[Tensor, Tensor]:
        """Examples [1, e, d] and their classes [1, e] for a picture of some content."""
        # a picture that is asked about is no example of its own label
        pool = {}
        for number in rivals:
            rows = self.rows.get(number, np.empty(0, dtype=np.int64))
            own = [self.ids[row].rpartition("#")[2] == content for row in rows]
            pool[number] = rows[~np.array(own, dtype=bool)]
        rows, classes = draw(content, rivals, pool, self.shots)
        where = torch.from_numpy(rows)
        if not len(rows):
            width = self.features.shape[-1]
            return torch.empty(1, 0, width), torch.empty(1, 0, dtype=torch.int64)
        features = self.features[where.to(self.features.device)]
        return features[None], torch.from_numpy(classes)[None].to(features.device)
