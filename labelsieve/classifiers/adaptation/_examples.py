"""Trusted pictures of a scan, of which examples are drawn for a picture that is asked about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from labelsieve.classifiers.backbone import given_to, logits_of
from labelsieve.classifiers.classifier import Classifier, too_much
from labelsieve.classifiers.trainers._data import read, spec_for
from labelsieve.errors import OptionError
from labelsieve.features.in_context import draw
from labelsieve.runs.reasons import Trusted
from labelsieve.runs.run import Run

POOL = 50  # trusted pictures of a class that examples are drawn from
LESS = "Try --set views=16, --precision bfloat16, or --device cpu."


class Examples:
    """Trusted pictures of a scan by class.

    Attributes:
        ids: [m] of all that may be drawn.
        rows: number of a class -> rows of `ids` of its pictures, the surest first.

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
        self.ids: list[str] = []
        self.rows: dict[int, np.ndarray] = {}
        self._opened = opened
        if shots:
            self._find(run)

    def _find(self, run: Run) -> None:
        judged = run.judged["sample_id"]
        # all judged pictures may be trusted, as they can be read
        trusted = Trusted(run, np.zeros(len(judged), dtype=np.int64))
        for name, rows in trusted.items():
            # the surest first
            chosen = judged.take(pa.array(rows[:POOL])).to_pylist()
            first = len(self.ids)
            self.ids += chosen
            number = self._opened.classes.index(name)
            self.rows[number] = np.arange(first, len(self.ids))
        # the run's pictures, prepared as this classifier wants them
        self._images = read(run, spec_for(run, None), self._opened.preprocess)
        self._wanted = pc.index_in(pa.array(self.ids), self._images.ids).to_numpy()

    def drawn(self, content: str, rivals: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `ids` and classes of examples for a picture of some content, [e] int64 each."""
        # a picture that is asked about is no example of its own label
        pool = {}
        for number in rivals:
            rows = self.rows.get(number, np.empty(0, dtype=np.int64))
            own = [self.ids[row].rpartition("#")[2] == content for row in rows]
            pool[number] = rows[~np.array(own, dtype=bool)]
        return draw(content, rivals, pool, self.shots)

    def ready(self, rows: np.ndarray) -> Tensor:
        """Pictures [e, 3, h, w] of rows of `ids`, as the model wants them."""
        given = self._images.inputs(self._wanted[rows])
        ready: Tensor = self._opened.backbone.inputs.ready(given, self._opened.device)
        return ready


@torch.no_grad()
def features(opened: Classifier, head: nn.Linear, ready: Tensor) -> Tensor:
    """What the head is given [b, d] of pictures that are ready for the model."""
    opened.backbone.model.eval()
    lower = opened.dtype != torch.float32
    cast = torch.autocast(opened.device.type, opened.dtype, enabled=lower)
    with too_much(LESS), given_to(head) as seen, cast:
        logits_of(opened.backbone.model, ready)
    return torch.cat(seen).float().flatten(1)


def weights(head: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight [k, d] and bias [k] of a head, float32: its arithmetic is repeated, moved a little."""
    weight, bias = head.weight.detach().float(), head.bias
    flat = torch.zeros_like(weight[:, 0]) if bias is None else bias.detach().float()
    return weight, flat
