"""The training loop: the schedule, what a step is, and that a killed training ends like one that was not."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from labelsieve.errors import LabelsieveError, RunError
from labelsieve.training import checkpoint as checkpoints
from labelsieve.training.checkpoint import Checkpoint
from labelsieve.training.loop import (
    Batch,
    Recipe,
    epoch_order,
    fit,
    make_optimizer,
    step_generator,
)

ROWS, WIDTH = 22, 5


class Killed(BaseException):
    """As when the process is stopped in the middle of a step."""


class Regression:
    """A small training with everything a method uses: two parameters, randomness in the step, memory per row."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x, self.y = (
            torch.randn(ROWS, WIDTH, generator=generator),
            torch.randn(ROWS, generator=generator),
        )
        self.parameters = {
            "weight": nn.Parameter(torch.randn(WIDTH, generator=generator)),
            "bias": nn.Parameter(torch.zeros(1)),
        }
        self.memory = {
            "last": torch.zeros(ROWS),
            "seen": torch.zeros(ROWS, dtype=torch.int64),
        }
        self.batches: list[Batch] = []

    def load(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[rows], self.y[rows]

    def loss(self, batch: Batch, loaded: Any, dropped: float = 0.3) -> torch.Tensor:
        self.batches.append(batch)
        x, y = loaded
        x = x * (torch.rand(x.shape, generator=batch.generator) > dropped)
        error = (x @ self.parameters["weight"] + self.parameters["bias"] - y) ** 2
        self.memory["last"][batch.rows], self.memory["seen"][batch.rows] = (
            error.detach(),
            batch.epoch + 1,
        )
        return error.mean()

    def run(
        self, recipe: Recipe, loss: Any = None, **options: Any
    ) -> dict[str, torch.Tensor]:
        options = {"seed": 11, "memory": self.memory, **options}
        fit(
            self.parameters,
            np.arange(ROWS),
            self.load,
            loss or self.loss,
            recipe,
            **options,
        )
        return {
            **{n: p.detach().clone() for n, p in self.parameters.items()},
            **self.memory,
        }


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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
        """With a loss of slope one and no momentum, a step's length is its learning rate; `rates` scale along."""
        parameters = {
            "a": nn.Parameter(torch.zeros(1)),
            "b": nn.Parameter(torch.zeros(1)),
        }
        recipe, places = (
            Recipe(3, 8, 0.2, momentum=0.0, schedule=schedule),
            [(0.0, 0.0)],
        )

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            places.append(
                (float(parameters["a"].detach()), float(parameters["b"].detach()))
            )
            return (parameters["a"] + parameters["b"]).sum()

        fit(
            parameters,
            np.arange(20),
            lambda rows: rows,
            loss,
            recipe,
            seed=0,
            rates={"b": 0.05},
        )
        places.append(
            (float(parameters["a"].detach()), float(parameters["b"].detach()))
        )
        lengths = np.diff(np.array(places[1:]), axis=0)
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
        fit(task.parameters, rows, task.load, task.loss, Recipe(2, 4, 0.1), seed=0)
        assert sorted(np.concatenate([b.rows for b in task.batches])) == sorted(
            [*rows, *rows]
        )


class TestStep:
    def test_is_torch_s_own(self, distance: Any) -> None:
        """The whole training against a loop written out with torch's SGD and clipping."""
        recipe = Recipe(2, 8, 0.05, momentum=0.9, weight_decay=0.01, clip=0.5)
        found = Regression().run(recipe)
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
            assert distance(found[name], parameter) < 1e-5

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
                task.parameters,
                np.arange(ROWS),
                load,
                task.loss,
                Recipe(1, 8, 0.1),
                seed=0,
            )


RECIPES = [
    pytest.param(Recipe(3, 8, 0.05, weight_decay=0.01), id="sgd"),
    pytest.param(
        Recipe(
            3, 8, 0.05, optimizer="adamw", schedule="smooth", accumulate=2, clip=1.0
        ),
        id="adamw",
    ),
]


