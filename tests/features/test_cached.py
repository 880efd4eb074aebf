"""Features of frozen towers: what is kept is what the tower computes, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.augment import crop_and_mirror
from labelsieve.errors import DataError, OptionError
from labelsieve.features import cached
from labelsieve.features.zero_shot import (
    class_features,
    softmax,
    temperature_of,
    zero_shot,
)
from labelsieve.models.load import load_encoder

COUNT = 23


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, and batches small enough for several."""
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "BATCH", 4)
    monkeypatch.setattr(cached, "BLOCK", 5)
    return tmp_path / "cache" / "features"


@pytest.fixture
def encoder(random_clip: Callable[..., Path]) -> Any:
    return load_encoder(str(random_clip()))


@pytest.fixture
def images(encoder: Any, labelled: Callable[..., Any]) -> Any:
    pictures = np.random.default_rng(0).integers(
        0, 256, (COUNT, 16, 16, 3), dtype=np.uint8
    )
    return labelled(
        encoder.preprocess, pictures, [("cat", "dog")[i % 2] for i in range(COUNT)]
    )


class Counted:
    """Rows that really pass through the tower; after `stop` batches the process dies."""

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


def direct(images: Any, encoder: Any) -> np.ndarray:
    with torch.no_grad():
        return encoder.image_features(
            encoder.normalise(images.inputs(np.arange(len(images))))
        ).numpy()


