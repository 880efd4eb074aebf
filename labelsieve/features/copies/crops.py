"""Whether one picture is a part of another one, as it is or mirrored.

A window of the larger picture is compared with the whole smaller one by the correlation of
their gray values. 1,024 windows are looked through in a coarse raster, then the edges of the best
one are moved as long as it fits better. Among photos of clothes the right window of a crop
correlates with .982 or more, the best one of two different pictures with .971 or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import Protocol

import numpy as np

SIDE = 64  # of the thumbnails, pixels
COARSE = 12  # points a side that windows are looked through with
FINE = 24  # points a side that are compared in the end
# Parts of a side that a crop keeps; sides are cut independently, as for a square crop.
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
STEP = 4  # pixels between windows at most: half of it is bridged by the refinement
STEPS = (2.0, 1.0, 0.5)  # pixels that an edge is moved by, coarse to fine
LEAST = 16  # pixels: a smaller window shows too little to be told from others
LIKELY = 0.8  # correlation of the best coarse window from which its edges are moved
HOPEFUL = 0.9  # and after the first moves, from which they are moved in smaller steps
SAME = 0.98  # and of the fine one that is called a part
PAIRS = 4_096  # pairs of thumbnails that are in memory at once: 32 MB


class Thumbs(Protocol):
    """Thumbnails [n, 64, 64] uint8, in memory or in files."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, rows: np.ndarray | slice, /) -> np.ndarray:
        """Those of some rows [m], or of a stretch of them: [m, 64, 64]."""
        ...


