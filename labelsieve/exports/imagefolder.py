"""Image folder: one folder per class, with labels as they are after decisions.

Where the data have splits, each is a folder of such folders: train/CLASS/picture. Images that
belong to no class are left out. Names of folders are labels, with %XX for what some file system
refuses or takes for something else: `urllib.parse.unquote` gives the label.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from labelsieve.exports import Names, Rows, safe_name
from labelsieve.exports._splits import parts
from labelsieve.progress import note, plain

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the images, encoded as they were; unreadable ones are left out."""
    # of all splits: a class has the same name in each
    names = folders(rows)
    for split, part in parts(rows):
        write_part(part, names, target / (split or ""), alone=split is None)
    return [target]


def write_part(
    rows: Rows, names: dict[str, str], target: Path, *, alone: bool = True
) -> None:
    """Write the class folders of one split.

    Args:
        names: as `folders` gives them.
        alone: there are no other splits.
    """
    # tools number classes by the folders of each split: all have the same, also empty ones
    for name in () if alone else names.values():
        (target / name).mkdir(parents=True, exist_ok=True)
    files: dict[str, Names] = defaultdict(Names)
    for row, picture in rows.encoded():
        # what belongs to no class has no folder
        if row["label"] is None or picture is None:
            continue
        data, suffix = picture
        folder = target / names[row["label"]]
        folder.mkdir(parents=True, exist_ok=True)
        # the name people know it by; the suffix says what it is encoded as
        name = safe_name(Path(row["path"]).stem)
        file = files[row["label"]].numbered(name, suffix)
        (folder / file).write_bytes(data)


def folders(rows: Rows) -> dict[str, str]:
    """Label -> name of its folder; those of two labels differ on every file system."""
    names = Names()
    folders = {}
    # sorted, so that the same labels get the same names whatever order the images come in
    for label in sorted(set(rows.table["label"].to_pylist()) - {None}):
        folders[label] = names.escaped(safe_name(label))
    # readers of class folders refuse an empty one, and number classes by their sorted names
    lost = [name for name in rows.classes if name not in folders]
    if lost:
        others = f" (and of {len(lost) - 1:,} others)" if len(lost) > 1 else ""
        note(f"There is no image of class '{plain(lost[0])}'{others}, and no folder.")
    return folders
