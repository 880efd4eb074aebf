"""The training loop: the schedule, the optimiser, the order of rows, and what a step is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.training import ROWS, Regression, same
from torch import nn

from labelsieve.errors import LabelsieveError
from labelsieve.training.loop import (
    Batch,
    Problem,
    Recipe,
    epoch_order,
    fit,
    make_optimizer,
    step_generator,
)


class TestSchedule:
    @pytest.mark.parametrize("epoch", range(5))
    @pytest.mark.parametrize("step", [0, 3, 9])
    def test_formulas(self, epoch: int, step: int) -> None:
        def rate(schedule: Any) -> float:
            return Recipe(5, 8, 0.2, schedule=schedule).lr_at(epoch, step, 10)

        assert rate("constant") == 0.2
        assert rate("cosine") == pytest.approx(
            0.1 * (1 + math.cos(math.pi * epoch / 5))
        )
        assert rate("smooth") == pytest.approx(
            0.1 * (1 + math.cos(math.pi * (10 * epoch + step) / 50))
        )

    def test_cosine_over_epochs_is_that_of_torch(self) -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.03)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        for epoch in range(10):
            assert Recipe(10, 8, 0.03).lr_at(epoch, 4, 7) == pytest.approx(
                optimizer.param_groups[0]["lr"]
            )
            optimizer.step()
            schedule.step()

    @pytest.mark.parametrize("schedule", ["cosine", "smooth", "constant"])
    def test_every_step_is_taken_at_its_rate(self, schedule: Any) -> None:
        """With a loss of slope one and no momentum, a step is as long as its learning rate."""
        parameters = {
            "a": nn.Parameter(torch.zeros(1)),
            "b": nn.Parameter(torch.zeros(1)),
        }
        recipe, positions = (
            Recipe(3, 8, 0.2, momentum=0.0, schedule=schedule),
            [(0.0, 0.0)],
        )

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            positions.append(
                (float(parameters["a"].detach()), float(parameters["b"].detach()))
            )
            return (parameters["a"] + parameters["b"]).sum()

        fit(
            Problem(
                parameters, np.arange(20), lambda rows: rows, loss, rates={"b": 0.05}
            ),
            recipe,
            seed=0,
        )
        positions.append(
            (float(parameters["a"].detach()), float(parameters["b"].detach()))
        )
        lengths = np.diff(np.array(positions[1:]), axis=0)
        wanted = [
            recipe.lr_at(epoch, step, 3) for epoch in range(3) for step in range(3)
        ]
        assert lengths[:, 0] == pytest.approx([-w for w in wanted], abs=1e-6)
        assert lengths[:, 1] == pytest.approx([-w / 4 for w in wanted], abs=1e-6)


class TestOptimizer:
    def test_sgd(self) -> None:
        parameters = {
            "a": nn.Parameter(torch.ones(2)),
            "b": nn.Parameter(torch.ones(3)),
        }
        optimizer = make_optimizer(
            Recipe(1, 1, 0.1, momentum=0.8, weight_decay=0.01), parameters, {"b": 0.5}
        )
        assert isinstance(optimizer, torch.optim.SGD)
        rates = {
            id(p): (g["lr"], g["momentum"], g["weight_decay"])
            for g in optimizer.param_groups
            for p in g["params"]
        }
        assert rates == {
            id(parameters["a"]): (0.1, 0.8, 0.01),
            id(parameters["b"]): (0.5, 0.8, 0.01),
        }

    def test_adamw(self) -> None:
        optimizer = make_optimizer(
            Recipe(1, 1, 0.1, optimizer="adamw", weight_decay=0.3),
            {"a": nn.Parameter(torch.ones(2))},
        )
        assert isinstance(optimizer, torch.optim.AdamW)
        assert (
            optimizer.param_groups[0]["weight_decay"] == 0.3
            and optimizer.param_groups[0]["lr"] == 0.1
        )

    def test_all_parameters_with_rates_of_their_own(self) -> None:
        parameters = {"a": nn.Parameter(torch.ones(2))}
        assert (
            len(make_optimizer(Recipe(1, 1, 0.1), parameters, {"a": 0.5}).param_groups)
            == 1
        )


class TestOrder:
    def test_every_row_once_an_epoch_in_an_order_of_its_own(self) -> None:
        task = Regression()
        task.run(Recipe(3, 8, 0.01))
        epochs = [
            np.concatenate([b.rows for b in task.batches if b.epoch == e])
            for e in range(3)
        ]
        assert all(sorted(rows) == list(range(ROWS)) for rows in epochs)
        assert not np.array_equal(epochs[0], epochs[1])
        assert [len(b.rows) for b in task.batches if b.epoch == 0] == [8, 8, 6]
        assert [(b.epoch, b.step) for b in task.batches] == [
            (e, s) for e in range(3) for s in range(3)
        ]
        assert all(
            np.array_equal(rows, epoch_order(ROWS, 11, e))
            for e, rows in enumerate(epochs)
        )

    def test_randomness_of_steps(self) -> None:
        draws = {
            (s, e, b): float(torch.rand(1, generator=step_generator(s, e, b)))
            for s in range(3)
            for e in range(3)
            for b in range(3)
        }
        assert len(set(draws.values())) == 27
        assert draws[1, 2, 0] == float(torch.rand(1, generator=step_generator(1, 2, 0)))

    def test_the_seed_decides_and_nothing_global(self) -> None:
        recipe = Recipe(2, 8, 0.05)
        torch.manual_seed(0)
        first = Regression().run(recipe)
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 (that it changes nothing is the point)
        state = torch.random.get_rng_state()
        assert same(first, Regression().run(recipe))
        assert torch.equal(state, torch.random.get_rng_state())
        assert not same(first, Regression().run(recipe, seed=12))

    def test_only_the_rows_given(self) -> None:
        task, rows = Regression(), np.array([2, 3, 5, 7, 11, 13])
        fit(
            Problem(task.parameters, rows, task.load, task.loss),
            Recipe(2, 4, 0.1),
            seed=0,
        )
        assert sorted(np.concatenate([b.rows for b in task.batches])) == sorted(
            [*rows, *rows]
        )


class TestStep:
    def test_is_torch_s_own(self, distance: Any) -> None:
        """The whole training against a loop written out with torch's SGD and clipping."""
        recipe = Recipe(2, 8, 0.05, momentum=0.9, weight_decay=0.01, clip=0.5)
        result = Regression().run(recipe)
        task = Regression()
        optimizer = torch.optim.SGD(
            task.parameters.values(), lr=0.05, momentum=0.9, weight_decay=0.01
        )
        for epoch in range(2):
            order = epoch_order(ROWS, 11, epoch)
            for step in range(3):
                rows = order[8 * step : 8 * step + 8]
                optimizer.param_groups[0]["lr"] = recipe.lr_at(epoch, step, 3)
                optimizer.zero_grad()
                task.loss(
                    Batch(rows, epoch, step, step_generator(11, epoch, step)),
                    task.load(rows),
                ).backward()
                norm = math.sqrt(
                    sum(float(p.grad.square().sum()) for p in task.parameters.values())
                )  # type: ignore[union-attr]
                assert norm > 0.5, "nothing is clipped"
                for p in task.parameters.values():
                    p.grad *= 0.5 / norm  # type: ignore[operator]
                optimizer.step()
        for name, parameter in task.parameters.items():
            assert distance(result[name], parameter) < 1e-5

    @pytest.mark.parametrize("parts", [2, 3, 50])
    def test_accumulated_parts_are_the_whole_batch(
        self, distance: Any, parts: int
    ) -> None:
        """Also where parts and last batches are of unequal size."""
        tasks = [Regression(), Regression()]
        ends = [
            task.run(
                Recipe(3, 8, 0.05, weight_decay=0.01, accumulate=accumulate),
                loss=lambda batch, loaded, task=task: task.loss(
                    batch, loaded, dropped=-1.0
                ),
            )
            for task, accumulate in zip(tasks, (1, parts), strict=True)
        ]
        assert len(tasks[1].batches) > len(tasks[0].batches)
        for name in ends[0]:
            assert distance(ends[1][name], ends[0][name]) < 1e-5

    def test_a_loss_without_gradient_makes_no_step(self) -> None:
        """Neither momentum nor weight decay move anything then."""
        task = Regression()
        before: list[dict[str, torch.Tensor]] = []

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            before.append({n: p.detach().clone() for n, p in task.parameters.items()})
            return task.loss(batch, loaded) if batch.epoch == 0 else torch.tensor(0.0)

        end = task.run(
            Recipe(2, 8, 0.05, weight_decay=0.1, schedule="constant"), loss=loss
        )
        assert not torch.equal(before[0]["weight"], before[3]["weight"])
        assert all(torch.equal(end[name], before[3][name]) for name in task.parameters)

    def test_after_epoch_can_end_the_training(self) -> None:
        task, told = Regression(), []
        task.run(
            Recipe(5, 8, 0.05), after_epoch=lambda done: told.append(done) or done == 2
        )
        assert told == [1, 2] and task.batches[-1].epoch == 1

    def test_too_little_memory_says_what_helps(self) -> None:
        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        with pytest.raises(LabelsieveError, match="accumulate=4") as caught:
            Regression().run(Recipe(1, 8, 0.1), loss=loss)
        assert "CUDA out of memory." in str(caught.value)

    def test_too_little_memory_of_the_machine_says_so_too(self) -> None:
        """What torch's own allocator of the CPU raises; other errors come through as they are."""

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            return torch.empty(2**55)

        with pytest.raises(
            LabelsieveError,
            match=r"too small: [^.]*memory[^.]*\. Try --set accumulate=4",
        ) as caught:
            Regression().run(Recipe(1, 8, 0.1), loss=loss)
        assert "\n" not in str(caught.value) and "enforce" not in str(caught.value)

        def wrong(batch: Batch, loaded: Any) -> torch.Tensor:
            return torch.ones(2) @ torch.ones(3)

        with pytest.raises(RuntimeError, match="size"):
            Regression().run(Recipe(1, 8, 0.1), loss=wrong)

    def test_errors_of_loading_come_through(self) -> None:
        task = Regression()

        def load(rows: np.ndarray) -> Any:
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            fit(
                Problem(task.parameters, np.arange(ROWS), load, task.loss),
                Recipe(1, 8, 0.1),
                seed=0,
            )
