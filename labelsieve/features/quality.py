"""What a picture shows of itself: its size, light, sharpness, and a thumbnail to compare it by.

Every picture is looked at once, at most `SIDE` pixels wide and high, and what is measured lies
in the cache. What counts as dark, washed out or of an odd shape follows CleanVision (Cleanlab,
2022); sharpness is the perceptual blur metric of Crété-Roffet et al. (2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from scipy.ndimage import uniform_filter1d

from labelsieve.cache import (
    OTHER_PLACE,
    cache_folder,
    key_of,
    read_array,
    write_array,
)
from labelsieve.data.batches import Job, computed
from labelsieve.data.images import from_object, open_image, preview, read_bytes
from labelsieve.data.sources import Source
from labelsieve.data.sources._groups import storage_order
from labelsieve.errors import DataError, ImageError

# Raised when the same pictures give other numbers than before.
VERSION = 1
SIDE = 256  # pixels; a person sees at this size whether a picture is dark or blurred
THUMB = 64  # side of the gray thumbnail, pixels
PART = 4_096  # pictures per file of the cache: what was measured before a Ctrl-C stays
WORKERS = 8  # decoding leaves Python's lock, arithmetic on small arrays does not
WINDOW = 11  # pixels that the blur metric blurs again, as its authors do
MEASURES = ("width", "height", "bright", "floor", "blur", "entropy")
NUMBERS = 4 * len(MEASURES)  # bytes of float32
PACKED = NUMBERS + THUMB**2  # bytes of one picture: float32 and grays
# Of what is outside of these a person would say so; CleanVision's bounds where it has some.
DARK = 0.32  # 99 % of the picture is darker than this share of white
WASHED_OUT = 0.95  # 95 % of the picture is lighter
PLAIN = 0.15  # share of the entropy that 256 equally frequent grays have
BLURRED = 0.45
SHAPE = 0.35  # short side by long side
SIZE = 4.0  # times the median side, or its fraction
SMALLEST = 64  # pixels; a smaller picture is neither sharp nor blurred
# A finding on more pictures than this is what the data are like, and nothing to point at.
USUAL = 0.2
# Tukey's fence for what is far out, in interquartile ranges above the third quartile.
FAR_OUT = 3.0


class Thumbs:
    """Gray thumbnails [n, 64, 64] uint8 in the files of the cache, 4 GB a million.

    What is asked for is copied out, and no file stays open.

    Attributes:
        order: [n] int64, rows in the order in which they lie in the files.
    """

    def __init__(self, paths: list[Path], order: np.ndarray) -> None:
        self.order = order
        self._paths = paths
        self._places = np.argsort(order)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, rows: np.ndarray | slice, /) -> np.ndarray:
        """Those of some rows [m]; raises DataError where a file was removed meanwhile."""
        if isinstance(rows, slice):
            rows = np.arange(len(self))[rows]
        found = np.empty((len(rows), THUMB, THUMB), dtype=np.uint8)
        places = self._places[rows]
        parts = places // PART
        for part in np.unique(parts).tolist():
            inside = parts == part
            values = _part(self._paths[part])[places[inside] - part * PART, NUMBERS:]
            found[inside] = values.reshape(-1, THUMB, THUMB)
        return found


def measure(
    source: Source,
    uris: pa.ChunkedArray,
    hashes: pa.ChunkedArray,
    ids: pa.ChunkedArray | None = None,
) -> tuple[np.ndarray, Thumbs]:
    """Look at pictures, or read from the cache what was seen before.

    Args:
        uris: [n] where the source finds them.
        hashes: [n] of their contents, which name them in the cache.
        ids: [n] of the samples, so that others can look at them; None: they are looked at here.

    Returns:
        [n, 6] float32 in the order of `MEASURES`, NaN where a picture cannot be read, and
        thumbnails [n, 64, 64] uint8, gray, without their shape, which stay in their files.
    """
    # by content, as rows of a manifest are, each picture would be in another place of the data
    order = storage_order(uris)
    uris, hashes = uris.take(pa.array(order)), hashes.take(pa.array(order))
    ids = ids.take(pa.array(order)) if ids is not None else None
    paths = {}
    for start in range(0, len(uris), PART):
        key = key_of(VERSION, hashes.slice(start, PART).to_pylist())
        paths[start] = cache_folder() / "looks" / f"{key}.npy"
    _fill(source, uris, paths, ids)
    # from the files, so that the first run works on the same bytes as the next one
    numbers = np.empty((len(uris), len(MEASURES)), dtype=np.float32)
    for start, path in paths.items():
        if read_array(path) is None:
            raise DataError(f"'{path}' cannot be read back.", OTHER_PLACE)
        packed = np.ascontiguousarray(_part(path)[:, :NUMBERS])
        numbers[order[start : start + PART]] = packed.view(np.float32)
    return numbers, Thumbs(list(paths.values()), order)


def _part(path: Path) -> np.ndarray:
    """What was seen of one part, mapped; its bytes were checked when it was made or found."""
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read back.", OTHER_PLACE) from error
    return values


def _fill(
    source: Source,
    uris: pa.ChunkedArray,
    paths: Mapping[int, Path],
    ids: pa.ChunkedArray | None,
) -> None:
    """Look at the parts that the cache has no file of.

    Args:
        paths: by the first row of each part.
    """
    missing = [start for start, path in paths.items() if read_array(path) is None]
    if not missing:
        return
    rows = [start + np.arange(min(PART, len(uris) - start)) for start in missing]
    waiting: dict[int, _Waiting] = {}
    job = Job("looks", f"looks-{VERSION}", ids) if ids is not None else None
    for part, values in computed(
        np.concatenate(rows),
        PART,
        "Looking at pictures",
        lambda part: look_at(source, uris.take(pa.array(part)).to_pylist()),
        job,
    ):
        # what comes at once may belong to two parts
        for start in np.unique(part // PART * PART).tolist():
            # parts that nobody has begun with take no memory
            if start not in waiting:
                waiting[start] = _Waiting(min(PART, len(uris) - start))
            inside = part // PART * PART == start
            if waiting[start].take(part[inside] - start, values[inside]):
                write_array(paths[start], waiting.pop(start).seen)


class _Waiting:
    """A part of which some is still to come."""

    def __init__(self, size: int) -> None:
        self.seen = np.zeros((size, PACKED), dtype=np.uint8)
        self._left = size

    def take(self, places: np.ndarray, values: np.ndarray) -> bool:
        """Put values [m, PACKED] in their places [m]; whether the part is whole now."""
        self.seen[places] = values
        self._left -= len(places)
        return self._left == 0


def look_at(source: Source, uris: list[str]) -> np.ndarray:
    """What is seen of some pictures, uint8 [m, PACKED]."""
    return np.stack(list(_look_at_all(source, uris)))


def nothing_seen() -> np.ndarray:
    """What stands for a picture that cannot be read, uint8 [PACKED]."""
    nothing = np.full(len(MEASURES), np.nan, dtype=np.float32)
    return np.concatenate([nothing.view(np.uint8), np.zeros(THUMB**2, np.uint8)])


def _look_at_all(source: Source, uris: list[str]) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(WORKERS) as pool:
        # in the order of the rows, whichever is done first
        yield from pool.map(lambda uri: _packed(source, uri), uris)


def _packed(source: Source, uri: str) -> np.ndarray:
    """Numbers and thumbnail of one picture as bytes [24 + 4,096], one row of a file."""
    try:
        picture, size = _small(source.read(uri))
    except ImageError:
        return nothing_seen()
    gray = picture.convert("L")
    numbers = np.array([*size, *looks(np.asarray(gray))], dtype=np.float32)
    # bilinear: means over pixels that overlap, so that another size gives the same thumbnail
    thumb = gray.resize((THUMB, THUMB), Image.Resampling.BILINEAR)
    return np.concatenate([numbers.view(np.uint8), np.asarray(thumb).reshape(-1)])


def _small(item: Any) -> tuple[Image.Image, tuple[int, int]]:
    """A picture at most `SIDE` pixels wide and high, and its own width and height."""
    if isinstance(item, bytes | str | Path):
        data = read_bytes(item)
        picture = preview(data, SIDE)
        # of the header alone; nothing is decoded a second time
        with open_image(data) as header:
            return picture, header.size
    picture = from_object(item)
    size = picture.size
    picture.thumbnail((SIDE, SIDE))
    return picture, size


def looks(gray: np.ndarray) -> tuple[float, float, float, float]:
    """Brightness of the lightest and of the darkest parts, blur, and entropy, all in 0..1.

    Args:
        gray: uint8 [h, w], luminance.
    """
    floor, bright = np.percentile(gray, (5, 99)) / 255
    counts = np.bincount(gray.reshape(-1), minlength=256)
    shares = counts[counts > 0] / gray.size
    # eight bits are the most that 256 values can carry
    entropy = float(-(shares * np.log2(shares)).sum() / 8)
    return float(bright), float(floor), blur(gray), entropy


def blur(gray: np.ndarray) -> float:
    """0 for sharp, 1 for blurred: how little of its own detail another blur takes away.

    Crété-Roffet et al., "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric", 2007: differences of neighbours before and after a box filter,
    along each axis; the larger of both counts, as motion blurs one of them alone.
    """
    values = gray.astype(np.float32)
    worst = 0.0
    for axis in (0, 1):
        if gray.shape[axis] < 2:
            continue
        again = uniform_filter1d(values, WINDOW, axis=axis, mode="nearest")
        before = np.abs(np.diff(values, axis=axis))
        lost = np.maximum(0, before - np.abs(np.diff(again, axis=axis))).sum()
        total = float(before.sum())
        # a picture of one colour has no detail to lose
        if total > 0:
            worst = max(worst, 1 - float(lost) / total)
    return worst


def findings(numbers: np.ndarray, isolation: np.ndarray) -> dict[str, np.ndarray]:
    """Which pictures are dark, washed out, blurred, plain, of odd size or shape, or outliers.

    Args:
        numbers: [n, 6] of `measure`.
        isolation: [n] 1 - mean cosine to the nearest others; NaN where it is not known.

    Returns:
        [n] bool by name. A finding that most pictures share is none: it is what they are like.
    """
    width, height, bright, floor, blurred, entropy = numbers.T
    small = np.minimum(width, height)
    side = np.sqrt(width * height)
    typical = float(np.nanmedian(side)) if np.isfinite(side).any() else 1.0
    found = {
        "dark": bright < DARK,
        "washed_out": floor > WASHED_OUT,
        "blurred": (blurred > BLURRED) & (small >= SMALLEST),
        "plain": entropy < PLAIN,
        "odd_size": (side > SIZE * typical) | (side < typical / SIZE),
        "odd_shape": small < SHAPE * np.maximum(width, height),
        "outlier": isolation > fence(isolation),
    }
    for name, rows in found.items():
        if rows.sum() > USUAL * len(rows):
            found[name] = np.zeros(len(rows), dtype=bool)
    return found


def fence(values: np.ndarray) -> float:
    """What lies above is far out: the third quartile and three interquartile ranges."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.inf
    low, high = np.percentile(known, (25, 75))
    return float(high + FAR_OUT * (high - low))
