"""Image folder: one folder per class, with labels as they are after decisions.

Images that belong to no class are left out. Names of folders are labels, with %XX for what some
file system refuses or takes for something else: `urllib.parse.unquote` gives the label.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from labelsieve.exports import Names, Rows, safe_name

TARGET = "folder"


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the images, encoded as they were; unreadable ones are left out."""
    folders = _folders(rows)
    files: dict[str, Names] = defaultdict(Names)
    for row, picture in rows.encoded():
        # what belongs to no class has no folder
        if row["label"] is None or picture is None:
            continue
        data, suffix = picture
        folder = target / folders[row["label"]]
        folder.mkdir(exist_ok=True)
        # the name people know it by; the suffix says what it is encoded as
        name = safe_name(Path(row["path"]).stem)
        file = files[row["label"]].numbered(name, suffix)
        (folder / file).write_bytes(data)
    return [target]


def _folders(rows: Rows) -> dict[str, str]:
    """Label -> name of its folder; those of two labels differ on every file system."""
    names = Names()
    folders = {}
    # sorted, so that the same labels get the same names whatever order the images come in
    for label in sorted(set(rows.table["label"].to_pylist()) - {None}):
        folders[label] = names.escaped(safe_name(label))
    return folders
