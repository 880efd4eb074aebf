"""What white is in pictures of more than eight bits.

A file of 16 or 32 bits often holds values of 10, 12 or 14: one such picture alone cannot be
told from a dark one. All pictures of a data set together can: the fewest bits that hold their
values are taken for the range, as cameras and scanners count in bits. Numbers of values are
added up, so that neither the order of pictures nor the number of threads changes the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from labelsieve.errors import ImageError
from labelsieve.progress import counted

UNIT = 1  # white of floats between 0 and 1
BYTE = 255
SIXTEEN = 65_535
MOST_BITS = 32
# One value in so many may lie above white: single hot pixels of a sensor must not make all
# pictures dark. Zeros do not count, for a dark background says nothing of the range.
ONE_IN = 1_000
COLOUR = "16-bit colour"  # of which Pillow gives eight bits
ABOVE_BYTE = [2**bits - 1 for bits in range(9, MOST_BITS + 1)]
WHITES = [BYTE, *ABOVE_BYTE]  # what integers can have for white
FLOAT_WHITES = [UNIT, *WHITES]
# Floats may overshoot by what resizing adds: up to twice of [0, 1] and of 0..255.
FLOAT_EDGES = [2 * UNIT, 2 * BYTE, *ABOVE_BYTE]


class Extent(NamedTuple):
    """How far the values of one picture reach."""

    kind: (
        str  # numbers of one kind share a range: "uint16", "int32", "float32", `COLOUR`
    )
    white: int  # what was taken for white when the picture was looked at alone
    above: tuple[
        int, ...
    ]  # how many values are above zero, and above each possible white

    def to_json(self) -> str:
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> Extent:
        kind, white, above = json.loads(text)
        return cls(str(kind), int(white), tuple(map(int, above)))


def extent_of(parts: Iterable[np.ndarray]) -> Extent:
    """Of the values of one picture, given in parts of any shape and one numeric type.

    Raises:
        ImageError: values far below zero: normalised for a model, no picture any more.
    """
    lows, highs, counts = [], [], []
    for values in parts:
        dtype = values.dtype
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        edges = FLOAT_EDGES if dtype.kind == "f" else WHITES
        counts.append(_count_above(values, [0, *edges]))
    low, high = min(lows), max(highs)
    if low < -0.1 * max(1, high):
        raise ImageError(
            f"values from {low:.3g} to {high:.3g}: give pictures before normalisation"
        )
    return Extent(dtype.name, _white_alone(dtype, high), _sum(counts))


def extent_of_high_bytes(parts: Iterable[np.ndarray]) -> Extent:
    """Of 16-bit values of which only the upper eight bits are there, uint8 in parts."""
    # v > 2**b - 1 is the same as v // 256 > 2**(b - 8) - 1 from eight bits on
    edges = [2**bits - 1 for bits in range(8)]
    counts = []
    for high in parts:
        counts.append((high.size, *_count_above(high, edges)))
    return Extent(COLOUR, SIXTEEN, _sum(counts))


def _count_above(values: np.ndarray, edges: list[int]) -> tuple[int, ...]:
    """How many values lie above each edge, up to the first edge that none is above."""
    counts = []
    for edge in edges:
        counts.append(int(np.count_nonzero(values > edge)))
        if not counts[-1]:
            break
    return tuple(counts)


def _sum(rows: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Sums by position; shorter rows end in zeros."""
    total = [0] * max(map(len, rows))
    for row in rows:
        for at, count in enumerate(row):
            total[at] += count
    return tuple(total)


def _white_alone(dtype: np.dtype, high: float) -> int:
    """White for a picture of which no other is known: 16 bits count as full however dark it is."""
    if dtype.kind == "f" and high <= 2 * UNIT:
        return UNIT
    sixteen = dtype.kind == "u" and dtype.itemsize == 2
    return SIXTEEN if sixteen or high > 2 * BYTE else BYTE


def white_of(extent: Extent) -> int:
    """The least white that all but one in `ONE_IN` of the values are below."""
    whites = FLOAT_WHITES if extent.kind.startswith("float") else WHITES
    some, *above = extent.above
    for white, count in zip(whites, above, strict=False):
        if count * ONE_IN <= some:
            return white
    return whites[min(len(above), len(whites) - 1)] if above else whites[0]


def to_uint8(values: np.ndarray, white: int) -> np.ndarray:
    """Values -> uint8 with `white` as 255; what is brighter is clipped."""
    # these two are not 255 / white in the last bit
    scale = {UNIT: 255.0, SIXTEEN: 1 / 257}.get(white, 255 / white)
    return np.clip(values * scale, 0, 255).round().astype(np.uint8)


@dataclass
class Range:
    """The ranges of a data set, added up picture by picture."""

    _above: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _alone: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, extent: Extent) -> None:
        """Count one picture."""
        parts = [extent.above, self._above.get(extent.kind, ())]
        self._above[extent.kind] = _sum(parts)
        alone = self._alone.setdefault(extent.kind, {})
        alone[extent.white] = alone.get(extent.white, 0) + 1

    def white(self, kind: str) -> int:
        """White of one kind of numbers."""
        return white_of(Extent(kind, 0, self._above[kind]))

    def changed(self) -> Mapping[str, int]:
        """Kind -> white, where it is another one than a picture alone would have."""
        return {k: self.white(k) for k in sorted(self._above) if self._differs(k)}

    def _differs(self, kind: str) -> bool:
        return set(self._alone[kind]) != {self.white(kind)}

    def notes(self) -> list[str]:
        """What a person should know of, a clause each."""
        notes = []
        for kind, white in self.changed().items():
            count = sum(self._alone[kind].values())
            bits = (
                f"{white.bit_length()}-bit values"
                if white > UNIT
                else "values in [0, 1]"
            )
            notes.append(
                f"{counted(count, 'picture')} ({kind}) with {bits}: {white} is taken for white"
            )
        return notes