class TestImageFeatures:
    def test_are_what_the_tower_computes(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        found = cached.image_features(images, encoder)
        assert found.dtype == np.float32
        assert distance(found, direct(images, encoder)) < 1e-5
        assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(COUNT), abs=1e-5)

    def test_are_computed_once(
        self, cache: Path, images: Any, encoder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = np.array(cached.image_features(images, encoder))
        counted = Counted(encoder, monkeypatch)
        assert (
            np.array_equal(first, cached.image_features(images, encoder))
            and not counted.batches
        )

    def test_go_on_where_they_were_interrupted(
        self, cache: Path, images: Any, encoder: Any, random_clip: Callable[..., Path]
    ) -> None:
        """Bit by bit, and no batch twice."""
        whole = np.array(cached.image_features(images, encoder))
        for file in cache.iterdir():
            file.unlink()
        with pytest.MonkeyPatch.context() as patch:
            Counted(encoder, patch, stop=3)  # one for the width, and three batches
            with pytest.raises(KeyboardInterrupt):
                cached.image_features(images, encoder)
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(encoder, patch)
            assert np.array_equal(cached.image_features(images, encoder), whole)
        assert sum(counted.batches) == 1 + COUNT - 3 * 4
        assert [f.suffix for f in cache.iterdir()] == [".npy"]

    def test_a_broken_leftover_is_thrown_away(
        self, cache: Path, images: Any, encoder: Any
    ) -> None:
        whole = np.array(cached.image_features(images, encoder))
        (path,) = cache.iterdir()
        path.unlink()
        path.with_name(f".{path.name}.partial").write_bytes(b"not an array")
        assert np.array_equal(cached.image_features(images, encoder), whole)

    def test_changing_an_array_that_was_given_does_not_change_the_cache(
        self, cache: Path, images: Any, encoder: Any
    ) -> None:
        whole = np.array(cached.image_features(images, encoder))
        cached.image_features(images, encoder)[:] = 0
        assert np.array_equal(cached.image_features(images, encoder), whole)

    def test_of_other_weights_are_others(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        first = np.array(cached.image_features(images, encoder))
        with torch.no_grad():
            encoder.model.visual_projection.weight[0, 0] += 0.5
        found = cached.image_features(images, encoder)
        assert not np.array_equal(found, first)
        assert distance(found, direct(images, encoder)) < 1e-5

    def test_a_lower_precision_tower_keeps_half_as_much(
        self,
        cache: Path,
        images: Any,
        encoder: Any,
        random_clip: Callable[..., Path],
        distance: Any,
    ) -> None:
        exact = np.array(cached.image_features(images, encoder))
        found = cached.image_features(
            images, load_encoder(str(random_clip()), dtype=torch.bfloat16)
        )
        assert found.dtype == np.float16 and 0 < distance(found, exact) < 0.05

    def test_too_small_a_cache_is_an_error(
        self, cache: Path, images: Any, encoder: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LABELSIEVE_CACHE_GB", "1e-7")
        with pytest.raises(
            DataError, match=r"features of 23 images do not fit.*LABELSIEVE_CACHE_GB"
        ):
            cached.image_features(images, encoder)


class TestSomeFeatures:
    ROWS = np.array([1, 5, 6, 7, 8, 20])

    def test_only_these_are_computed_and_once(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            counted = Counted(encoder, patch)
            found = cached.some_features(images, encoder, self.ROWS)
            assert sum(counted.batches) == 1 + len(self.ROWS)  # one for the width
            assert np.array_equal(
                cached.some_features(images, encoder, self.ROWS), found
            )
            assert sum(counted.batches) == 2 + len(self.ROWS)
        assert (
            found.dtype == np.float32
            and distance(found, direct(images, encoder)[self.ROWS]) < 1e-5
        )

    def test_the_file_of_all_does_not_depend_on_them(
        self, cache: Path, images: Any, encoder: Any
    ) -> None:
        whole = np.array(cached.image_features(images, encoder))
        for file in cache.iterdir():
            file.unlink()
        cached.some_features(images, encoder, np.array([0, 1, 2, 5, 9]))
        assert np.array_equal(cached.image_features(images, encoder), whole)
        assert np.array_equal(
            cached.some_features(images, encoder, self.ROWS), whole[self.ROWS]
        )

    def test_where_they_are_most_all_are_computed(
        self, cache: Path, images: Any, encoder: Any
    ) -> None:
        rows = np.arange(12)
        found = cached.some_features(images, encoder, rows)
        assert np.array_equal(found, cached.image_features(images, encoder)[rows])
        assert [f.suffix for f in cache.iterdir()] == [".npy"]


class TestViews:
    def test_each_picture_has_a_crop_of_its_own_whatever_the_batches(
        self,
        cache: Path,
        images: Any,
        encoder: Any,
        monkeypatch: pytest.MonkeyPatch,
        distance: Any,
    ) -> None:
        view = cached.View(seed=3, number=1)
        found = np.array(cached.image_features(images, encoder, view))
        for file in cache.iterdir():
            file.unlink()
        monkeypatch.setattr(cached, "BATCH", 7)
        assert distance(cached.image_features(images, encoder, view), found) < 1e-5
        assert distance(found, direct(images, encoder)) > 0.01

    def test_seed_and_number_decide(
        self, cache: Path, images: Any, encoder: Any
    ) -> None:
        found = [
            np.array(cached.image_features(images, encoder, cached.View(*v)))
            for v in ((3, 1), (3, 2), (4, 1))
        ]
        assert not np.array_equal(found[0], found[1]) and not np.array_equal(
            found[0], found[2]
        )

    def test_is_a_crop_of_the_picture(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        """Row 5's crop is drawn from (seed, number, 5) and nothing else."""
        seed = int(
            np.random.SeedSequence([3, 1, 5]).generate_state(1, np.uint64)[0] >> 1
        )
        cropped = crop_and_mirror(
            encoder.normalise(images.inputs(np.array([5]))),
            torch.Generator().manual_seed(seed),
        )
        with torch.no_grad():
            wanted = encoder.image_features(cropped).numpy()[0]
        assert (
            distance(
                cached.image_features(images, encoder, cached.View(3, 1))[5], wanted
            )
            < 1e-5
        )


class TestFingerprint:
    def test_sees_every_weight_and_the_precision(
        self, random_clip: Callable[..., Path]
    ) -> None:
        def fresh(dtype: torch.dtype = torch.float32) -> Any:
            return load_encoder(str(random_clip()), dtype=dtype)

        first = cached.weights_fingerprint(fresh())
        assert first == cached.weights_fingerprint(fresh()) and len(first) == 16
        seen = {first, cached.weights_fingerprint(fresh(torch.bfloat16))}
        encoder = fresh()
        encoder.device = torch.device(
            "cuda"
        )  # another device rounds differently; only its name is read here
        seen.add(cached.weights_fingerprint(encoder))
        assert len(seen) == 3
        encoder.device = torch.device("cpu")
        for name, parameter in encoder.model.named_parameters():
            with torch.no_grad():
                parameter.view(-1)[-1] += 1
            print_now = cached.weights_fingerprint(encoder)
            assert print_now not in seen, name
            seen.add(print_now)


class TestZeroShot:
    def test_class_features_are_the_filled_template(
        self, cache: Path, encoder: Any, distance: Any
    ) -> None:
        found = class_features(encoder, ["cat", "red panda"], "it is a {}!")
        assert (
            distance(
                found, encoder.text_features(["it is a cat!", "it is a red panda!"])
            )
            < 1e-6
        )
        assert np.array_equal(
            found, class_features(encoder, ["cat", "red panda"], "it is a {}!")
        )
        other = class_features(encoder, ["cat", "red panda"], "{}")
        assert distance(other, encoder.text_features(["cat", "red panda"])) < 1e-6

    def test_probabilities(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        found = zero_shot(images, encoder)
        text = encoder.text_features(
            [f"a photo of a {name}." for name in images.names]
        ).numpy()
        assert distance(found.cosines, direct(images, encoder) @ text.T) < 1e-5
        scaled = torch.from_numpy(
            encoder.logit_scale * direct(images, encoder) @ text.T
        )
        assert distance(found.probs(), scaled.softmax(1)) < 1e-5
        assert found.facts() == {
            "temperature": pytest.approx(1 / encoder.logit_scale),
            "temperature_from": "model",
        }

    def test_a_temperature_and_a_template_of_one_s_own(
        self, cache: Path, images: Any, encoder: Any, distance: Any
    ) -> None:
        found = zero_shot(images, encoder, temperature=0.5, template="{}")
        text = encoder.text_features(list(images.names)).numpy()
        assert (
            distance(
                found.probs(),
                torch.from_numpy(direct(images, encoder) @ text.T / 0.5).softmax(1),
            )
            < 1e-5
        )
        assert found.facts() == {"temperature": 0.5, "temperature_from": "setting"}

    @pytest.mark.parametrize("wanted", [0.0, -1.0])
    def test_temperatures_that_cannot_be(self, encoder: Any, wanted: float) -> None:
        with pytest.raises(OptionError, match="must be above 0"):
            temperature_of(encoder, wanted)


def test_softmax_does_not_overflow() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]])
    assert softmax(logits) == pytest.approx(torch.from_numpy(logits).softmax(1).numpy())
