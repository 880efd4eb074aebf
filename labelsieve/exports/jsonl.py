"""JSON Lines: one object per image with given label, label after decisions, and scores."""

from __future__ import annotations

import json
from pathlib import Path

from labelsieve.exports import Rows

TARGET = ".jsonl"
ITEMS = ("images", "texts")
HOLDS = ("single", "set")  # a set is a JSON list


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the table."""
    with target.open("w", encoding="utf-8") as file:
        # readable in any editor; JSON needs no escapes for other alphabets
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [target]
