"""Whether one picture is a part of another one, as it is or mirrored.

A window of the larger picture is compared with the whole smaller one by the correlation of
their gray values. 1,024 windows are looked through in a coarse raster, then the edges of the best
one are moved as long as it fits better. Among photos of clothes the right window of a crop
correlates with .982 or more, the best one of two different pictures with .971 or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

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


@dataclass(frozen=True)
class Part:
    """The picture `part` shows a window of `whole`: rows, and how well it fits."""

    whole: int
    part: int
    mirrored: bool
    similarity: float


def find(thumbs: np.ndarray, pairs: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """Pairs in which one is a part of the other, whichever.

    Args:
        thumbs: [n, 64, 64] uint8, gray.
        pairs: rows of pictures to compare.
    """
    # windows of a picture are made once for all that it is compared with
    partners: dict[int, list[int]] = {}
    for first, second in pairs:
        partners.setdefault(first, []).append(second)
        partners.setdefault(second, []).append(first)
    best = _likely(thumbs, partners)
    for first, second in pairs:
        guess = best.get((min(first, second), max(first, second)))
        if guess is not None:
            part = _refined(thumbs, guess)
            if part.similarity >= SAME:
                yield part


@dataclass(frozen=True)
class _Guess:
    whole: int
    part: int
    mirrored: bool
    window: tuple[float, ...]  # top, bottom, left, right in pixels of the whole
    similarity: float


def _likely(
    thumbs: np.ndarray, partners: Mapping[int, list[int]]
) -> dict[tuple[int, int], _Guess]:
    """The best window of each pair that correlates well, by rows in ascending order."""
    whole = _means(0, SIDE, COARSE)
    best: dict[tuple[int, int], _Guess] = {}
    for row, others in partners.items():
        small = whole @ thumbs[others].astype(np.float32) @ whole.T
        # mirrored ones behind the others
        both = np.concatenate([small, small[:, :, ::-1]])
        fits = _windows(thumbs[row]) @ _normed(both.reshape(len(both), -1)).T
        for place, window in enumerate(fits.argmax(0)):
            other = others[place % len(others)]
            value = float(fits[window, place])
            pair = (min(row, other), max(row, other))
            if value >= LIKELY and (pair not in best or value > best[pair].similarity):
                mirrored = place >= len(others)
                best[pair] = _Guess(row, other, mirrored, _edges(window), value)
    return best


def _refined(thumbs: np.ndarray, guess: _Guess) -> Part:
    """Move the edges of a window, one at a time, as long as the part fits better."""
    whole = thumbs[guess.whole].astype(np.float32)
    small = thumbs[guess.part].astype(np.float32)
    if guess.mirrored:
        small = small[:, ::-1]
    full = _means(0, SIDE, FINE)
    wanted = _normed((full @ small @ full.T).reshape(-1))
    window = list(guess.window)
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
    return Part(guess.whole, guess.part, guess.mirrored, value)


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
