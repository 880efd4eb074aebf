"""What a method sees of the data: items with their given labels, and nothing of the truth.

`prepare` is the one way from data that a user named to what a method works on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import NONE, SINGLE, Labels, check_kind, occurring
from labelsieve.data.manifest import Manifest, kind_of, read
from labelsieve.data.modalities import Items, noun_of, open_items, template_for
from labelsieve.data.sources import Source, open_source
from labelsieve.data.sources._side import side_texts
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.tables import SCORED, UNLABELLED

# Columns of a manifest that reach a method; the others would double the memory of a large one.
SEEN = ["sample_id", "given_label", "content_hash", "slot"]
AT_ONCE = 65_536  # hashes that are Python texts at a time: 8 MB


@dataclass(frozen=True, eq=False)
class Dataset:
    """The items a method works on, with their given labels, ordered by content.

    Row numbers are for use inside one method; outside, an item is known by its id.
    """

    ids: pa.Array  # [n] sample ids
    labels: np.ndarray  # given: [n] int64 class numbers, or of sets [n, k] bool
    coding: Labels  # what these stand for
    names: tuple[str, ...]  # the same classes as they are written into prompts
    template: str  # of a plain prompt, e.g. "a photo of a {}."
    items: Items  # where they are stored, as the encoder wants them
    slots: np.ndarray  # [n] int64, where in it
    fingerprint: str  # of contents and labels
    content: str  # of contents alone
    # [n] texts beside pictures, "" for none; None where no column of them was named
    side_texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The k classes as they are called in the data."""
        return self.coding.classes

    @property
    def noun(self) -> str:
        """What people call an item: "image", "text"."""
        return noun_of(self.items)

    @property
    def preprocess(self) -> Any:
        """How the items were prepared, as the encoder asked for it."""
        return self.items.preprocess

    def inputs(self, rows: np.ndarray) -> Any:
        """What the encoder's `normalise` takes: of images uint8 [b, 3, height, width].

        Args:
            rows: [b] int64, their numbers.
        """
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
    kinds: Sequence[str] = (SINGLE,),
) -> Prepared:
    """Open the cache, read the data, name the classes.

    Args:
        source: the spec's, where it is open already.
        classes: those that a detector or classifier knows, in its order; None takes the
            classes that occur, sorted.
        keep: [m] sample ids that the data set is made of; None keeps all that can be used.
        kinds: of labels that the caller can judge.

    Raises:
        DataError: nothing usable, a label that is none of `classes`, or fewer than two classes.
        OptionError: the labels are of another kind.
    """
    source = open_source(spec) if source is None else source
    spec = replace(spec, template=template_for(source, spec.template))
    # before anything is decoded, which may take hours
    if spec.labelled:
        check_kind(kind_of(source), kinds)
    items = open_items(source, preprocess)
    manifest = read(
        source,
        items,
        want_truth=spec.truth_column is not None,
        need_labels=spec.labelled,
    )
    chosen = manifest
    if keep is not None:
        rows = pc.is_in(manifest.table["sample_id"], keep)
        chosen = replace(manifest, table=manifest.table.filter(rows))
    dataset = from_manifest(chosen, spec, items, classes)
    if spec.side_text_column is not None:
        texts = side_texts(source, spec.side_text_column, dataset.ids)
        dataset = replace(dataset, side_texts=texts)
    return Prepared(manifest, dataset)


def from_manifest(
    manifest: Manifest,
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
    # what is only classified needs no label
    states = SCORED if spec.labelled else (*SCORED, UNLABELLED)
    in_use = pc.is_in(manifest.table["status"], pa.array(states))
    usable = manifest.table.select(SEEN).filter(in_use)
    coding = Labels(manifest.kind, ())
    labels = np.full(len(usable), NONE, dtype=np.int64)
    if spec.labelled:
        coding = Labels(manifest.kind, _classes(usable, manifest.kind, classes))
        labels = coding.encode(usable["given_label"])
    content, fingerprint = _fingerprints(items, usable["content_hash"], labels, coding)
    return Dataset(
        ids=usable["sample_id"].combine_chunks(),
        labels=labels,
        coding=coding,
        names=tuple(spec.class_names.get(c) or prompt_name(c) for c in coding.classes),
        template=spec.template,
        items=items,
        slots=usable["slot"].to_numpy(),
        fingerprint=fingerprint,
        content=content,
    )


def _fingerprints(
    items: Items, hashes: pa.ChunkedArray, labels: np.ndarray, coding: Labels
) -> tuple[str, str]:
    """Sixteen hex digits of the contents alone, and of contents and labels.

    Runs and caches made before are known by them: what is hashed never changes.
    """
    contents = hashlib.sha256(items.version.encode())
    for start in range(0, len(hashes), AT_ONCE):
        for digest in hashes.slice(start, AT_ONCE).to_pylist():
            contents.update(f"\n{digest}".encode())
    both = contents.copy()
    both.update(labels.tobytes() + repr(list(coding.classes)).encode())
    return contents.hexdigest()[:16], both.hexdigest()[:16]


def _classes(
    usable: pa.Table, kind: str, given: Sequence[str] | None
) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    # sorted, also where the data declare another order: it enters sums, seeds and caches
    classes = occurring(usable["given_label"], kind)
    if len(classes) < 2:
        only = f"only one class, '{classes[0]}'" if classes else "no class"
        raise DataError(
            f"There is {only}.", "Wrong labels can be found among two or more classes."
        )
    return tuple(classes)


def prompt_name(label: str) -> str:
    """A label as it is written into prompts: underscores become spaces."""
    # a label of underscores alone stays: prompts need some name
    return " ".join(label.replace("_", " ").split()) or label
