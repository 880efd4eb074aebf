"""Files that datumaro wrote (1.13.12, of generated pictures): read, corrected, and as they were."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fixtures.annotated import COLOURS
from PIL import Image

from labelsieve.corrections import write_back
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.tables import CORRECTIONS

GOLDEN = Path(__file__).parent / "golden" / "datumaro"
# Path of each data set, and what lies in it: split -> classes of its boxes.
FILES = {
    "coco/annotations/instances_train.json": {"train": ["blue", "green", "red"]},
    "coco/annotations/instances_val.json": {"val": ["blue", "blue", "red"]},
    "cvat/train.xml": {None: ["blue", "green", "red"]},
    "cvat/val.xml": {None: ["blue", "blue", "red"]},
    "yolo": {"train": ["blue", "green", "red"], "val": ["blue", "blue", "red"]},
}


def colour(data: bytes) -> str:
    """The nearest colour: JPEG changes them a little."""
    mean = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).mean((0, 1))
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def contents(folder: Path) -> dict[str, bytes]:
    files = [
        p for p in folder.rglob("*") if p.is_file() and ".labelsieve" not in p.parts
    ]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("name", list(FILES))
def test_boxes_are_read_corrected_and_put_back(tmp_path: Path, name: str) -> None:
    shutil.copytree(GOLDEN, tmp_path / "d")
    spec = DataSpec(str(tmp_path / "d" / name))
    rows = list(open_source(spec).rows())
    found: dict[str | None, list[str | None]] = {}
    for row in rows:
        found.setdefault(row.split, []).append(row.label)
        assert colour(read_bytes(row.image)) == row.label
    assert {split: sorted(map(str, x)) for split, x in found.items()} == FILES[name]
    before = contents(tmp_path / "d")
    row = rows[-1]
    new = "red" if row.label == "green" else "green"
    change = {
        **dict.fromkeys(CORRECTIONS.names),
        "sample_id": f"{row.key}#{content_hash(read_bytes(row.image))[:12]}",
        "uri": row.uri,
        "path": row.path,
        "action": "relabel",
        "old_label": row.label,
        "new_label": new,
    }
    patch = pa.Table.from_pylist([change], schema=CORRECTIONS)
    write_back.in_place(spec, patch, "scan")
    labels = {r.key: r.label for r in open_source(spec).rows()}
    assert labels == {**{r.key: r.label for r in rows}, row.key: new}
    after = contents(tmp_path / "d")
    (changed,) = [file for file in before if before[file] != after[file]]
    # one number or word, and no more
    assert abs(len(after[changed]) - len(before[changed])) <= len("green")
    write_back.reverse(spec, patch, scan="scan")
    assert contents(tmp_path / "d") == before
