"""Hashes against a slow search, and planted copies among different pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from labelsieve.features import duplicates


def tiles() -> list[Image.Image]:
    """Twenty-four different pictures of 100 pixels: parts of scikit-learn's two photos."""
    from sklearn.datasets import load_sample_image

    parts = []
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.fromarray(load_sample_image(name))
        for k in range(12):
            left, top = k % 6 * 100 + 20, k // 6 * 180 + 100
            parts.append(photo.crop((left, top, left + 100, top + 100)))
    return parts


def thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR))


def test_a_hash_is_the_sign_of_low_frequencies() -> None:
    thumbs = np.stack([thumb(tile) for tile in tiles()])
    (first,) = duplicates.hashes(thumbs[:1])
    small = thumbs[0].reshape(32, 2, 32, 2).mean((1, 3)).astype(np.float32)
    low = dctn(small, norm="ortho")[:8, :8].reshape(-1)
    bits = np.packbits(low > np.median(low)).view(np.uint64)[0]
    assert first == bits
    assert len(set(duplicates.hashes(thumbs).tolist())) == len(thumbs)


@pytest.mark.parametrize("block", [7, 4096])
def test_close_hashes_are_those_of_a_slow_search(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", block)
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**63, 300, dtype=np.uint64)
    # neighbours of some at every distance up to ten bits
    for k in range(100):
        bits = rng.permutation(64)[: k % 11]
        values[200 + k] = values[k] ^ np.bitwise_or.reduce(
            np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0)
        )
    expected = [
        [a, b]
        for a in range(300)
        for b in range(a + 1, 300)
        if int(values[a] ^ values[b]).bit_count() <= 7
    ]
    assert duplicates.close_hashes(values).tolist() == expected and len(expected) > 60


def test_copies_are_found_and_nothing_else() -> None:
    """Without neighbours, by the hash alone; with them, mirrored ones and crops, too."""
    pictures = tiles()
    planted = {}

    def plant(kind: str, of: int, picture: Image.Image) -> None:
        planted[of, len(pictures)] = kind
        pictures.append(picture)

    for of in (0, 1, 2, 3, 5):  # 4 is nearly all sky
        plant("copy", of, pictures[of].resize((50, 50)))
    for of in range(6, 10):
        buffer = io.BytesIO()
        pictures[of].save(buffer, "JPEG", quality=25)
        plant("copy", of, Image.open(buffer))
    for of in (10, 11, 13, 14, 16):
        plant("mirrored", of, pictures[of].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    for of in (15, 17, 18, 20):
        plant("crop", of, pictures[of].crop((15, 5, 95, 85)))
    thumbs = np.stack([thumb(picture) for picture in pictures])
    sides = np.array([min(picture.size) for picture in pictures], dtype=float)

    def kinds(near: np.ndarray) -> dict[tuple[int, int], str]:
        pairs = duplicates.find(thumbs, near, sides)
        return {(min(p.first, p.second), max(p.first, p.second)): p.kind for p in pairs}

    none = np.empty((len(thumbs), 0), dtype=np.int64)
    copies = {pair: kind for pair, kind in planted.items() if kind == "copy"}
    assert kinds(none) == copies
    everything = np.stack(
        [np.delete(np.arange(len(thumbs)), k) for k in range(len(thumbs))]
    )
    assert kinds(everything) == planted


def test_small_and_plain_pictures_are_left_out() -> None:
    same = np.stack([thumb(tiles()[0])] * 2)
    none = np.empty((2, 0), dtype=np.int64)
    assert len(duplicates.find(same, none, np.array([32.0, 32.0]))) == 1
    for sides in ([31.0, 100.0], [np.nan, 100.0]):
        assert duplicates.find(same, none, np.array(sides)) == []
    plain = np.full((2, 64, 64), 200, np.uint8)
    assert duplicates.find(plain, none, np.array([100.0, 100.0])) == []


def test_groups_hang_together() -> None:
    pairs = [
        duplicates.Pair(a, b, "copy", 1.0) for a, b in ((0, 1), (4, 5), (1, 2), (6, 4))
    ]
    assert duplicates.groups(pairs, 8).tolist() == [0, 1, 0, 1]
    assert duplicates.groups([], 8).tolist() == []
