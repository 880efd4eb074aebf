"""The one training loop: batches from the seed, steps, schedule, progress, checkpoints, resume.

Nothing random is carried from step to step: the order of an epoch comes from (seed, epoch),
everything within a step from a generator seeded by (seed, epoch, step). So a training that was
killed continues to the very same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.errors import LabelsieveError
from labelsieve.settings import Above, AtLeast, Bounded, Share
from labelsieve.training import distributed
from labelsieve.training.checkpoint import Checkpoint, TrainingState

LESS_MEMORY = (
    "Try --set accumulate=4 (same result), a smaller --set batch_size, "
    "--precision bfloat16, or --device cpu."
)
# What torch says on CUDA, on the CPU, and on Windows.
MEMORY_WORDS = ("out of memory", "allocate memory", "not enough memory")


@dataclass(frozen=True)
class Recipe(Bounded):
    """How parameters are optimised.

    The learning rate follows a cosine from `lr` to 0, changed once per epoch ("cosine") or with
    every step ("smooth"). Over the first `ramp` of all steps it rises evenly, too: Adam's first
    steps are as large as its rate, whatever the gradients.

    Raises:
        OptionError: a number outside its bounds.
    """

    epochs: Annotated[int, AtLeast(0)]
    batch_size: Annotated[int, AtLeast(1)]
    lr: Annotated[float, AtLeast(0)]
    optimizer: Literal["sgd", "adamw"] = "sgd"
    # of SGD; AdamW keeps torch's own
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 0.0
    schedule: Literal["cosine", "smooth", "constant"] = "cosine"
    # parts a batch is computed in, to save memory
    accumulate: Annotated[int, AtLeast(1)] = 1
    clip: Annotated[float | None, Above(0)] = None  # largest norm of the gradient
    ramp: Annotated[float, Share()] = 0.0

    def lr_at(self, epoch: int, step: int, steps: int) -> float:
        """Learning rate of one step of an epoch that has `steps`."""
        return self.lr * self.share_at(epoch, step, steps)

    def share_at(self, epoch: int, step: int, steps: int) -> float:
        """What the schedule leaves of a learning rate, from 1 down to 0."""
        first = self.ramp * self.epochs * steps
        # the first step is one already, else nothing would move
        risen = min(1.0, (epoch * steps + step + 1) / max(first, 1.0))
        # the cosine is at its start for ever where the rate is constant
        done = {
            "cosine": epoch / self.epochs,
            "smooth": (epoch + step / steps) / self.epochs,
            "constant": 0.0,
        }[self.schedule]
        return risen * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Batch:
    """What one step works on: row numbers [b], and randomness of its own."""

    rows: np.ndarray
    epoch: int
    step: int
    generator: torch.Generator


@dataclass(frozen=True)
class Problem:
    """What is optimised, and on what.

    Attributes:
        parameters: name -> parameter; names are stable, they are in the checkpoint.
        rows: [n] row numbers to train on.
        load: rows [b] -> what `loss_of` needs of them; called ahead, in another thread.
        loss_of: mean loss of a batch, with gradient. A loss without gradient (nothing was
            selected) makes no step.
        memory: tensors kept from step to step; saved and restored with the parameters.
        rates: learning rates of single parameters, by name; the others have the recipe's.
        after_epoch: called with the number of epochs done; True ends the training.
        what: title of the progress bar.
        unit: what it counts.
    """

    parameters: Mapping[str, nn.Parameter]
    rows: np.ndarray
    load: Callable[[np.ndarray], Any]
    loss_of: Callable[[Batch, Any], Tensor]
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    after_epoch: Callable[[int], bool] | None = None
    what: str = "Training"
    unit: str = "images"


def step_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """Randomness of one step, the same whenever it is computed."""
    sequence = np.random.SeedSequence([seed, epoch, step])
    # torch takes seeds of 63 bits
    return torch.Generator().manual_seed(
        int(sequence.generate_state(1, np.uint64)[0] >> 1)
    )


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order [count] of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def fit(
    problem: Problem, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
) -> None:
    """Optimise the parameters of `problem` in place.

    Args:
        seed: of the order of rows and of what is random within steps.
        checkpoint: where to go on from, and to; None keeps nothing.

    Raises:
        LabelsieveError: the device's memory is too small; says what helps.
    """
    try:
        _fit(problem, recipe, seed, checkpoint)
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        what = f"The memory of the device is too small: {reason_of(error)}."
        raise LabelsieveError(what, LESS_MEMORY) from error


def _fit(
    problem: Problem, recipe: Recipe, seed: int, checkpoint: Checkpoint | None
) -> None:
    # the state is put back into these very objects
    optimizer = make_optimizer(recipe, problem.parameters, problem.rates)
    state = TrainingState(problem.parameters, optimizer, problem.memory, checkpoint)
    count = len(problem.rows)
    steps = math.ceil(count / recipe.batch_size)
    done = state.restore()
    total = recipe.epochs * count
    shown = min(
        done * recipe.batch_size, total
    )  # the last batch of an epoch is smaller
    with progress.bar(problem.what, total, shown, problem.unit) as bar:
        for batch, loaded in _batches(problem, recipe, seed, done):
            share = recipe.share_at(batch.epoch, batch.step, steps)
            # not torch's schedulers: their state would have to be kept, too
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * share
            loss = _step(problem, batch, loaded, optimizer, recipe)
            words = f"epoch {batch.epoch + 1}/{recipe.epochs} loss {loss:.3f}"
            bar.advance(len(batch.rows), words)
            done += 1
            last = batch.step == steps - 1
            ended = last and _ends_training(problem, batch.epoch + 1)
            # a training that ended early is done with all its steps
            state.keep(recipe.epochs * steps if ended else done, now=last)
            if ended:
                return


def _ends_training(problem: Problem, epochs_done: int) -> bool:
    return problem.after_epoch is not None and problem.after_epoch(epochs_done)


def is_memory_error(error: BaseException | None) -> bool:
    """Whether memory ran out.

    torch has a type of its own for that only on CUDA; elsewhere it is in the words.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(w in text for w in MEMORY_WORDS)


