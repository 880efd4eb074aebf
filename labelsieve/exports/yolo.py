"""YOLO for classification, as ultralytics reads it: train/CLASS/picture.

Images that belong to no class are left out. Names of folders are labels, with %XX for what some
file system refuses. Split off a part of train/ as val/ before you train.
"""

from __future__ import annotations

from pathlib import Path

from labelsieve.exports import Rows, imagefolder

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the images, encoded as they were; unreadable ones are left out."""
    # ultralytics numbers classes by the sorted names of these folders
    train = target / "train"
    train.mkdir(parents=True)
    imagefolder.write(rows, train)
    return [target]