class TestResume:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("moment", [1, 3, 4, 8])
    def test_killed_and_continued_is_uninterrupted(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        recipe: Recipe,
        moment: int,
    ) -> None:
        """Bit by bit, wherever it is killed: between epochs, within one, and twice."""
        monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        monkeypatch.setattr(
            checkpoints, "time", SimpleNamespace(monotonic=lambda: 0.0)
        )  # so that every step is kept
        rates = {"bias": 0.02}
        whole = Regression().run(recipe, rates=rates)
        checkpoint = Checkpoint(tmp_path / "deep" / "state.safetensors", "ours")
        steps = 0
        for kill in (moment, 1, None):
            task = Regression()

            def loss(
                batch: Batch,
                loaded: Any,
                task: Regression = task,
                kill: int | None = kill,
            ) -> torch.Tensor:
                if (
                    kill is not None
                    and len(
                        {(b.epoch, b.step) for b in task.batches}
                        | {(batch.epoch, batch.step)}
                    )
                    > kill
                ):
                    raise Killed
                return task.loss(batch, loaded)

            try:
                found = task.run(recipe, loss=loss, rates=rates, checkpoint=checkpoint)
            except Killed:
                assert kill is not None
            steps += len({(b.epoch, b.step) for b in task.batches})
        assert same(found, whole)
        assert steps == 9, "steps were done twice"

    def test_within_an_epoch_only_what_was_kept_is_kept(self, tmp_path: Path) -> None:
        """Without a checkpoint since, the steps of the epoch are done again, to the same end."""
        recipe, checkpoint = (
            Recipe(3, 8, 0.05),
            Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        whole, task = Regression().run(recipe), Regression()

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            if (batch.epoch, batch.step) == (1, 2):
                raise Killed
            return task.loss(batch, loaded)

        with pytest.raises(Killed):
            task.run(recipe, loss=loss, checkpoint=checkpoint)
        again = Regression()
        assert same(again.run(recipe, checkpoint=checkpoint), whole)
        assert [(b.epoch, b.step) for b in again.batches] == [
            (e, s) for e in (1, 2) for s in range(3)
        ]

    def test_a_finished_training_is_not_done_again(self, tmp_path: Path) -> None:
        recipe, checkpoint = (
            Recipe(2, 8, 0.05),
            Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        whole, again = Regression().run(recipe, checkpoint=checkpoint), Regression()
        assert (
            same(again.run(recipe, checkpoint=checkpoint), whole) and not again.batches
        )

    def test_one_ended_early_stays_ended(self, tmp_path: Path) -> None:
        recipe, checkpoint = (
            Recipe(4, 8, 0.05),
            Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        options: dict[str, Any] = {
            "checkpoint": checkpoint,
            "after_epoch": lambda done: done == 2,
        }
        whole, again = Regression().run(recipe, **options), Regression()
        assert same(again.run(recipe, **options), whole) and not again.batches

    def test_memory_that_appears_while_training_comes_back(
        self, tmp_path: Path
    ) -> None:
        recipe, checkpoint = (
            Recipe(1, 8, 0.05),
            Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        task, memory = Regression(), {}  # type: ignore[var-annotated]

        def loss(batch: Batch, loaded: Any) -> torch.Tensor:
            memory["late"] = torch.tensor([batch.step])
            return task.loss(batch, loaded)

        task.run(recipe, loss=loss, memory=memory, checkpoint=checkpoint)
        restored: dict[str, torch.Tensor] = {}
        Regression().run(recipe, memory=restored, checkpoint=checkpoint)
        assert restored["late"].tolist() == [2]

    def test_another_fingerprint_is_another_training(self, tmp_path: Path) -> None:
        recipe, path = Recipe(2, 8, 0.05), tmp_path / "state.safetensors"
        Regression().run(Recipe(2, 8, 0.9), checkpoint=Checkpoint(path, "theirs"))
        task = Regression()
        assert same(
            task.run(recipe, checkpoint=Checkpoint(path, "ours")),
            Regression().run(recipe),
        )
        assert len(task.batches) == 6

    def test_a_file_without_our_note_is_another_training(self, tmp_path: Path) -> None:
        path = tmp_path / "state.safetensors"
        save_file({"parameter/weight": torch.full((WIDTH,), 9.0)}, path)
        recipe = Recipe(1, 8, 0.05)
        assert same(
            Regression().run(recipe, checkpoint=Checkpoint(path, "ours")),
            Regression().run(recipe),
        )

    @pytest.mark.parametrize("how", ["cut", "garbage", "empty"])
    def test_a_damaged_checkpoint_is_an_error(self, tmp_path: Path, how: str) -> None:
        checkpoint = Checkpoint(tmp_path / "state.safetensors", "ours")
        Regression().run(Recipe(1, 8, 0.05), checkpoint=checkpoint)
        content = checkpoint.path.read_bytes()
        checkpoint.path.write_bytes(
            {
                "cut": content[: len(content) // 2],
                "garbage": b"\xff" * 64,
                "empty": b"",
            }[how]
        )
        with pytest.raises(
            RunError, match=r"state\.safetensors' is damaged.*Delete it"
        ):
            Regression().run(Recipe(1, 8, 0.05), checkpoint=checkpoint)

    def test_nothing_half_written_is_left(self, tmp_path: Path) -> None:
        Regression().run(
            Recipe(1, 8, 0.05),
            checkpoint=Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
