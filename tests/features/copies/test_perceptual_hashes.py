"""Hashes by their definition, and close ones against a slow search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from labelsieve.features.copies import perceptual_hashes
from labelsieve.features.copies.perceptual_hashes import LINKS, MOST, PARTNERS, close


def test_a_hash_is_the_sign_of_low_frequencies() -> None:
    thumbs = np.random.default_rng(0).integers(0, 256, (9, 64, 64), dtype=np.uint8)
    for thumb, value in zip(thumbs, perceptual_hashes.hashes(thumbs), strict=True):
        small = thumb.reshape(32, 2, 32, 2).mean((1, 3)).astype(np.float32)
        low = dctn(small, norm="ortho")[:8, :8].reshape(-1)
        assert value == np.packbits(low > np.median(low)).view(np.uint64)[0]


def flipped(value: np.uint64, places: np.ndarray) -> np.uint64:
    """A hash with some of its bits turned over."""
    bits = np.uint64(1) << places.astype(np.uint64)
    return np.uint64(value ^ np.bitwise_or.reduce(bits, initial=np.uint64(0)))


@pytest.mark.parametrize("cells", [7, 1 << 20])
def test_close_hashes_are_those_of_a_slow_search(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual_hashes, "CELLS", cells)
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**64, 600, dtype=np.uint64)
    # neighbours of some at every distance up to ten bits, wherever these lie
    for k in range(300):
        values[300 + k] = flipped(values[k], rng.permutation(64)[: k % 11])
    # and some that are there several times
    values[100:105] = values[0]
    expected = []
    for a in range(len(values)):
        for b in range(a + 1, len(values)):
            if int(values[a] ^ values[b]).bit_count() <= 7:
                expected.append([a, b])
    assert close(values).tolist() == expected and len(expected) > 200


def test_equal_hashes_are_pairs_of_neighbours_and_one_group() -> None:
    rng = np.random.default_rng(2)
    values = rng.choice(rng.integers(0, 2**64, 3, dtype=np.uint64), 5_000)
    pairs = close(values)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (values[pairs[:, 0]] == values[pairs[:, 1]]).all()
    # so many before each and so many behind it
    assert (np.bincount(pairs.reshape(-1), minlength=5_000) == 2 * PARTNERS).all()


def test_a_film_is_not_all_pairs_of_its_frames() -> None:
    """Thousands of hashes that are all within four bits of each other."""
    rng = np.random.default_rng(3)
    start = rng.integers(0, 2**64, dtype=np.uint64)
    values = np.array([flipped(start, rng.permutation(40)[:2]) for _ in range(20_000)])
    distinct = len(np.unique(values))
    assert distinct == 40 * 39 // 2 < MOST
    pairs = close(values)
    differing = np.bitwise_count(values[pairs[:, 0]] ^ values[pairs[:, 1]])
    assert (differing <= 4).all() and (differing > 0).any()
    among_equals = len(values) * PARTNERS
    assert len(pairs) <= among_equals + distinct * LINKS * PARTNERS**2
