from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export


def read_back(data: Path, **options: Any) -> dict[str, str | None]:
    """Content of each picture -> its label."""
    found = {}
    for row in open_source(DataSpec(str(data), **options)).rows():
        found[content_hash(read_bytes(row.image))[:12]] = row.label
    return found


def expected(decided: Any) -> dict[str, str | None]:
    return {i.rpartition("#")[2]: label for i, label in decided.after.items()}


def test_what_was_written_is_read_back(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "yolo", tmp_path / "out")
    assert [p.name for p in folder.iterdir()] == ["train"]
    wanted = {k: v for k, v in expected(decided).items() if v is not None}
    for options in ({}, {"split": "train"}):
        found = read_back(folder, **options)
        # names of folders are labels, escaped where a file system needs it
        assert {k: unquote(str(v)) for k, v in found.items()} == wanted
