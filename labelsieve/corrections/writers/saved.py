"""The same saved Hugging Face data set with other labels: splits, columns, features and all other cells stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve import registry
from labelsieve.corrections.writers.table import Changes, relabelled
from labelsieve.data.sources.hub import HubSource, _from_disk
from labelsieve.errors import DataError


def resave(source: HubSource, changes: Changes, target: Path) -> None:
    """Write the data set with changed labels to the folder `target`.

    Args:
        changes: by row number, counted over the splits in their order.

    Raises:
        DataError: a label that the label feature cannot hold.
    """
    datasets = registry.need("datasets")
    if source.label_column is None:
        raise DataError(
            f"'{source.folder}' has no label column.", "Name it with --label-column."
        )
    saved = _from_disk(str(source.folder))
    parts, made, start = (
        (dict(saved) if isinstance(saved, dict) else {None: saved}),
        {},
        0,
    )
    for split, part in parts.items():
        mine = {
            row - start: label
            for row, label in changes.items()
            if start <= row < start + len(part)
        }
        start += len(part)
        made[split] = _relabel(part, source.label_column, mine) if mine else part
    whole = made[None] if None in made else datasets.DatasetDict(made)
    whole.save_to_disk(str(target))


def _relabel(part: Any, column: str, changes: Changes) -> Any:
    """One split with other labels; rows with the label None are left out."""
    datasets = registry.need("datasets")
    table: pa.Table = part.with_format("arrow")[:]
    table, kept = relabelled(
        table, column, changes, getattr(part.features[column], "names", None)
    )
    made = datasets.Dataset(
        table.replace_schema_metadata(None), info=part.info, split=part.split
    )
    return made if len(kept) == len(table) else made.select(kept)
