"""What a method sees of the data: images with their given labels, and nothing of the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from labelsieve.data.images import (
    DECODING,
    Preprocess,
)
from labelsieve.data.pixel_cache import PixelCache
from labelsieve.errors import DataError, unknown
from labelsieve.tables import (
    SCORED,
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images a method works on, with their given labels; rows are ordered by content, so file order changes nothing.

    Row numbers are for use inside one method; outside, an image is known by its id.
    """

    ids: pa.Array  # [n] sample ids
    labels: np.ndarray  # [n] int64, the given labels as class numbers
    classes: tuple[str, ...]  # labels, as in the data
    names: tuple[str, ...]  # the same classes as they are written into prompts
    template: str  # of a plain prompt, e.g. "a photo of a {}."
    preprocess: Preprocess
    cache: PixelCache
    slots: np.ndarray  # [n] int64, rows of the pixel cache
    fingerprint: str  # of contents and labels
    content: str  # of contents alone

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, rows: np.ndarray) -> Tensor:
        """uint8 [b, 3, height, width] of the given rows."""
        return torch.from_numpy(self.cache.read(self.slots[rows])).permute(0, 3, 1, 2)


def labelled_images(
    manifest: pa.Table,
    names: dict[str, str],
    template: str,
    preprocess: Preprocess,
    cache: PixelCache,
) -> Dataset:
    """What a method sees of a manifest: rows that can be scored, with the classes that occur.

    Args:
        names: label -> how it is written into prompts; labels that are not in it are written by `prompt_name`.

    Raises:
        DataError: fewer than two classes.
    """
    usable = _usable(manifest, ["given_label"])
    classes = sorted(pc.unique(usable["given_label"]).to_pylist())
    if len(classes) < 2:
        raise DataError(
            f"There is only one class, '{classes[0]}'.",
            "Wrong labels can be found among two or more classes.",
        )
    return with_classes(
        manifest,
        classes,
        [names.get(c) or prompt_name(c) for c in classes],
        template,
        preprocess,
        cache,
    )


def with_classes(
    manifest: pa.Table,
    classes: Sequence[str],
    names: Sequence[str],
    template: str,
    preprocess: Preprocess,
    cache: PixelCache,
) -> Dataset:
    """As `labelled_images`, with the classes given.

    Raises:
        DataError: a label that is none of them.
    """
    usable = _usable(manifest, ["sample_id", "given_label", "content_hash", "slot"])
    numbers = pc.index_in(usable["given_label"], pa.array(classes, pa.string()))
    if numbers.null_count:
        stranger = usable.filter(pc.is_null(numbers))["given_label"][0].as_py()
        raise DataError(
            unknown("Label", stranger, classes),
            "The detector knows only the classes it was trained on.",
        )
    labels = numbers.to_numpy().astype(np.int64)
    contents = hashlib.sha256(f"decoding {DECODING}".encode())
    for batch in usable.select(["content_hash"]).to_batches(max_chunksize=65_536):
        contents.update(
            "".join(f"\n{digest}" for digest in batch[0].to_pylist()).encode()
        )
    both = contents.copy()
    both.update(labels.tobytes() + repr(list(classes)).encode())
    return Dataset(
        ids=usable["sample_id"].combine_chunks(),
        labels=labels,
        classes=tuple(classes),
        names=tuple(names),
        template=template,
        preprocess=preprocess,
        cache=cache,
        slots=usable["slot"].to_numpy(),
        fingerprint=both.hexdigest()[:16],
        content=contents.hexdigest()[:16],
    )


def _usable(manifest: pa.Table, columns: list[str]) -> pa.Table:
    """Some columns of the rows that can be scored."""
    return manifest.select(columns).filter(
        pc.is_in(manifest["status"], pa.array(SCORED))
    )


def prompt_name(label: str) -> str:
    """A label as it is written into prompts: underscores become spaces."""
    return " ".join(label.replace("_", " ").split()) or label
