"""Text folder: one folder per class of .txt files, with labels as they are after decisions.

The texts have the bytes that they have in the data. As in `labelsieve.exports.imagefolder`, splits
are folders of such folders, and what belongs to no class or cannot be read is left out.
"""

from __future__ import annotations

from pathlib import Path

from labelsieve.exports import Rows
from labelsieve.exports._splits import parts
from labelsieve.exports.imagefolder import folders, write_part

TARGET = "folder"
ITEMS = ("texts",)


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the texts."""
    names = folders(rows)
    for split, part in parts(rows):
        write_part(part, names, target / (split or ""), alone=split is None)
    return [target]
