"""Parquet: one row per image with given label, label after decisions, and scores."""

from __future__ import annotations

from pathlib import Path

from labelsieve.exports import Rows
from labelsieve.tables import write_parquet

# One file; who wants partitions writes them from it.
TARGET = ".parquet"
ITEMS = ("images", "texts")
HOLDS = ("single", "set")  # a set is a JSON list


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the table."""
    write_parquet(rows.table, target)
    return [target]
