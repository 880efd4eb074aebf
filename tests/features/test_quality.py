"""What a picture shows of itself, on parts of scikit-learn's two photos and on generated ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageFilter

from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.features import quality
from labelsieve.tables import FINDINGS


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("china.jpg"))


def test_blur_follows_the_definition(photo: Image.Image) -> None:
    gray = np.asarray(photo.convert("L"))[:40, :50]
    worst = 0.0
    for values in (gray.astype(float), gray.T.astype(float)):
        # slowly, as the paper says it: along the first axis, edge pixels repeated
        padded = np.concatenate([values[:1]] * 5 + [values] + [values[-1:]] * 5)
        again = np.stack([padded[k : k + 11].mean(0) for k in range(len(values))])
        before, after = np.abs(np.diff(values, axis=0)), np.abs(np.diff(again, axis=0))
        worst = max(worst, 1 - np.maximum(0, before - after).sum() / before.sum())
    assert quality.blur(gray) == pytest.approx(worst, abs=1e-4)


def test_blur_grows_with_blurring_and_not_with_light(photo: Image.Image) -> None:
    gray = photo.convert("L").resize((256, 170))
    values = [
        quality.blur(np.asarray(gray.filter(ImageFilter.GaussianBlur(radius))))
        for radius in (0, 1, 2, 4)
    ]
    assert values == sorted(values) and values[0] < quality.BLURRED < values[-1]
    darker = np.asarray(gray) // 4
    assert quality.blur(darker) == pytest.approx(values[0], abs=0.05)
    # motion blurs along one axis alone
    moved = np.asarray(gray).astype(float)
    moved = np.stack([np.roll(moved, k, axis=1) for k in range(-7, 8)]).mean(0)
    assert quality.blur(moved.astype(np.uint8)) > quality.BLURRED
    assert quality.blur(np.full((1, 1), 7, np.uint8)) == 0


def test_looks_of_known_grays() -> None:
    half = np.zeros((10, 10), np.uint8)
    half[:5] = 255
    bright, floor, _, entropy = quality.looks(half)
    # two equally frequent values carry one bit of eight
    assert (bright, floor) == (1, 0) and entropy == pytest.approx(1 / 8)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert quality.looks(every)[3] == pytest.approx(1)


def odd_pictures(folder: Path, photo: Image.Image) -> None:
    """Thirty ordinary parts of a photo and one picture of each finding."""
    (folder / "a").mkdir(parents=True)
    for k in range(30):
        left, top = k % 6 * 90, k // 6 * 60
        photo.crop((left, top, left + 100, top + 100)).save(folder / "a" / f"{k}.png")
    part = photo.crop((200, 100, 328, 228))
    part.point(lambda v: v // 5).save(folder / "a" / "dark.png")
    part.point(lambda v: 250 + v // 52).save(folder / "a" / "washed_out.png")
    part.filter(ImageFilter.GaussianBlur(6)).save(folder / "a" / "blurred.png")
    Image.new("RGB", (100, 100), (90, 120, 40)).save(folder / "a" / "plain.png")
    part.resize((16, 16)).save(folder / "a" / "odd_size.png")
    photo.crop((0, 100, 300, 180)).save(folder / "a" / "odd_shape.png")


def test_each_planted_finding_is_found_and_nothing_else(
    tmp_path: Path, photo: Image.Image
) -> None:
    odd_pictures(tmp_path, photo)
    source = open_source(load(tmp_path, labelled=False))
    rows = list(source.rows())
    uris = pa.chunked_array([[row.uri for row in rows]])
    hashes = pa.chunked_array([[str(k) for k in range(len(rows))]])
    numbers, thumbs = quality.measure(source, uris, hashes)
    assert numbers.shape == (36, 6) and thumbs[:].shape == (36, 64, 64)
    isolation = np.full(36, 0.3)
    isolation[7] = 0.9
    isolation += np.linspace(0, 0.05, 36)
    found = quality.findings(numbers, isolation)
    assert tuple(found) == FINDINGS
    for name, where in found.items():
        names = [Path(rows[k].path).stem for k in np.flatnonzero(where)]
        expected = [Path(rows[7].path).stem] if name == "outlier" else [name]
        # what is white all over, or of one colour, has neither detail nor a second gray
        assert set(expected) <= set(names) <= {*expected, "plain", "washed_out"}
    size = dict(zip((Path(r.path).stem for r in rows), numbers[:, :2], strict=True))
    assert size["odd_shape"].tolist() == [300, 80]


def test_what_is_looked_at_once_is_read_from_the_cache(
    tmp_path: Path, photo: Image.Image, encode: Callable[..., bytes]
) -> None:
    pictures = [np.asarray(photo)[k : k + 40, :40] for k in (0, 50)]
    source = open_source(load((pictures, ["a", "b"])))
    uris = pa.chunked_array([["0", "1"]])
    hashes = pa.chunked_array([["once", "twice"]])
    first = quality.measure(source, uris, hashes)

    class Gone:
        def read(self, uri: str) -> None:
            raise AssertionError("looked at again")

    again = quality.measure(Gone(), uris, hashes)  # type: ignore[arg-type]
    assert np.array_equal(first[0], again[0]) and np.array_equal(
        first[1][:], again[1][:]
    )


def test_a_picture_that_is_gone_has_no_numbers() -> None:
    source = open_source(load(([b"no picture", b"x"], ["a", "b"])))
    hashes = pa.chunked_array([["broken-a", "broken-b"]])
    numbers, thumbs = quality.measure(source, pa.chunked_array([["0", "1"]]), hashes)
    assert np.isnan(numbers).all() and not thumbs[:].any()
    assert not any(
        rows.any() for rows in quality.findings(numbers, numbers[:, 0]).values()
    )


def test_what_most_pictures_share_is_no_finding() -> None:
    numbers = np.array([[100, 100, 0.1, 0.0, 0.2, 0.9]] * 10, dtype=np.float32)
    assert not quality.findings(numbers, np.zeros(10))["dark"].any()
    numbers[1:, 2] = 0.8
    assert (
        quality.findings(numbers, np.zeros(10))["dark"].tolist() == [True] + [False] * 9
    )


def test_the_fence_is_tukeys() -> None:
    assert quality.fence(np.array([0, 1, 2, 3, 4, np.nan])) == pytest.approx(3 + 3 * 2)
    assert quality.fence(np.array([np.nan])) == np.inf
