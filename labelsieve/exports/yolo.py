"""YOLO for classification, as ultralytics reads it: train/CLASS/picture, val/, test/.

Images that belong to no class are left out. Names of folders are labels, with %XX for what some
file system refuses. Data without splits are all train/: split off a part as val/ before you train.
Of a scan of boxes: data.yaml, images/SPLIT/ and labels/SPLIT/, as ultralytics reads them for
detection; class numbers are those of the data.
"""

from __future__ import annotations

import json
from pathlib import Path

from labelsieve.errors import DataError
from labelsieve.exports import Rows, imagefolder
from labelsieve.exports._boxes import BoxedPictures
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


def write_boxes(pictures: BoxedPictures, target: Path) -> list[Path]:
    """Write data.yaml, whole pictures, and a file of boxes for each.

    Raises:
        DataError: two pictures would share a file of boxes.
    """
    # numbers of classes go from zero on without a gap
    names = {number: name for number, name in enumerate(pictures.classes)}
    if sorted(pictures.ids.values()) == list(names):
        names = {
            number: name for name, number in sorted(pictures.ids.items(), key=_second)
        }
    numbers = {name: number for number, name in names.items()}
    splits: dict[str, None] = {}
    for boxed in pictures.written(target / "images"):
        splits[boxed.file.partition("/")[0]] = None
        file = (target / "labels" / boxed.file).with_suffix(".txt")
        # a.jpg and a.png have one a.txt
        if file.exists():
            raise DataError(
                f"'{boxed.file}' would share its file of boxes with another picture.",
                "Choose another format with --to, or rename one of both.",
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            _line(numbers[p.row["label"]], p.sides, boxed.size) for p in boxed.boxes
        ]
        file.write_text("".join(lines))
    file = target / "data.yaml"
    file.write_text(_yaml(names, list(splits)), encoding="utf-8")
    return [file]


def _second(pair: tuple[str, int]) -> int:
    return pair[1]


def _line(
    number: int, sides: tuple[float, float, float, float], size: tuple[int, int]
) -> str:
    """A box as shares of the picture: its middle, its width and its height."""
    (left, top, across, down), (width, height) = sides, size
    shares = (
        (left + across / 2) / width,
        (top + down / 2) / height,
        across / width,
        down / height,
    )
    return f"{number} {' '.join(f'{share:.10g}' for share in shares)}\n"


def _yaml(names: dict[int, str], splits: list[str]) -> str:
    # ultralytics asks for both; of data without splits they are the same pictures
    wanted = {TRAIN: TRAIN, "val": "val", **{split: split for split in splits}}
    lines = []
    for split, folder in wanted.items():
        own = folder if folder in splits else (splits or [TRAIN])[0]
        lines.append(f"{json.dumps(split)}: {json.dumps(f'images/{own}')}\n")
    lines.append("names:\n")
    # JSON is YAML, whatever a class is called
    lines += [
        f"  {n}: {json.dumps(name, ensure_ascii=False)}\n" for n, name in names.items()
    ]
    return "".join(lines)
