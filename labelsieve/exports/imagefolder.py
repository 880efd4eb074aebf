"""Image folder: one folder per class with the labels after decisions; images that belong to no class are left out."""

from __future__ import annotations

from pathlib import Path

from labelsieve.errors import ImageError
from labelsieve.exports import Rows, safe_name
from labelsieve.runs.pictures import original

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the images, encoded as they were; unreadable ones are left out."""
    for row in rows:
        if row["label"] is None:
            continue
        try:
            data, suffix = original(rows.pictures, row["sample_id"])
        except ImageError:
            continue
        folder = target / safe_name(row["label"])
        folder.mkdir(parents=True, exist_ok=True)
        name = safe_name(Path(row["path"]).stem)
        file, number = folder / (name + suffix), 2
        while file.exists():
            file, number = folder / f"{name}-{number}{suffix}", number + 1
        file.write_bytes(data)
    return [target]
