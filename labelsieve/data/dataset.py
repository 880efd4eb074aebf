"""What a method sees of the data: images with their given labels, and nothing of the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from labelsieve.data.manifest import Manifest, read
from labelsieve.data.modalities import Items, open_items
from labelsieve.data.sources import Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.tables import SCORED, UNLABELLED


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
    items: Items  # where they are stored, as the encoder wants them
    slots: np.ndarray  # [n] int64, where in it
    fingerprint: str  # of contents and labels
    content: str  # of contents alone

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def preprocess(self) -> Any:
        """How the items were prepared, as the encoder asked for it."""
        return self.items.preprocess

    def inputs(self, rows: np.ndarray) -> Tensor:
        """What the encoder's `normalise` takes, of rows [b]; of images uint8 [b, 3, height, width]."""
        return self.items.inputs(self.slots[rows])


@dataclass(frozen=True)
class Prepared:
    """A data set that was read: every row of it, and what methods see of it."""

    manifest: Manifest
    dataset: Dataset


def prepare(
    spec: DataSpec,
    preprocess: Any,
    *,
    source: Source | None = None,
    classes: Sequence[str] | None = None,
    keep: pa.Array | None = None,
) -> Prepared:
    """Open the cache, read the data, name the classes.

    Args:
        source: the spec's, where it is open already.
        classes: those that a detector or classifier knows, in its order; None takes the
            classes that occur, sorted.
        keep: [m] sample ids that the data set is made of; None keeps all that can be used.

    Raises:
        DataError: nothing usable, a label that is none of `classes`, or fewer than two classes.
    """
    source = open_source(spec) if source is None else source
    items = open_items(source, preprocess)
    manifest = read(
        source,
        items,
        want_truth=spec.truth_column is not None,
        need_labels=spec.labelled,
    )
    table = manifest.table
    if keep is not None:
        table = table.filter(pc.is_in(table["sample_id"], keep))
    return Prepared(manifest, from_manifest(table, spec, items, classes))


def from_manifest(
    manifest: pa.Table,
    spec: DataSpec,
    items: Items,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """What a method sees of a manifest: the rows that can be used.

    Args:
        spec: how classes are written into prompts, and whether labels matter.
        classes: as in `prepare`.

    Raises:
        DataError: fewer than two classes occur and none were given, or a label is none of them.
    """
    states = SCORED if spec.labelled else (*SCORED, UNLABELLED)
    usable = manifest.filter(pc.is_in(manifest["status"], pa.array(states)))
    if not spec.labelled:
        classes, labels = (), np.full(len(usable), -1, dtype=np.int64)
    else:
        classes = _occurring(usable) if classes is None else tuple(classes)
        labels = _numbers(usable, classes)
    contents = hashlib.sha256(items.version.encode())
    for batch in usable.select(["content_hash"]).to_batches(max_chunksize=65_536):
        digests = "".join(f"\n{digest}" for digest in batch[0].to_pylist())
        contents.update(digests.encode())
    both = contents.copy()
    both.update(labels.tobytes() + repr(list(classes)).encode())
    return Dataset(
        ids=usable["sample_id"].combine_chunks(),
        labels=labels,
        classes=tuple(classes),
        names=tuple(spec.class_names.get(c) or prompt_name(c) for c in classes),
        template=spec.template,
        items=items,
        slots=usable["slot"].to_numpy(),
        fingerprint=both.hexdigest()[:16],
        content=contents.hexdigest()[:16],
    )


def _occurring(usable: pa.Table) -> tuple[str, ...]:
    """The classes that occur, sorted, so that the order of rows changes nothing."""
    classes = sorted(pc.unique(usable["given_label"]).to_pylist())
    if len(classes) < 2:
        raise DataError(
            f"There is only one class, '{classes[0]}'.",
            "Wrong labels can be found among two or more classes.",
        )
    return tuple(classes)


def _numbers(usable: pa.Table, classes: Sequence[str]) -> np.ndarray:
    """[n] int64, the given labels as class numbers."""
    numbers = pc.index_in(usable["given_label"], pa.array(classes, pa.string()))
    if numbers.null_count:
        stranger = usable.filter(pc.is_null(numbers))["given_label"][0].as_py()
        raise DataError(
            unknown("Label", stranger, classes),
            "The model knows only the classes it was trained on.",
        )
    return numbers.to_numpy().astype(np.int64)


def prompt_name(label: str) -> str:
    """A label as it is written into prompts: underscores become spaces."""
    return " ".join(label.replace("_", " ").split()) or label
