"""Near-duplicates: the same picture resized, compressed again, mirrored or cropped.

Candidates are each picture's nearest others in the space of the image tower, and all pairs whose
perceptual hashes differ in few bits; what they are is then settled by their pixels. A pair counts
where gray thumbnails correlate almost perfectly: whole with whole, with the mirror image, or one
whole with a part of the other (`labelsieve.features.copies.crops`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labelsieve.features.copies import crops, perceptual_hashes
from labelsieve.features.copies.crops import Thumbs

BLOCK = 4_096  # thumbnails that are looked at once: 80 MB
PAIRS = 4_096  # pairs of thumbnails that are compared at once: 100 MB
# Correlation of a picture with itself, compressed hard, brightened or made a third as large:
# .99 and more; of two different photos of clothes: .92 and less.
SAME = 0.97
PLAIN = 4.0  # gray levels of deviation; a picture of one colour is like any other
# Pixels on the short side: below, many different pictures are alike, and parts of them even more.
SMALLEST = 32
SMALLEST_PART = 64
KINDS = COPY, MIRRORED, CROP = "copy", "mirrored", "crop"


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates: their rows, what they are, and their correlation.

    Of a crop, the second one is the part of the first.
    """

    first: int
    second: int
    kind: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Pairs:
    """Near-duplicates as columns: there may be millions.

    Attributes:
        first, second: [p] int64, rows. kind: [p] places in `KINDS`. similarity: [p] float32.
    """

    first: np.ndarray
    second: np.ndarray
    kind: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[Pair]:
        columns = (self.first, self.second, self.kind, self.similarity)
        for first, second, kind, value in zip(*columns, strict=True):
            yield Pair(int(first), int(second), KINDS[kind], float(value))


def find(thumbs: Thumbs, near: np.ndarray, sides: np.ndarray) -> Pairs:
    """Near-duplicates among n pictures.

    Args:
        thumbs: [n, 64, 64] uint8, gray; read a few thousand at a time.
        near: [n, m] int64, rows of the nearest other pictures; m may be 0.
        sides: [n] short side of each picture in pixels, NaN where it could not be read.
    """
    small = np.nan_to_num(sides)
    candidates = _candidates(thumbs, near, (small >= SMALLEST) & ~_plain(thumbs))
    values = np.empty(len(candidates), dtype=np.float32)
    mirrored = np.empty(len(candidates), dtype=bool)
    for start in range(0, len(candidates), PAIRS):
        part = slice(start, start + PAIRS)
        # cheap, and enough for most: crops take a hundred times as long
        straight, turned = _correlations(thumbs, candidates[part])
        values[part], mirrored[part] = np.maximum(straight, turned), turned > straight
    same = values >= SAME
    rest = candidates[~same & (small[candidates].min(1) >= SMALLEST_PART)]
    parts = list(crops.find(thumbs, rest))
    # the whole first, then its part
    of_parts = np.array([(p.whole, p.part) for p in parts], dtype=np.int64)
    rows = np.concatenate([candidates[same], of_parts.reshape(-1, 2)])
    kinds = np.where(mirrored[same], KINDS.index(MIRRORED), KINDS.index(COPY))
    cropped = np.full(len(parts), KINDS.index(CROP))
    fits = np.array([part.similarity for part in parts], dtype=np.float32)
    return Pairs(
        rows[:, 0],
        rows[:, 1],
        np.concatenate([kinds, cropped]),
        np.concatenate([values[same], fits]),
    )


def _plain(thumbs: Thumbs) -> np.ndarray:
    """[n] bool: whether a picture is of one colour."""
    plain = np.empty(len(thumbs), dtype=bool)
    for rows, part in crops.in_blocks(thumbs, BLOCK):
        plain[rows] = part.reshape(len(part), -1).std(1) < PLAIN
    return plain


def groups(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """[p] int64: the same number for all pairs of pictures [p], [p] that hang together."""
    # pictures are nodes, pairs are edges
    links = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    _, component = connected_components(links, directed=False)
    # numbered from 0 in the order of the pairs
    numbers = np.unique(component[first], return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64)


def _candidates(thumbs: Thumbs, near: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Rows [p, 2] int64 of pairs worth comparing, the first below the second, each once.

    Args:
        fit: [n] bool, pictures that can be compared.
    """
    rows = np.flatnonzero(fit)
    # hashes of the others would only be alike for what they lack
    close = rows[perceptual_hashes.close(perceptual_hashes.hashes(thumbs)[rows])]
    firsts = np.repeat(np.arange(len(fit)), near.shape[1])
    others = near.reshape(-1)
    here = fit[firsts] & fit[others]
    others = np.sort(np.stack([firsts[here], others[here]], 1), axis=1)
    return perceptual_hashes.unique_pairs(np.concatenate([close, others]), len(fit))


def _correlations(thumbs: Thumbs, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[p] of each pair [p, 2]: as they are, and the second one mirrored."""
    first = _normed(thumbs[pairs[:, 0]])
    second = _normed(thumbs[pairs[:, 1]])
    straight = np.einsum("nhw,nhw->n", first, second)
    return straight, np.einsum("nhw,nhw->n", first, second[:, :, ::-1])


def _normed(thumbs: np.ndarray) -> np.ndarray:
    """[p, 32, 32] float32 of thumbnails [p, 64, 64], without their mean and of length one.

    Halved, as the finest detail depends on how a picture was resized.
    """
    values = perceptual_hashes.halved(thumbs)
    values -= values.mean((1, 2), keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=(1, 2), keepdims=True), 1e-6)
    return values
