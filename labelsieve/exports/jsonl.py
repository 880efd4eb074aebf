"""JSON Lines: one object per image with given label, label after decisions, and scores."""

from __future__ import annotations

import json
from pathlib import Path

from labelsieve.exports import Rows

TARGET = ".jsonl"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the table."""
    scratch = target.with_name(f".{target.name}.partial")
    with scratch.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    scratch.replace(target)
    return [target]
