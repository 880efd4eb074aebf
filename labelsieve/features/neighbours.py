"""The nearest other images of every image, and how their labels vote.

Exactly up to `EXACT` images. Beyond, where the extra `neighbours` is installed, by an inverted file
of faiss (Jégou, Douze, Schmid, "Product quantization for nearest neighbor search", 2011, section
IV): only the groups of images around each one are searched, and what that misses is measured.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch

from labelsieve import progress, registry
from labelsieve.errors import DataError

EXACT = 100_000  # images up to which every pair is compared, whatever is installed
MOST = 300_000  # images without faiss; the time grows with their square
GROUPS = 4  # times the square root of the number of images, as faiss's authors advise
PROBES = 48  # groups that are searched around each image
TRAIN_ON = 64  # images per group that its middle is the mean of
BLOCK = 16_384  # images that are added or looked up at once
CHECKED = 500  # images whose neighbours are also sought exactly, for the recall
CELLS = 16_000_000  # cosines that are held at once: 64 MB


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, m] int64 of the m nearest others, nearest first, and their cosines [n, m] float32.

    Args:
        features: [n, d] of length one.
        count: m, which is cut to n - 1.

    Raises:
        DataError: more than `MOST` images without faiss: every pair is compared.
    """
    n = len(features)
    if n > EXACT and can_approximate():
        return approximate(features, count)
    if n > MOST:
        raise DataError(
            f"Nearest neighbours of {n:,} images would compare {n * n:.1e} pairs; "
            f"the limit is {MOST:,} images.",
            "pip install 'labelsieve[neighbours]' looks for them approximately; or take a "
            "method without neighbours (see: labelsieve methods).",
        )
    return _exact(features, np.arange(n), count)


def can_approximate() -> bool:
    """Whether the library for many images is installed."""
    return importlib.util.find_spec("faiss") is not None


def approximate(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, of the groups around each image alone; tells the recall.

    The index keeps features as float16: 1 GB for a million of 512 numbers.
    """
    faiss = registry.need("faiss")
    n, width = features.shape
    m = max(1, min(count, n - 1))
    groups = int(GROUPS * n**0.5)
    flat = faiss.IndexFlatIP(width)
    kind = faiss.ScalarQuantizer.QT_fp16
    metric = faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexIVFScalarQuantizer(flat, width, groups, kind, metric)
    # evenly spaced: rows are in the order of their contents' hashes
    sample = features[:: max(1, n // (TRAIN_ON * groups))]
    index.train(np.asarray(sample, dtype=np.float32))
    for start in range(0, n, BLOCK):
        index.add(np.asarray(features[start : start + BLOCK], dtype=np.float32))
    index.nprobe = PROBES
    rows = np.empty((n, m), dtype=np.int64)
    values = np.empty((n, m), dtype=np.float32)
    for start in range(0, n, BLOCK):
        part = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        # one more than wanted: an image meets itself
        cosines, found = index.search(part, m + 1)
        own = np.arange(start, start + len(part))
        chosen = _without(found, own)
        rows[start : start + len(part)] = np.take_along_axis(found, chosen, 1)
        values[start : start + len(part)] = np.take_along_axis(cosines, chosen, 1)
    # too few in the groups around an image: the nearest again
    rows = np.where(rows < 0, rows[:, :1], rows)
    _tell_recall(features, rows)
    return rows, values


def _without(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Columns [b, m] of the neighbours [b, m + 1] that are not the images [b] themselves."""
    itself = found == own[:, None]
    # twins may come before it; where it is missing the last one is left out
    itself[~itself.any(1), -1] = True
    return np.argsort(itself, axis=1, kind="stable")[:, :-1]


def _tell_recall(features: np.ndarray, rows: np.ndarray) -> None:
    checked = np.linspace(0, len(features) - 1, CHECKED).astype(np.int64)
    exact = _exact_of_few(features, checked, rows.shape[1])
    hits = [
        len(np.intersect1d(a, b)) for a, b in zip(rows[checked], exact, strict=True)
    ]
    share = sum(hits) / exact.size
    progress.note(f"Nearest neighbours are approximate: {share:.1%} of them are found.")


def _exact_of_few(features: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """Rows [m, count] of the nearest others of some rows [m]; features pass by in blocks."""
    asking = np.asarray(features[chosen], dtype=np.float32)
    best = np.full((len(chosen), count), -np.inf, dtype=np.float32)
    rows = np.zeros((len(chosen), count), dtype=np.int64)
    for start in range(0, len(features), BLOCK):
        block = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        cosines = asking @ block.T
        own = (chosen >= start) & (chosen < start + len(block))
        cosines[own, chosen[own] - start] = -np.inf
        numbers = np.broadcast_to(np.arange(start, start + len(block)), cosines.shape)
        # the best so far against those of the block
        cosines = np.concatenate([best, cosines], axis=1)
        order = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        best = np.take_along_axis(cosines, order, 1)
        rows = np.take_along_axis(np.concatenate([rows, numbers], 1), order, 1)
    return rows


def _exact(
    features: np.ndarray, chosen: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, for some rows [m]."""
    n = len(features)
    # a copy: torch.from_numpy warns about arrays that are mapped read-only
    inputs = torch.from_numpy(np.array(features, dtype=np.float32))
    indices = []
    values = []
    for rows in torch.from_numpy(chosen).split(max(1, CELLS // n)):
        cosines = inputs[rows] @ inputs.T
        # an image is not its own neighbour
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        top = cosines.topk(max(1, min(count, n - 1)))
        indices.append(top.indices.numpy())
        values.append(top.values.numpy())
    return np.concatenate(indices), np.concatenate(values)


def votes(
    rows: np.ndarray, weights: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """[n, k] sum of the weights [n, m] of the neighbours `rows` [n, m] of each class."""
    n, m = rows.shape
    # one bincount over the cells of [n, k] is much faster than np.add.at
    cells = np.repeat(np.arange(n) * classes, m) + labels[rows].reshape(-1)
    return np.bincount(cells, weights.reshape(-1), n * classes).reshape(n, classes)


def set_votes(rows: np.ndarray, weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[n, k] as `votes`, where each neighbour votes for all classes of its set [n, k] bool."""
    total = np.zeros(given.shape)
    # neighbour by neighbour: all at once would be an array [n, m, k]
    for place in range(rows.shape[1]):
        total += weights[:, place, None] * given[rows[:, place]]
    return total
