"""Near-duplicates: the same picture resized, compressed again, mirrored or cropped.

Candidates are each picture's nearest others in the space of the image tower, and all pairs whose
perceptual hashes differ in few bits; what they are is then settled by their pixels. A pair counts
where gray thumbnails correlate almost perfectly: whole with whole, with the mirror image, or one
whole with a part of the other (`labelsieve.features.crops`).

The hash has the 64 lowest frequencies of a cosine transform, each above the median or not
(Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010). Pairs within
`BITS` of each other are found exactly, whatever their number: two hashes that differ in at most
seven bits agree in at least one of eight bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from labelsieve.features import crops

BITS = (
    7  # of 64 that hashes of one picture may differ in: eight bytes find all of these
)
BLOCK = 4_096  # hashes that are compared with as many others at once: 16 MB of counts
PAIRS = 4_096  # pairs of thumbnails that are compared at once: 100 MB
# Correlation of a picture with itself, compressed hard, brightened or made a third as large:
# .99 and more; of two different photos of clothes: .92 and less.
SAME = 0.97
PLAIN = 4.0  # gray levels of deviation; a picture of one colour is like any other
# Pixels on the short side: below, many different pictures are alike, and parts of them even more.
SMALLEST = 32
SMALLEST_PART = 64
COPY, MIRRORED, CROP = "copy", "mirrored", "crop"


@dataclass(frozen=True)
class Pair:
    """Two near-duplicates: their rows, what they are, and their correlation.

    Of a crop, the second one is the part of the first.
    """

    first: int
    second: int
    kind: str
    similarity: float


def find(thumbs: np.ndarray, near: np.ndarray, sides: np.ndarray) -> list[Pair]:
    """Near-duplicates among n pictures.

    Args:
        thumbs: [n, 64, 64] uint8, gray.
        near: [n, m] int64, rows of the nearest other pictures; m may be 0.
        sides: [n] short side of each picture in pixels, NaN where it could not be read.
    """
    candidates = _candidates(thumbs, near)
    small = np.nan_to_num(sides)[candidates].min(1)
    plain = (thumbs.reshape(len(thumbs), -1).std(1) < PLAIN)[candidates].any(1)
    candidates = candidates[(small >= SMALLEST) & ~plain]
    small = np.nan_to_num(sides)[candidates].min(1)
    found = []
    rest = []
    for start in range(0, len(candidates), PAIRS):
        part = candidates[start : start + PAIRS]
        # cheap, and enough for most: crops take a hundred times as long
        straight, mirrored = _correlations(thumbs, part)
        for row, (first, second) in enumerate(part.tolist()):
            value = float(max(straight[row], mirrored[row]))
            kind = COPY if straight[row] >= mirrored[row] else MIRRORED
            if value >= SAME:
                found.append(Pair(first, second, kind, value))
            elif small[start + row] >= SMALLEST_PART:
                rest.append((first, second))
    for each in crops.find(thumbs, rest):
        found.append(Pair(each.whole, each.part, CROP, each.similarity))
    return found


def groups(pairs: list[Pair], n: int) -> np.ndarray:
    """[p] int64: the same number for all pairs of pictures that hang together."""
    # pictures are nodes, pairs are edges
    first = np.array([pair.first for pair in pairs], dtype=np.int64)
    second = np.array([pair.second for pair in pairs], dtype=np.int64)
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(n, n))
    _, component = connected_components(links, directed=False)
    # numbered from 0 in the order of the pairs
    numbers = np.unique(component[first], return_inverse=True)[1]
    return np.asarray(numbers, dtype=np.int64)


def _candidates(thumbs: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Rows [p, 2] int64 of pairs worth comparing, the first below the second, each once."""
    close = close_hashes(hashes(thumbs))
    rows = np.repeat(np.arange(len(thumbs)), near.shape[1])
    others = np.sort(np.stack([rows, near.reshape(-1)], 1), axis=1)
    return np.unique(np.concatenate([close, others]), axis=0)


def hashes(thumbs: np.ndarray) -> np.ndarray:
    """[n] uint64: 64 bits of each thumbnail [n, 64, 64] uint8."""
    values = np.empty(len(thumbs), dtype=np.uint64)
    for start in range(0, len(thumbs), BLOCK):
        # of 32 x 32 grays, as the hash is defined
        half = _halved(thumbs[start : start + BLOCK])
        low = dctn(half, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(-1, 64)
        packed = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        values[start : start + BLOCK] = packed.view(np.uint64)[:, 0]
    return values


def _halved(thumbs: np.ndarray) -> np.ndarray:
    """[n, 32, 32] float32: means of four pixels of thumbnails [n, 64, 64]."""
    halved: np.ndarray = (
        thumbs.reshape(-1, 32, 2, 32, 2).mean((2, 4)).astype(np.float32)
    )
    return halved


def close_hashes(values: np.ndarray, bits: int = BITS) -> np.ndarray:
    """Rows [p, 2] int64, the first below the second, of hashes [n] that differ in few bits.

    No table of all pairs is made: hashes are compared within each of the 8 x 256 groups that
    have one byte in common, a block at a time.

    Args:
        bits: at most so many; with more than 7, pairs would be missed.
    """
    octets = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for column in octets.T:
        order = np.argsort(column, kind="stable")
        starts = np.flatnonzero(np.diff(column[order])) + 1
        for rows in np.split(order, starts):
            pairs += _within(values, rows, bits)
    # a pair with several bytes in common is met in each
    return np.unique(np.concatenate(pairs), axis=0)


def _within(values: np.ndarray, rows: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Close pairs of one group of rows [m], which are in ascending order."""
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for other in range(start, len(rows), BLOCK):
            rest = rows[other : other + BLOCK]
            differing = np.bitwise_count(values[block][:, None] ^ values[rest])
            first, second = np.nonzero(differing <= bits)
            found = np.stack([block[first], rest[second]], 1)
            # each pair once, and none of a picture with itself
            yield found[found[:, 0] < found[:, 1]]


def _correlations(
    thumbs: np.ndarray, pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[p] of each pair [p, 2]: as they are, and the second one mirrored."""
    first = _normed(thumbs[pairs[:, 0]])
    second = _normed(thumbs[pairs[:, 1]])
    straight = np.einsum("nhw,nhw->n", first, second)
    return straight, np.einsum("nhw,nhw->n", first, second[:, :, ::-1])


def _normed(thumbs: np.ndarray) -> np.ndarray:
    """[p, 32, 32] float32 of thumbnails [p, 64, 64], without their mean and of length one.

    Halved, as the finest detail depends on how a picture was resized.
    """
    values = _halved(thumbs)
    values -= values.mean((1, 2), keepdims=True)
    values /= np.maximum(np.linalg.norm(values, axis=(1, 2), keepdims=True), 1e-6)
    return values