def reason_of(error: BaseException) -> str:
    """The first sentence of what torch says of memory."""
    text = str(error)
    # on the CPU a line of torch's source code comes first
    of_allocator = text.partition("DefaultCPUAllocator: ")[2]
    return of_allocator.partition(".")[0] or text.partition(".")[0]


def make_optimizer(
    recipe: Recipe,
    parameters: Mapping[str, nn.Parameter],
    rates: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimiser of a recipe over all parameters, in the order given.

    Args:
        rates: learning rates of single parameters, by name.
    """
    own = rates or {}
    shared = [p for name, p in parameters.items() if name not in own]
    # "highest" is what the schedule takes a share of
    groups = [{"params": shared, "lr": recipe.lr, "highest": recipe.lr}]
    for name, rate in own.items():
        groups.append({"params": [parameters[name]], "lr": rate, "highest": rate})
    groups = [group for group in groups if group["params"]]
    decay = recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=decay)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=decay
    )


def _batches(
    problem: Problem, recipe: Recipe, seed: int, done: int
) -> Iterator[tuple[Batch, Any]]:
    """All steps that are left, each with its data, loaded while the step before is computed."""
    # one thread: it reads while the device computes; more would fill the memory
    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for batch in _plan(problem.rows, recipe, seed, done):
            task = (batch, pool.submit(problem.load, batch.rows))
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = task
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def _plan(rows: np.ndarray, recipe: Recipe, seed: int, done: int) -> Iterator[Batch]:
    """All steps but the first `done`."""
    size = recipe.batch_size
    steps = math.ceil(len(rows) / size)
    for number in range(done, recipe.epochs * steps):
        epoch, step = divmod(number, steps)
        # also in the middle of an epoch, where an interrupted training goes on
        if step == 0 or number == done:
            order = rows[epoch_order(len(rows), seed, epoch)]
        chosen = order[step * size : (step + 1) * size]
        yield Batch(chosen, epoch, step, step_generator(seed, epoch, step))


def _step(
    problem: Problem,
    batch: Batch,
    loaded: Any,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
) -> float:
    """One step of the optimiser; gives the mean loss."""
    count = len(batch.rows)
    total = 0.0
    # None, not zeros: a parameter without gradient makes no step, nor decays
    optimizer.zero_grad(set_to_none=True)
    for part in np.array_split(np.arange(count), min(recipe.accumulate, count)):
        share = len(part) / count
        if len(part) == count:
            loss = problem.loss_of(batch, loaded)
        else:
            # parts draw from one generator, one after the other
            piece = Batch(batch.rows[part], batch.epoch, batch.step, batch.generator)
            loss = problem.loss_of(piece, _take(loaded, part))
        if loss.requires_grad:
            # gradients of parts add up to that of the whole mean
            (loss * share).backward()
        total += float(loss.detach()) * share
    learned = [p for group in optimizer.param_groups for p in group["params"]]
    # where several processes train, before the norm is taken: it is that of the whole batch
    distributed.average_gradients(learned)
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(learned, recipe.clip)
    optimizer.step()
    return total


def _take(loaded: Any, part: np.ndarray) -> Any:
    """Rows `part` of what was loaded: of one tensor, array or list, or of each of several."""
    if isinstance(loaded, tuple):
        return tuple(x[part] for x in loaded)
    if isinstance(loaded, list):  # texts
        return [loaded[row] for row in part]
    return loaded[part]
