"""The state of a training on disk: kept while it runs, put back when it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from labelsieve.errors import RunError

SECONDS_BETWEEN_CHECKPOINTS = 20.0


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and what it belongs to: another fingerprint is another training."""

    path: Path
    fingerprint: str


class _State:
    """Parameters, optimiser and memory of one training, to disk and back."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        memory: MutableMapping[str, Tensor],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._parameters, self._optimizer, self._memory, self._checkpoint = (
            parameters,
            optimizer,
            memory,
            checkpoint,
        )
        self._next, self._cost = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS, 0.0

    def keep(self, done: int, now: bool) -> None:
        """Save when it is time: every twenty seconds (less often when saving is slow) and after each epoch."""
        if self._checkpoint is None or (not now and time.monotonic() < self._next):
            return
        start = time.monotonic()
        tensors = {f"parameter/{n}": p.detach() for n, p in self._parameters.items()}
        tensors |= {f"memory/{n}": t for n, t in self._memory.items()}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{key}/{name}"] = value
        note = {
            "labelsieve": json.dumps(
                {"fingerprint": self._checkpoint.fingerprint, "done": done}
            )
        }
        self._checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._checkpoint.path.with_name(
            f".{self._checkpoint.path.name}.partial"
        )
        save_file(
            {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()},
            scratch,
            note,
        )
        scratch.replace(self._checkpoint.path)
        self._cost = time.monotonic() - start
        self._next = time.monotonic() + max(
            SECONDS_BETWEEN_CHECKPOINTS, 20 * self._cost
        )

    def restore(self) -> int:
        """Steps done by an earlier run of the same training; 0 when there was none."""
        if self._checkpoint is None or not self._checkpoint.path.exists():
            return 0
        try:
            with safe_open(self._checkpoint.path, framework="pt") as file:
                note = json.loads((file.metadata() or {}).get("labelsieve", "{}"))
                if note.get("fingerprint") != self._checkpoint.fingerprint:
                    return 0
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, ValueError) as error:
            raise RunError(
                f"Checkpoint '{self._checkpoint.path}' is damaged: {error}.",
                "Delete it; the training starts again.",
            ) from error
        self._put_back(tensors)
        return int(note["done"])

    @torch.no_grad()
    def _put_back(self, tensors: dict[str, Tensor]) -> None:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "parameter":
                self._parameters[name].copy_(value)
            elif kind == "memory":
                self._memory[name].copy_(
                    value
                ) if name in self._memory else self._memory.__setitem__(name, value)
            else:
                field, _, name = name.partition("/")
                parameter = self._parameters[name]
                home = value if field == "step" else value.to(parameter.device)
                self._optimizer.state[parameter][field] = home