def in_blocks(thumbs: Thumbs, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All rows and their thumbnails, `size` at a time, in the order in which they are stored."""
    order = getattr(thumbs, "order", np.arange(len(thumbs)))
    for start in range(0, len(thumbs), size):
        rows = order[start : start + size]
        yield rows, thumbs[rows]


@dataclass(frozen=True)
class Part:
    """The picture `part` shows a window of `whole`: rows, and how well it fits."""

    whole: int
    part: int
    mirrored: bool
    similarity: float


def find(thumbs: Thumbs, pairs: np.ndarray) -> Iterator[Part]:
    """Pairs in which one is a part of the other, whichever.

    Args:
        thumbs: [n, 64, 64] uint8, gray; a few thousand are in memory at a time.
        pairs: [p, 2] int64, rows of pictures to compare.
    """
    guesses = _likely(thumbs, pairs)
    likely = np.flatnonzero(guesses.similarity >= LIKELY)
    for start in range(0, len(likely), PAIRS):
        numbers = likely[start : start + PAIRS]
        known, places = np.unique(pairs[numbers], return_inverse=True)
        shown = thumbs[known]
        for number, both in zip(numbers, places.reshape(-1, 2), strict=True):
            # the whole, then the part
            rows = pairs[number] if guesses.straight[number] else pairs[number][::-1]
            whole, small = shown[both if guesses.straight[number] else both[::-1]]
            mirrored = bool(guesses.mirrored[number])
            window = _edges(int(guesses.window[number]))
            value = _refined(whole, small[:, ::-1] if mirrored else small, window)
            if value >= SAME:
                yield Part(int(rows[0]), int(rows[1]), mirrored, value)


@dataclass(frozen=True, eq=False)
class _Guesses:
    """The best coarse window of each pair, eight bytes a pair: there may be ten million.

    Attributes:
        similarity: [p] float32. window: [p] its number. mirrored: [p] whether the part is.
        straight: [p] whether the first picture is the whole.
    """

    similarity: np.ndarray
    window: np.ndarray
    mirrored: np.ndarray
    straight: np.ndarray


def _likely(thumbs: Thumbs, pairs: np.ndarray) -> _Guesses:
    count = len(pairs)
    best = _Guesses(
        np.full(count, -np.inf, dtype=np.float32),
        np.zeros(count, dtype=np.int16),
        np.zeros(count, dtype=bool),
        np.zeros(count, dtype=bool),
    )
    # each pair in both directions, and windows of a picture once for all it is compared with
    rows = pairs.T.reshape(-1)
    order = np.argsort(rows, kind="stable")
    for start, stop in _blocks(rows[order]):
        _compare(thumbs, pairs, order[start:stop], best)
    return best


def _blocks(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of about `PAIRS` that end where another row [m] begins."""
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    chosen = begins[np.flatnonzero(np.diff(begins // PAIRS, prepend=-1))]
    bounds = [*chosen.tolist(), len(rows)]
    yield from pairwise(bounds)


def _compare(
    thumbs: Thumbs, pairs: np.ndarray, edges: np.ndarray, best: _Guesses
) -> None:
    """Keep what is better: windows of pictures against the others of their pairs.

    Args:
        edges: [m], sorted by picture; below p from the first of a pair to the second, then back.
    """
    numbers, straight = edges % len(pairs), edges < len(pairs)
    rows = np.where(straight, pairs[numbers, 0], pairs[numbers, 1])
    others = np.where(straight, pairs[numbers, 1], pairs[numbers, 0])
    known, places = np.unique(np.stack([rows, others]), return_inverse=True)
    shown = thumbs[known]
    places = places.reshape(2, -1)
    whole = _means(0, SIDE, COARSE)
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    for start, stop in pairwise([*begins.tolist(), len(rows)]):
        here, number = slice(start, stop), numbers[start:stop]
        small = whole @ shown[places[1, here]].astype(np.float32) @ whole.T
        # mirrored ones behind the others
        both = np.concatenate([small, small[:, :, ::-1]])
        fits = (
            _windows(shown[places[0, start]]) @ _normed(both.reshape(len(both), -1)).T
        )
        window = fits.argmax(0)
        value = fits.max(0).reshape(2, -1)
        turned = value[1] > value[0]
        highest = value.max(0)
        better = highest > best.similarity[number]
        number = number[better]
        best.similarity[number] = highest[better]
        best.window[number] = np.where(turned, *window.reshape(2, -1)[::-1])[better]
        best.mirrored[number] = turned[better]
        best.straight[number] = straight[here][better]


def _refined(whole: np.ndarray, small: np.ndarray, start: Sequence[float]) -> float:
    """How well a part fits in the end: edges of a window move, one at a time, while it helps.

    Args:
        whole, small: thumbnails [64, 64] uint8.
    """
    whole = whole.astype(np.float32)
    full = _means(0, SIDE, FINE)
    wanted = _normed((full @ small.astype(np.float32) @ full.T).reshape(-1))
    window = list(start)
    value = _fit(whole, window, wanted)
    for step in STEPS:
        moved = True
        while moved:
            moved = False
            for moves in _moves(window, step):
                better = _fit(whole, moves, wanted)
                # less is noise, and would let it walk for ever
                if better > value + 1e-4:
                    value, window, moved = better, moves, True
        if value < HOPEFUL:
            break
    return value


def _moves(window: list[float], step: float) -> Iterator[list[float]]:
    """The window with one edge moved out or in."""
    for edge, sign in product(range(4), (-1, 1)):
        moved = list(window)
        moved[edge] = min(SIDE, max(0, moved[edge] + sign * step))
        if min(moved[1] - moved[0], moved[3] - moved[2]) >= LEAST:
            yield moved


def _fit(whole: np.ndarray, window: Sequence[float], wanted: np.ndarray) -> float:
    """Correlation of a window of a picture with what is wanted, [576]."""
    top, bottom, left, right = window
    shown = _means(top, bottom, FINE) @ whole @ _means(left, right, FINE).T
    return float(_normed(shown.reshape(-1)) @ wanted)


# edges move in a raster of a few hundred places, which come again for every pair
@lru_cache(maxsize=4096)
def _means(start: float, end: float, points: int) -> np.ndarray:
    """[points, 64] float32: means over equal parts of a stretch of a side."""
    edges = np.linspace(start, end, points + 1)
    pixels = np.arange(SIDE)
    inner = np.minimum(edges[1:, None], pixels + 1)
    overlap = np.clip(inner - np.maximum(edges[:-1, None], pixels), 0, None)
    means: np.ndarray = overlap / overlap.sum(1, keepdims=True)
    return means.astype(np.float32)


def _normed(values: np.ndarray) -> np.ndarray:
    """Without their mean and of length one, so that a product is a correlation."""
    values = values - values.mean(-1, keepdims=True)
    # what is of one gray stays nothing
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    normed: np.ndarray = values / np.maximum(length, 1e-6)
    return normed


def _stretches() -> list[tuple[float, float]]:
    """Where windows begin and end along one side."""
    found = []
    for share in SHARES:
        slack = SIDE * (1 - share)
        for start in np.linspace(0, slack, 1 + int(np.ceil(slack / STEP))):
            found.append((float(start), float(start + SIDE * share)))
    return found


STRETCHES = _stretches()
_MEANS = np.concatenate([_means(start, end, COARSE) for start, end in STRETCHES])


def _windows(thumb: np.ndarray) -> np.ndarray:
    """[1,024, 144] float32 of length one: all windows of a picture in the coarse raster."""
    k = len(STRETCHES)
    # two products give all windows at once, as means along both sides are independent
    means = _MEANS @ thumb.astype(np.float32) @ _MEANS.T
    apart = means.reshape(k, COARSE, k, COARSE).transpose(0, 2, 1, 3)
    return _normed(apart.reshape(k * k, COARSE * COARSE))


def _edges(window: int) -> tuple[float, ...]:
    vertical, horizontal = divmod(int(window), len(STRETCHES))
    return (*STRETCHES[vertical], *STRETCHES[horizontal])
