"""A killed training ends like one that was not; a damaged checkpoint is never believed."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fixtures.training import WIDTH, Killed, Regression, same
from safetensors.torch import save_file

from labelsieve import progress
from labelsieve.files import replacing
from labelsieve.training import checkpoint as checkpoints
from labelsieve.training.checkpoint import Checkpoint, save_tensors, write_tensors
from labelsieve.training.loop import Batch, Recipe

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
                result = task.run(recipe, loss=loss, rates=rates, checkpoint=checkpoint)
            except Killed:
                assert kill is not None
            steps += len({(b.epoch, b.step) for b in task.batches})
        assert same(result, whole)
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

    def test_nothing_half_written_is_left(self, tmp_path: Path) -> None:
        Regression().run(
            Recipe(1, 8, 0.05),
            checkpoint=Checkpoint(tmp_path / "state.safetensors", "ours"),
        )
        assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_disk_without_room_is_told_with_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own error would be a traceback, and names no file."""
    path, folder = tmp_path / "state.safetensors", tmp_path / "detector"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    tensors = {"a": torch.zeros(100_000)}
    try:
        with pytest.raises(OSError) as file:
            write_tensors(path, tensors, {})
        with pytest.raises(OSError) as inside, replacing(folder) as scratch:
            scratch.mkdir()
            save_tensors(tensors, scratch / "detector.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (file.value.errno, file.value.filename) == (errno.EFBIG, str(path))
    assert (inside.value.errno, inside.value.filename) == (errno.EFBIG, str(folder))
    assert not list(tmp_path.iterdir())


def test_tensors_that_cannot_be_written_are_our_own_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="share memory"):
        shared = torch.zeros(3)
        save_tensors({"a": shared, "b": shared}, tmp_path / "file")


@pytest.fixture
def notes() -> Iterator[None]:
    progress.be_quiet(False)
    yield
    progress.be_quiet(True)


class TestDamage:
    NOTICE = "Checkpoint 'state.safetensors' is damaged; the training starts again.\n"

    @pytest.mark.parametrize("how", ["cut", "garbage", "empty", "longer"])
    def test_it_starts_again_with_one_line(
        self,
        tmp_path: Path,
        how: str,
        notes: None,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        recipe = Recipe(1, 8, 0.05)
        whole = Regression().run(recipe)
        checkpoint = Checkpoint(tmp_path / "state.safetensors", "ours")
        Regression().run(recipe, checkpoint=checkpoint)
        content = checkpoint.path.read_bytes()
        damaged = {
            "cut": content[: len(content) // 2],
            "garbage": b"\xff" * 64,
            "longer": content + b"\0",
        }.get(how, b"")
        checkpoint.path.write_bytes(damaged)
        capsys.readouterr()
        again = Regression()
        assert same(again.run(recipe, checkpoint=checkpoint), whole)
        assert len(again.batches) == 3
        assert capsys.readouterr().err.startswith(self.NOTICE)
        # and the next one goes on from what this one has kept
        last = Regression()
        assert same(last.run(recipe, checkpoint=checkpoint), whole) and not last.batches

    def test_a_flipped_bit_anywhere_changes_no_number(self, tmp_path: Path) -> None:
        recipe = Recipe(1, 8, 0.05, optimizer="adamw")
        whole = Regression().run(recipe)
        checkpoint = Checkpoint(tmp_path / "state.safetensors", "ours")
        Regression().run(recipe, checkpoint=checkpoint)
        content = checkpoint.path.read_bytes()
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 1 << position % 8
            checkpoint.path.write_bytes(damaged)
            assert same(Regression().run(recipe, checkpoint=checkpoint), whole)

    def test_one_of_another_version_is_another_training(self, tmp_path: Path) -> None:
        """It has the fingerprint, but other shapes."""
        recipe = Recipe(1, 8, 0.05)
        checkpoint = Checkpoint(tmp_path / "state.safetensors", "ours")
        other = Regression()
        memory = {"last": torch.zeros(3)}
        loss = other.parameters["bias"]
        other.run(
            recipe,
            loss=lambda *_: (loss**2).sum(),
            memory=memory,
            checkpoint=checkpoint,
        )
        again = Regression()
        whole = Regression().run(recipe)
        assert same(again.run(recipe, checkpoint=checkpoint), whole)
        assert len(again.batches) == 3
