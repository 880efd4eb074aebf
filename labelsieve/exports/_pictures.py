"""Pictures of an export as files in one folder, as they were encoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelsieve.data.images import open_image
from labelsieve.exports import Names, Rows, safe_name


def written(rows: Rows, folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Write pictures; each row with the name of its file. Unreadable ones are left out."""
    names = Names()
    folder.mkdir(parents=True, exist_ok=True)
    for row, picture in rows.encoded():
        if picture is None:
            continue
        data, suffix = picture
        # the name people know it by; the suffix says what it is encoded as
        name = names.numbered(safe_name(Path(row["path"]).stem), suffix)
        (folder / name).write_bytes(data)
        yield row, name


def size_of(file: Path) -> tuple[int, int]:
    """Width and height, as its header tells; it was decoded when it was scanned."""
    with open_image(file.read_bytes()) as image:
        width, height = image.size
    return width, height
