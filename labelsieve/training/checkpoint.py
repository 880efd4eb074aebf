"""The state of a training on disk: kept while it runs, put back when it goes on.

What is read back is what was written, or nothing: a checkpoint carries a digest of all it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.errors import RunError
from labelsieve.files import remove, replacing

# What is lost at most when a training is killed.
SECONDS_BETWEEN_CHECKPOINTS = 20.0
# A training is this much longer than its checkpoints take: they cost at most five per cent.
COSTS_BETWEEN_CHECKPOINTS = 20
NOTE = "labelsieve"  # key of our JSON among the metadata of the file
# How the library, which is in Rust, ends the words of the system: "File too large (os error 27)".
SYSTEM = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and what it belongs to.

    Attributes:
        path: a safetensors file.
        fingerprint: of everything that decides the result; another one is another training.
    """

    path: Path
    fingerprint: str


@dataclass(frozen=True)
class _Kept:
    """What a checkpoint holds."""

    fingerprint: str
    done: int  # steps
    tensors: dict[str, Tensor]


class TrainingState:
    """Parameters, optimiser and memory of one training, to disk and back."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        memory: MutableMapping[str, Tensor],
        checkpoint: Checkpoint | None,
    ) -> None:
        self._parameters = parameters
        self._optimizer = optimizer
        self._memory = memory
        self._checkpoint = checkpoint
        # not at once: a short training is done again sooner than it is saved
        self._due = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    def keep(self, done: int, *, now: bool) -> None:
        """Save when it is time: every twenty seconds, less often when saving is slow.

        Args:
            done: steps, to go on from.
            now: save whatever the time, as after an epoch.
        """
        if self._checkpoint is None or (not now and time.monotonic() < self._due):
            return
        start = time.monotonic()
        _write(self._checkpoint, self._tensors(), done)
        cost = time.monotonic() - start
        pause = max(SECONDS_BETWEEN_CHECKPOINTS, COSTS_BETWEEN_CHECKPOINTS * cost)
        self._due = time.monotonic() + pause

    def restore(self) -> int:
        """Put back what an earlier run of the same training has kept.

        A damaged checkpoint is not used, with one line of notice: steps that are done again end
        in the same numbers.

        Returns:
            Steps done; 0 where nothing was kept.
        """
        if self._checkpoint is None or not self._checkpoint.path.exists():
            return 0
        kept = _read(self._checkpoint.path)
        if kept is None:
            name = self._checkpoint.path.name
            progress.note(f"Checkpoint '{name}' is damaged; the training starts again.")
            return 0
        if kept.fingerprint != self._checkpoint.fingerprint or not self._fits(
            kept.tensors
        ):
            return 0
        self._put_back(kept.tensors)
        return kept.done

    def _tensors(self) -> dict[str, Tensor]:
        """All tensors by kind and name: "parameter/...", "memory/...", "optimizer/FIELD/..."."""
        tensors = {f"memory/{name}": t for name, t in self._memory.items()}
        for name, parameter in self._parameters.items():
            tensors[f"parameter/{name}"] = parameter
            for field, value in self._optimizer.state.get(parameter, {}).items():
                # some optimisers keep plain numbers, too, which are settings
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{field}/{name}"] = value
        return tensors

    def _fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether names and shapes are those of this training, not of another version's."""
        expected = {
            f"parameter/{name}": p.shape for name, p in self._parameters.items()
        }
        own = {name: tensors[name].shape for name in tensors if name in expected}
        if own != expected:
            return False
        # what appears in the memory while a training runs is not there yet
        for name, tensor in self._memory.items():
            kept = tensors.get(f"memory/{name}")
            if kept is None or kept.shape != tensor.shape:
                return False
        return True

    @torch.no_grad()
    def _put_back(self, tensors: Mapping[str, Tensor]) -> None:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "parameter":
                # in place: the model holds these very parameters
                self._parameters[name].copy_(value)
            elif kind == "optimizer":
                self._put_back_optimizer(name, value)
            elif name in self._memory:
                # in place: the method holds on to these tensors
                self._memory[name].copy_(value)
            else:
                self._memory[name] = value

    def _put_back_optimizer(self, key: str, value: Tensor) -> None:
        field, _, name = key.partition("/")
        parameter = self._parameters[name]
        # torch keeps the number of steps on the CPU, whatever the device
        where = value.device if field == "step" else parameter.device
        self._optimizer.state[parameter][field] = value.to(where)


def _write(checkpoint: Checkpoint, tensors: dict[str, Tensor], done: int) -> None:
    note = {"fingerprint": checkpoint.fingerprint, "done": done}
    write_tensors(checkpoint.path, tensors, note)


def _read(path: Path) -> _Kept | None:
    """What `_write` wrote; None where the file holds anything else."""
    sealed = read_tensors(path)
    if sealed is None:
        return None
    tensors, note = sealed
    try:
        return _Kept(note["fingerprint"], note["done"], tensors)
    except KeyError:  # sealed tensors of another kind
        return None


@contextlib.contextmanager
def writing_tensors(path: Path) -> Iterator[None]:
    """A disk without room is told as the system tells it, whichever library writes tensors.

    Args:
        path: file or folder that is written.

    Raises:
        OSError: with the path, also in place of a SafetensorError that the system caused.
    """
    try:
        yield
    except OSError as error:
        # a write does not know the name of its file
        error.filename = str(path) if error.filename is None else error.filename
        raise
    except SafetensorError as error:
        told = SYSTEM.search(str(error))
        # a fault of the tensors themselves is a fault of this package
        if told is None:
            raise
        number = int(told[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, notes: dict[str, str] | None = None
) -> None:
    """Write tensors that share no memory, with notes in the head of the file.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    with writing_tensors(path):
        save_file(dict(tensors), path, notes)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]
) -> None:
    """Write tensors with a digest of all of them, so that a reader sees the old or the new file.

    For every file of tensors that a training reads back itself.

    Args:
        note: JSON-able facts about them; the digest covers these, too.
    """
    # clones: the file format refuses tensors that share memory, as tied weights do
    whole = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in tensors.items()
    }
    sealed = {**note, "sha256": _digest(note, whole)}
    with replacing(path) as scratch:
        save_tensors(whole, scratch, {NOTE: json.dumps(sealed)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors, on the CPU, and note that `write_tensors` wrote; None where they are not these."""
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads(file.metadata()[NOTE])
            tensors = {}
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensors[name] = file.get_tensor(name)
        digest = note.pop("sha256")
        if digest != _digest(note, tensors):
            return None
        return tensors, note
    # which error it is depends on the damaged byte: no metadata, no JSON, no such dtype ...
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RuntimeError):
        return None


def _digest(note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a note and of names, types, shapes and numbers of tensors."""
    digest = hashlib.sha256(json.dumps(note, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        kind = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(kind).encode())
        # the bytes as they are: numpy has no bfloat16
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def drop_damaged(best: Path, state: Path) -> None:
    """Start a training again whose chosen weights are damaged: now, not at the end."""
    if best.exists() and read_tensors(best) is None:
        progress.note(f"'{best.name}' is damaged; the training starts again.")
        # epochs that are not trained again would not choose again
        remove(state)
        remove(best)


def read_chosen(path: Path, epoch: int) -> dict[str, Tensor]:
    """The weights after an epoch, and no others."""
    sealed = read_tensors(path)
    if sealed is None or sealed[1] != {"epoch": epoch}:
        raise RunError(
            f"'{path}' is missing or damaged.",
            f"Delete the folder '{path.parent}' and run the command again.",
        )
    return sealed[0]
