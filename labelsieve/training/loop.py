"""The one training loop: batches drawn from the seed, steps, schedule, progress, checkpoints, resume.

Nothing random is carried from step to step: the order of an epoch comes from (seed, epoch), everything within a step
from a generator seeded by (seed, epoch, step). So a run that was killed continues to the very same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.training.checkpoint import Checkpoint, _State


@dataclass(frozen=True)
class Recipe:
    """How parameters are optimised.

    The learning rate follows a cosine from `lr` to 0, changed once per epoch ("cosine") or with every step ("smooth").

    Raises:
        OptionError: a number that cannot be.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["cosine", "smooth", "constant"] = "cosine"
    accumulate: int = 1  # parts a batch is computed in, to save memory
    clip: float | None = None  # largest norm of the gradient

    def __post_init__(self) -> None:
        least = {
            "epochs": 0,
            "batch_size": 1,
            "accumulate": 1,
            "lr": 0,
            "momentum": 0,
            "weight_decay": 0,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise OptionError(
                    f"Setting {name} cannot be {getattr(self, name)}.",
                    f"It is at least {bound}.",
                )

    def lr_at(self, epoch: int, step: int, steps: int) -> float:
        """Learning rate of one step of an epoch that has `steps`."""
        return self.lr * self.share_at(epoch, step, steps)

    def share_at(self, epoch: int, step: int, steps: int) -> float:
        """What the schedule leaves of a learning rate, from 1 down to 0."""
        done = {
            "cosine": epoch / self.epochs,
            "smooth": (epoch + step / steps) / self.epochs,
            "constant": 0.0,
        }[self.schedule]
        return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Batch:
    """What one step works on: row numbers [b], and randomness of its own."""

    rows: np.ndarray
    epoch: int
    step: int
    generator: torch.Generator


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Randomness of one step, the same whenever it is computed."""
    return torch.Generator().manual_seed(
        int(
            np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0]
            >> 1
        )
    )


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order [count] of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def fit(
    parameters: Mapping[str, nn.Parameter],
    rows: np.ndarray,
    load: Callable[[np.ndarray], Any],
    loss_of: Callable[[Batch, Any], Tensor],
    recipe: Recipe,
    *,
    seed: int,
    what: str = "Training",
    memory: MutableMapping[str, Tensor] | None = None,
    checkpoint: Checkpoint | None = None,
    rates: Mapping[str, float] | None = None,
    after_epoch: Callable[[int], bool] | None = None,
) -> None:
    """Optimise `parameters` in place.

    Args:
        parameters: name -> parameter; names are stable, they are in the checkpoint.
        rows: [n] row numbers to train on.
        load: rows [b] -> what `loss_of` needs of them; called ahead, in another thread.
        loss_of: mean loss of a batch, with gradient. A loss without gradient (nothing was selected) makes no step.
        memory: tensors the method keeps from step to step; saved and restored with the parameters.
        checkpoint: where to go on from, and to; None keeps nothing.
        rates: learning rates of single parameters, by name; the others have the recipe's.
        after_epoch: called with the number of epochs done; True ends the training.

    Raises:
        LabelsieveError: the device's memory is too small; says what helps.
        RunError: the checkpoint is damaged.
    """
    memory = {} if memory is None else memory
    optimizer = make_optimizer(recipe, parameters, rates or {})
    steps = math.ceil(len(rows) / recipe.batch_size)
    state = _State(parameters, optimizer, memory, checkpoint)
    done = state.restore()
    try:
        with progress.bar(
            what,
            recipe.epochs * len(rows),
            min(done * recipe.batch_size, recipe.epochs * len(rows)),
        ) as shown:
            for batch, loaded in _batches(rows, load, recipe, seed, steps, done):
                for group in optimizer.param_groups:
                    group["lr"] = group["highest"] * recipe.share_at(
                        batch.epoch, batch.step, steps
                    )
                loss = _step(batch, loaded, loss_of, optimizer, recipe)
                shown.advance(
                    len(batch.rows),
                    f"epoch {batch.epoch + 1}/{recipe.epochs} loss {loss:.3f}",
                )
                done += 1
                ended = (
                    batch.step == steps - 1
                    and after_epoch is not None
                    and after_epoch(batch.epoch + 1)
                )
                state.keep(
                    done if not ended else recipe.epochs * steps,
                    now=batch.step == steps - 1,
                )
                if ended:
                    return
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        raise LabelsieveError(
            f"The memory of the device is too small: {reason_of(error)}.",
            "Try --set accumulate=4 (same result), a smaller --set batch_size, --precision bfloat16, or --device cpu.",
        ) from error


def is_memory_error(error: BaseException | None) -> bool:
    """Whether memory ran out; torch has a type of its own for that only on CUDA, elsewhere it is in the words."""
    words = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(w in str(error) for w in words)
    )


def reason_of(error: BaseException) -> str:
    """The first sentence of what torch says of memory."""
    return (
        str(error).partition("DefaultCPUAllocator: ")[2].partition(".")[0]
        or str(error).partition(".")[0]
    )


def make_optimizer(
    recipe: Recipe,
    parameters: Mapping[str, nn.Parameter],
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser of a recipe over all parameters, in the order given; `rates` are learning rates by name."""
    own = rates or {}
    groups = [
        {
            "params": [p for n, p in parameters.items() if n not in own],
            "lr": recipe.lr,
            "highest": recipe.lr,
        }
    ]
    groups += [
        {"params": [parameters[n]], "lr": r, "highest": r} for n, r in own.items()
    ]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )


def _batches(
    rows: np.ndarray,
    load: Callable[[np.ndarray], Any],
    recipe: Recipe,
    seed: int,
    steps: int,
    done: int,
) -> Iterator[tuple[Batch, Any]]:
    """All steps that are left, each with its data, which is loaded while the step before is computed."""

    def plan() -> Iterator[Batch]:
        for epoch in range(done // steps, recipe.epochs):
            order = rows[epoch_order(len(rows), seed, epoch)]
            for step in range(done % steps if epoch == done // steps else 0, steps):
                chosen = order[
                    step * recipe.batch_size : (step + 1) * recipe.batch_size
                ]
                yield Batch(chosen, epoch, step, step_generator(seed, epoch, step))

    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for batch in plan():
            task = (batch, pool.submit(load, batch.rows))
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = task
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def _step(
    batch: Batch,
    loaded: Any,
    loss_of: Callable[[Batch, Any], Tensor],
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
) -> float:
    total = 0.0
    optimizer.zero_grad(set_to_none=True)
    for part in np.array_split(
        np.arange(len(batch.rows)), min(recipe.accumulate, len(batch.rows))
    ):
        share = len(part) / len(batch.rows)
        whole = len(part) == len(batch.rows)
        piece = (
            batch
            if whole
            else Batch(batch.rows[part], batch.epoch, batch.step, batch.generator)
        )
        loss = loss_of(piece, loaded if whole else _take(loaded, part))
        if loss.requires_grad:
            (loss * share).backward()
        total += float(loss.detach()) * share
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(
            [p for g in optimizer.param_groups for p in g["params"]], recipe.clip
        )
    optimizer.step()
    return total


def _take(loaded: Any, part: np.ndarray) -> Any:
    return tuple(x[part] for x in loaded) if isinstance(loaded, tuple) else loaded[part]
