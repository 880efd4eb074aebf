"""YOLO for classification, as ultralytics reads it: train/CLASS/picture, val/, test/.

Images that belong to no class are left out. Names of folders are labels, with %XX for what some
file system refuses. Data without splits are all train/: split off a part as val/ before you train.
"""

from __future__ import annotations

from pathlib import Path

from labelsieve.exports import Rows, imagefolder
from labelsieve.exports._splits import TRAIN, parts, short

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the images, encoded as they were; unreadable ones are left out."""
    # ultralytics numbers classes by the sorted names of these folders
    target.mkdir(parents=True, exist_ok=True)
    names = imagefolder.folders(rows)
    for split, part in parts(rows, short):
        folder = target / (split or TRAIN)
        imagefolder.write_part(part, names, folder, alone=split is None)
    return [target]
