from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fixtures.exported import expected, read_back

from labelsieve.exports import export


def test_what_was_written_is_read_back(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "yolo", tmp_path / "out")
    assert [p.name for p in folder.iterdir()] == ["train"]
    wanted = {k: v for k, v in expected(decided).items() if v is not None}
    for options in ({}, {"split": "train"}):
        found = read_back(folder, **options)
        # names of folders are labels, escaped where a file system needs it
        assert {k: unquote(str(v)) for k, v in found.items()} == wanted
