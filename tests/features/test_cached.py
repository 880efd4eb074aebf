"""Features of frozen towers: what is kept is what the tower computes, whatever happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.cache import write_array
from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.dataset import Dataset
from labelsieve.errors import DataError
from labelsieve.features import cached
from labelsieve.features.cached import ImageFeatures, View
from labelsieve.models.load import load_encoder

COUNT = 23


class Counted:
    """Pictures that really pass through the tower; after `stop` batches the process dies."""

    def __init__(
        self, encoder: Any, monkeypatch: pytest.MonkeyPatch, stop: int | None = None
    ) -> None:
        self.batches: list[int] = []
        compute = encoder.image_features

        def counted(pixels: torch.Tensor, prompts: Any = None) -> torch.Tensor:
            if stop is not None and len(self.batches) > stop:
                raise KeyboardInterrupt
            self.batches.append(len(pixels))
            return compute(pixels, prompts)

        monkeypatch.setattr(encoder, "image_features", counted)


def computed(images: Dataset, encoder: Any) -> np.ndarray:
    return np.array(ImageFeatures(images, encoder).all())


def interrupted(images: Dataset, encoder: Any, batches: int) -> None:
    """Leave what is there when the process dies after some batches."""
    with pytest.MonkeyPatch.context() as patch:
        Counted(encoder, patch, stop=batches)  # one picture for the width comes first
        with pytest.raises(KeyboardInterrupt):
            computed(images, encoder)


def flip(path: Path, at: int, bit: int = 6) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


class TestImageFeatures:
    def test_are_what_the_tower_computes(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        direct: np.ndarray,
        distance: Any,
    ) -> None:
        features = ImageFeatures(images, encoder).all()
        assert features.dtype == np.float32
        assert distance(features, direct) < 1e-5
        lengths = np.linalg.norm(features, axis=1)
        assert lengths == pytest.approx(np.ones(COUNT), abs=1e-5)

    def test_are_computed_once(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first = computed(images, encoder)
        counted = Counted(encoder, monkeypatch)
        assert np.array_equal(first, computed(images, encoder))
        assert not counted.batches

    def test_go_on_where_they_were_interrupted(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        """Bit by bit, and no batch twice."""
        whole = computed(images, encoder)
        shutil.rmtree(cache)
        interrupted(images, encoder, batches=3)
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(encoder, patch)
            assert np.array_equal(computed(images, encoder), whole)
        assert sum(counted.batches) == 1 + COUNT - 3 * 4
        assert [f.suffix for f in cache.iterdir()] == [".npy"]

    @pytest.mark.parametrize("name", ["partial", "digests"])
    @pytest.mark.parametrize("damage", ["flipped", "cut", "garbage", "empty", "folder"])
    def test_damaged_rows_of_an_interrupted_computation_are_computed_anew(
        self, cache: Path, images: Dataset, encoder: Any, name: str, damage: str
    ) -> None:
        whole = computed(images, encoder)
        shutil.rmtree(cache)
        interrupted(images, encoder, batches=3)
        (path,) = cache.glob(f".*.{name}")
        size = path.stat().st_size
        if damage == "flipped":
            flip(path, size // 2)
        elif damage == "cut":
            os.truncate(path, size // 2)
        elif damage == "folder":
            path.unlink()
            path.mkdir()
        else:
            path.write_bytes(b"not an array" if damage == "garbage" else b"")
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(encoder, patch)
            assert np.array_equal(computed(images, encoder), whole)
        assert sum(counted.batches) > 1 + COUNT - 3 * 4
        assert [f.suffix for f in cache.iterdir()] == [".npy"]

    def test_a_leftover_that_is_too_long_is_cut(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        whole = computed(images, encoder)
        (path,) = cache.iterdir()
        size = path.stat().st_size
        path.unlink()
        path.with_name(f".{path.name}.partial").write_bytes(bytes(10_000_000))
        assert np.array_equal(computed(images, encoder), whole)
        assert path.stat().st_size == size

    @pytest.mark.parametrize("damage", ["flipped", "cut", "garbage", "empty"])
    def test_a_damaged_file_is_computed_anew_with_one_line(
        self, cache: Path, images: Dataset, encoder: Any, damage: str, notes: list[str]
    ) -> None:
        whole = computed(images, encoder)
        (path,) = cache.iterdir()
        if damage == "flipped":
            flip(path, path.stat().st_size // 2)
        elif damage == "cut":
            os.truncate(path, path.stat().st_size // 2)
        else:
            path.write_bytes(b"not an array" if damage == "garbage" else b"")
        assert np.array_equal(computed(images, encoder), whole)
        assert len(notes) == 1 and "damaged" in notes[0]

    @pytest.mark.parametrize("shape", [(5, 3), (23,), (0, 0)])
    def test_a_whole_file_of_other_data_is_not_used(
        self, cache: Path, images: Dataset, encoder: Any, shape: tuple[int, ...]
    ) -> None:
        whole = computed(images, encoder)
        (path,) = cache.iterdir()
        write_array(path, np.ones(shape, dtype=np.float32))
        assert np.array_equal(computed(images, encoder), whole)

    @pytest.mark.parametrize("kind", ["i8", "?", "c8", "U1", "V4", "M8[s]"])
    def test_numbers_of_another_kind_are_not_used(
        self, cache: Path, images: Dataset, encoder: Any, kind: str
    ) -> None:
        whole = computed(images, encoder)
        (path,) = cache.iterdir()
        write_array(path, np.zeros(whole.shape, dtype=kind))
        assert np.array_equal(computed(images, encoder), whole)

    def test_cannot_be_changed(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        with pytest.raises(ValueError, match="read-only"):
            ImageFeatures(images, encoder).all()[:] = 0

    def test_a_cache_that_holds_them_need_not_be_writable(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        whole = computed(images, encoder)

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise PermissionError(30, "Read-only file system")

        for name in ("mkdir", "touch"):
            monkeypatch.setattr(Path, name, refuse)
        assert np.array_equal(computed(images, encoder), whole)

    def test_of_other_weights_are_others(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        direct: np.ndarray,
        distance: Any,
    ) -> None:
        first = computed(images, encoder)
        with torch.no_grad():
            encoder.model.visual_projection.weight[0, 0] += 0.5
        other = computed(images, encoder)
        assert not np.array_equal(other, first) and distance(first, direct) < 1e-5

    def test_stay_those_of_the_tower_before_it_was_changed(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        """Adapters that a method puts into the tower do not reach the features of its task."""
        features = ImageFeatures(images, encoder)
        first = np.array(features.all())
        with torch.no_grad():
            encoder.model.visual_projection.weight[0, 0] += 0.5
        assert np.array_equal(features.all(), first)

    def test_a_lower_precision_tower_keeps_half_as_much(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        random_clip: Callable[..., Path],
        distance: Any,
    ) -> None:
        exact = computed(images, encoder)
        lower = load_encoder(str(random_clip()), dtype=torch.bfloat16)
        rounded = computed(images, lower)
        assert rounded.dtype == np.float16 and 0 < distance(rounded, exact) < 0.05

    def test_too_small_a_cache_is_an_error(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("LABELSIEVE_CACHE_GB", "1e-7")
        with pytest.raises(
            DataError, match=r"features of 23 images do not fit.*LABELSIEVE_CACHE_GB"
        ):
            computed(images, encoder)


class TestSomeFeatures:
    ROWS = np.array([1, 5, 6, 7, 8, 20])

    def test_only_these_are_computed_and_once(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        direct: np.ndarray,
        distance: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        counted = Counted(encoder, monkeypatch)
        features = ImageFeatures(images, encoder)
        some = features.some(self.ROWS)
        assert sum(counted.batches) == 1 + len(self.ROWS)  # one for the width
        assert np.array_equal(features.some(self.ROWS), some)
        assert sum(counted.batches) == 1 + len(self.ROWS)
        assert some.dtype == np.float32
        assert distance(some, direct[self.ROWS]) < 1e-5

    def test_the_file_of_all_does_not_depend_on_them(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        whole = computed(images, encoder)
        shutil.rmtree(cache)
        features = ImageFeatures(images, encoder)
        features.some(np.array([0, 1, 2, 5, 9]))
        assert np.array_equal(features.all(), whole)
        assert np.array_equal(features.some(self.ROWS), whole[self.ROWS])

    def test_where_they_are_most_all_are_computed(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        rows = np.arange(12)
        features = ImageFeatures(images, encoder)
        assert np.array_equal(features.some(rows), features.all()[rows])
        assert [f.suffix for f in cache.iterdir()] == [".npy"]


class TestViews:
    def test_each_picture_has_a_crop_of_its_own_whatever_the_batches(
        self,
        cache: Path,
        images: Dataset,
        encoder: Any,
        direct: np.ndarray,
        monkeypatch: pytest.MonkeyPatch,
        distance: Any,
    ) -> None:
        view = View(seed=3, number=1)
        features = ImageFeatures(images, encoder)
        first = np.array(features.all(view))
        shutil.rmtree(cache)
        monkeypatch.setattr(cached, "BATCH", 7)
        assert distance(features.all(view), first) < 1e-5
        assert distance(first, direct) > 0.01

    def test_seed_and_number_decide(
        self, cache: Path, images: Dataset, encoder: Any
    ) -> None:
        features = ImageFeatures(images, encoder)
        first = features.all(View(3, 1))
        assert not np.array_equal(first, features.all(View(3, 2)))
        assert not np.array_equal(first, features.all(View(4, 1)))

    def test_is_a_crop_of_the_picture(
        self, cache: Path, images: Dataset, encoder: Any, distance: Any
    ) -> None:
        """Row 5's crop is drawn from (seed, number, 5) and nothing else."""
        sequence = np.random.SeedSequence([3, 1, 5])
        seed = int(sequence.generate_state(1, np.uint64)[0] >> 1)
        pixels = encoder.normalise(images.inputs(np.array([5])))
        cropped = crop_and_mirror(pixels, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            wanted = encoder.image_features(cropped).numpy()[0]
        features = ImageFeatures(images, encoder).all(View(3, 1))
        assert distance(features[5], wanted) < 1e-5
