"""Hashes of 64 bits that are alike where pictures are, and those that differ in few bits.

The hash has the lowest frequencies of a cosine transform, each above the median or not (Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010).

Close ones are found without a table of all pairs (Norouzi et al., "Fast search in Hamming space
with multi-index hashing", 2012): of two hashes that differ in at most seven bits, one of the four
quarters differs in at most one. So each hash meets those in 4 x 17 buckets of 65,536. Equal hashes
are one hash in this search, and nobody has more than a few partners: a million copies of one
picture, or a film cut into frames, are millions of pairs and not billions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.fft import dctn

from labelsieve.features.copies.crops import Thumbs, in_blocks

BITS = (
    7  # of 64 that hashes of one picture may differ in: four quarters find all of these
)
BLOCK = 4_096  # thumbnails that are hashed at once: 50 MB
QUARTERS = 4
VALUES = 1 << 16  # of a quarter
MASKS = [0, *(1 << bit for bit in range(16))]  # what may differ within one quarter
CELLS = 1 << 20  # hashes that are compared at once: 40 MB
# Partners of a picture among its equals on either side, and of a hash among those that come after
# it. Groups up to twice as large are compared pair by pair.
PARTNERS = 8
LINKS = 32
MOST = (
    1_024  # of a bucket that one hash meets; what is more is a film, or of one colour
)


def hashes(thumbs: Thumbs) -> np.ndarray:
    """[n] uint64: 64 bits of each thumbnail, which are read a block at a time."""
    values = np.empty(len(thumbs), dtype=np.uint64)
    for rows, part in in_blocks(thumbs, BLOCK):
        # of 32 x 32 grays, as the hash is defined
        half = halved(part)
        low = dctn(half, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(-1, 64)
        packed = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
        values[rows] = packed.view(np.uint64)[:, 0]
    return values


def halved(thumbs: np.ndarray) -> np.ndarray:
    """[n, 32, 32] float32: means of four pixels of thumbnails [n, 64, 64] uint8."""
    # sums of whole numbers: exact, and several times as fast as means of float64
    total = np.zeros((len(thumbs), 32, 32), dtype=np.uint16)
    for row in (0, 1):
        for column in (0, 1):
            total += thumbs[:, row::2, column::2]
    return total.astype(np.float32) / np.float32(4)


def close(values: np.ndarray, bits: int = BITS) -> np.ndarray:
    """Rows [p, 2] int64, the first below the second, of hashes [n] that differ in few bits.

    All pairs, as long as no hash has more than `LINKS` others close by, none is there more than
    2 x `PARTNERS` + 1 times, and no bucket holds more than `MOST`; beyond, each row keeps so many
    partners. What hangs together stays together where hashes are equal.

    Args:
        bits: at most so many; with more than 7, pairs would be missed.
    """
    distinct, belongs, sizes = np.unique(
        values, return_inverse=True, return_counts=True
    )
    # rows of equal hashes side by side, in ascending order
    rows = np.argsort(belongs, kind="stable")
    starts = np.cumsum(sizes) - sizes
    pairs = [np.empty((0, 2), dtype=np.int64), _equals(rows, starts, sizes)]
    for first, second in _near(distinct, bits):
        pairs.append(_members(rows, starts, sizes, first, second))
    found = np.sort(np.concatenate(pairs), axis=1)
    return unique_pairs(found, len(values))


def unique_pairs(pairs: np.ndarray, n: int) -> np.ndarray:
    """Pairs [p, 2] of n rows in ascending order, each once."""
    # one number a pair: sorting rows of two takes ten times as long
    return np.stack(np.divmod(np.unique(pairs[:, 0] * n + pairs[:, 1]), n), 1)


def _equals(rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Each row with the next ones that have the same hash, in a ring."""
    places = np.arange(len(rows)) - np.repeat(starts, sizes)
    begins, counts = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for step in range(1, PARTNERS + 1):
        here = np.flatnonzero(counts > step)
        after = begins[here] + (places[here] + step) % counts[here]
        pairs.append(np.stack([rows[here], rows[after]], 1))
    return np.concatenate(pairs)


def _members(
    rows: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Rows of hashes `first` [p] with rows of the hashes `second` beside them."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for one in range(PARTNERS):
        for other in range(PARTNERS):
            both = (sizes[first] > one) & (sizes[second] > other)
            if both.any():
                a, b = starts[first[both]] + one, starts[second[both]] + other
                pairs.append(np.stack([rows[a], rows[b]], 1))
    return np.concatenate(pairs)


def _near(distinct: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places [p], [p] of different hashes that differ in at most so many bits, each pair once."""
    used = np.zeros(len(distinct), dtype=np.int64)
    quarters = distinct.view(np.uint16).reshape(-1, QUARTERS)
    for quarter in range(QUARTERS):
        own = quarters[:, quarter].astype(np.int64)
        order = np.argsort(own, kind="stable")
        sizes = np.bincount(own, minlength=VALUES)
        begins = np.cumsum(sizes) - sizes
        for mask in MASKS:
            for mine, others in _meetings(own[order], begins, sizes, mask):
                first, second = order[mine], order[others]
                differing = distinct[first] ^ distinct[second]
                fits = np.bitwise_count(differing) <= bits
                fits &= ~_met_before(differing, quarter)
                first, second = first[fits], second[fits]
                kept = _within_links(first, used)
                if kept.any():
                    yield first[kept], second[kept]


def _meetings(
    own: np.ndarray, begins: np.ndarray, sizes: np.ndarray, mask: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places in the sorted quarters `own` [m] and those of the bucket that differs by a mask."""
    places = np.arange(len(own))
    # of two buckets that meet, the lower one asks
    asking = places if mask == 0 else np.flatnonzero(own & mask == 0)
    target = own[asking] ^ mask
    low, end = begins[target], begins[target] + sizes[target]
    if mask == 0:
        low = asking + 1
    else:
        # of a large bucket not all ask the same ones
        spare = np.maximum(sizes[target] - MOST, 0)
        low = low + (asking - begins[own[asking]]) % (spare + 1)
    counts = np.minimum(end - low, MOST)
    some_are = counts > 0
    asking, low, counts = asking[some_are], low[some_are], counts[some_are]
    # so many that about `CELLS` hashes are met at a time
    ends = np.cumsum(counts) // CELLS
    bounds = np.flatnonzero(np.diff(ends, prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        some = counts[start:stop]
        # 0, 1, 2, ... within each of them
        ahead = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
        yield (
            np.repeat(asking[start:stop], some),
            np.repeat(low[start:stop], some) + ahead,
        )


def _met_before(differing: np.ndarray, quarter: int) -> np.ndarray:
    """Whether an earlier quarter differs in one bit at most, and has given the pair already."""
    met = np.zeros(len(differing), dtype=bool)
    parts = differing.view(np.uint16).reshape(-1, QUARTERS)
    for earlier in range(quarter):
        met |= np.bitwise_count(parts[:, earlier]) <= 1
    return met


def _within_links(first: np.ndarray, used: np.ndarray) -> np.ndarray:
    """[p] bool: whether the hash of a pair has links left; `used` [m] counts them."""
    order = np.argsort(first, kind="stable")
    ordered = first[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.arange(len(ordered)) - np.repeat(
        starts, np.diff([*starts, len(ordered)])
    )
    kept = np.zeros(len(first), dtype=bool)
    kept[order] = used[ordered] + ranks < LINKS
    np.add.at(used, first[kept], 1)
    return kept
