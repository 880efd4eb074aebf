"""Whether data and model are still those of a finished run, and what has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.errors import RunError
from labelsieve.models import identity
from labelsieve.progress import plain
from labelsieve.tables import TRUTH

Read = tuple[pa.Table, pa.Table | None]  # a manifest, and the truth where it is known


def refuse_other_model(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """A run answers for the model that judged, and its detector was learned from that.

    Args:
        folder: of the run.
        name: of the model, as in its command.
        record: of the run; those of earlier versions do not know the model's files.

    Raises:
        RunError: files of the model are others now.
    """
    changed = identity.changes(name, record)
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise RunError(
            f"Model '{name}' has changed since '{folder}' was made: "
            f"'{plain(changed[0])}'{more}.",
            "Scan again with it: another folder with -o, or --force to replace the run.",
        )


def between(before: Read, after: Read) -> str:
    """What has changed, in words; empty where nothing has."""
    # almost always nothing has, and a million rows of Python would be a gigabyte
    if _columns(*before).equals(_columns(*after)):
        return ""
    return difference(_labels(*before), _labels(*after))


def _columns(manifest: pa.Table, truth: pa.Table | None) -> pa.Table:
    """Ids and labels, in the order of the manifest."""
    table = manifest.select(["sample_id", "given_label"])
    known = pa.nulls(len(table), pa.string())
    if truth is not None:
        at = pc.index_in(table["sample_id"], truth["sample_id"].combine_chunks())
        known = truth["true_label"].take(at)
    table = table.append_column("true_label", known)
    # codes of a dictionary are one way of writing the same words
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def _labels(
    manifest: pa.Table, truth: pa.Table | None
) -> dict[str, tuple[str | None, str | None]]:
    """Given and true label by sample id."""
    known: dict[str, str | None] = {}
    if truth is not None:
        columns = (truth[name].to_pylist() for name in TRUTH.names)
        known = dict(zip(*columns, strict=True))
    ids = manifest["sample_id"].to_pylist()
    given = manifest["given_label"].to_pylist()
    found = {}
    for sample_id, label in zip(ids, given, strict=True):
        found[sample_id] = (label, known.get(sample_id))
    return found


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """How many images are new, gone, moved, changed or relabelled, in words."""
    new = after.keys() - before.keys()
    gone = before.keys() - after.keys()
    # an id is the user's key and a hash of the content
    changed = {_key(i) for i in new} & {_key(i) for i in gone}
    moved = _moved(new, gone, changed)
    relabelled = [i for i in before.keys() & after.keys() if before[i] != after[i]]
    counts = (
        (len(new) - len(changed) - moved, "is new", "are new"),
        (len(gone) - len(changed) - moved, "is gone", "are gone"),
        (moved, "was moved", "were moved"),
        (len(changed), "has other pixels", "have other pixels"),
        (len(relabelled), "has another label", "have another label"),
    )
    parts = []
    for count, of_one, of_many in counts:
        if count == 1:
            parts.append(f"1 image {of_one}")
        elif count:
            parts.append(f"{count:,} images {of_many}")
    return ", ".join(parts)


def _moved(new: Set[str], gone: Set[str], changed: Set[str]) -> int:
    """How many of the pictures that are gone lie somewhere else."""
    came, went = (
        # the same content may lie in several places: as often as it came and went
        Counter(i.rpartition("#")[2] for i in ids if _key(i) not in changed)
        for ids in (new, gone)
    )
    return (came & went).total()


def _key(sample_id: str) -> str:
    return sample_id.rpartition("#")[0]
