"""Features of the frozen towers, computed once and kept: what every method that learns no prompts works on.

Image features are one `.npy` file per (contents, weights, preprocessing, precision) in the cache folder, float32 where
the tower computes in float32 and float16 elsewhere. The file is filled in place; rows that are there have length one, so
a computation that was killed goes on where rows are missing. Deleting the folder is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.cache import cache_folder, cache_limit
from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.dataset import Dataset
from labelsieve.errors import DataError
from labelsieve.models.encoder import DualEncoder

BATCH = 256
BLOCK = 65_536  # rows that are brought to float32 at once


def weights_fingerprint(encoder: DualEncoder) -> str:
    """Sixteen hex digits of every number that the towers compute with, and of their device and precision."""
    digest = hashlib.sha256(f"{encoder.device.type} {encoder.dtype}".encode())
    module: nn.Module = getattr(encoder, "model", encoder.image_tower)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
        )
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class View:
    """An augmented look at every picture: random crop and mirror, decided by seed and number."""

    seed: int
    number: int


def image_features(
    images: Dataset, encoder: DualEncoder, view: View | None = None
) -> np.ndarray:
    """[n, d] of length one, mapped from the cache; computed first where it is not there.

    Args:
        view: augmented pictures; None takes them as they are.

    Raises:
        DataError: the cache is too small for them.
    """
    return np.load(image_features_file(images, encoder, view), mmap_mode="c")


def image_features_file(
    images: Dataset, encoder: DualEncoder, view: View | None = None
) -> Path:
    """The file of the cache that holds them, computed first where it is not there."""
    path = _place(images, encoder, view)
    if not path.exists():
        _fill(path, images, encoder, view)
    return path


def some_features(
    images: Dataset, encoder: DualEncoder, rows: np.ndarray
) -> np.ndarray:
    """[m, d] float32 of length one, of the rows [m] alone where they are few: what is not in the cache is computed and kept.

    They are computed once more among all others, so that the file of all never depends on who asked for some before.
    """
    path = _place(images, encoder, None)
    if path.exists() or 2 * len(rows) > len(images):
        return np.asarray(image_features(images, encoder)[rows], dtype=np.float32)
    kept = _partial(path, images, encoder, None)
    missing = rows[~_complete(kept[rows])]
    with progress.bar(
        "Computing features", len(rows), len(rows) - len(missing)
    ) as shown:
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            kept[part] = _embed(images, encoder, part, None)
            shown.advance(len(part))
    return np.asarray(kept[rows], dtype=np.float32)


def _place(images: Dataset, encoder: DualEncoder, view: View | None) -> Path:
    kind = (
        images.content,
        weights_fingerprint(encoder),
        images.preprocess.to_json(),
        repr(view),
    )
    path = (
        cache_folder()
        / "features"
        / f"{hashlib.sha256(repr(kind).encode()).hexdigest()[:24]}.npy"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _partial(
    path: Path, images: Dataset, encoder: DualEncoder, view: View | None
) -> np.memmap[Any, Any]:
    """The file [n, d] that is filled in place until it is whole."""
    first = _embed(images, encoder, np.zeros(1, dtype=np.int64), view)
    dtype = np.float32 if encoder.dtype == torch.float32 else np.float16
    shape = (len(images), first.shape[1])
    if shape[0] * shape[1] * np.dtype(dtype).itemsize > cache_limit():
        raise DataError(
            f"The features of {shape[0]:,} images do not fit into the cache '{cache_folder()}'.",
            "Set LABELSIEVE_CACHE to a folder on a larger disk, or raise LABELSIEVE_CACHE_GB.",
        )
    return _open(_scratch(path), dtype, shape)


def _fill(path: Path, images: Dataset, encoder: DualEncoder, view: View | None) -> None:
    kept = _partial(path, images, encoder, view)
    missing = np.unique(
        np.flatnonzero(~_complete(kept)) // BATCH
    )  # whole batches: sums depend on what is in them
    with progress.bar(
        "Computing features",
        len(images),
        len(images) - min(len(missing) * BATCH, len(images)),
    ) as shown:
        for batch in missing:
            rows = np.arange(batch * BATCH, min((batch + 1) * BATCH, len(images)))
            kept[rows] = _embed(images, encoder, rows, view)
            shown.advance(len(rows))
    kept.flush()
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        _scratch(path).replace(path)


def _open(scratch: Path, dtype: Any, shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """What an earlier, interrupted computation left, or a new file of zeros."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        found = np.lib.format.open_memmap(scratch, mode="r+")
        if found.shape == shape and found.dtype == dtype:
            return found
    return np.lib.format.open_memmap(scratch, mode="w+", dtype=dtype, shape=shape)


def _complete(kept: np.ndarray) -> np.ndarray:
    """[n] bool: rows of length one; a row half-written has not."""
    parts = [np.linalg.norm(part.astype(np.float32), axis=1) for part in _blocks(kept)]
    return np.abs(np.concatenate(parts) - 1) < 5e-3


def _blocks(features: np.ndarray) -> list[np.ndarray]:
    return [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]


@torch.no_grad()
def _embed(
    images: Dataset, encoder: DualEncoder, rows: np.ndarray, view: View | None
) -> np.ndarray:
    pixels = encoder.normalise(images.inputs(rows))
    if view is not None:
        pixels = torch.cat(
            [
                _look(p, int(row), view)
                for p, row in zip(pixels.split(1), rows, strict=True)
            ]
        )
    return encoder.image_features(pixels).cpu().numpy()


def _look(pixels: Tensor, row: int, view: View) -> Tensor:
    """One picture's own crop, the same however the rows are batched."""
    seed = int(
        np.random.SeedSequence([view.seed, view.number, row]).generate_state(
            1, np.uint64
        )[0]
        >> 1
    )
    return crop_and_mirror(pixels, torch.Generator().manual_seed(seed))
