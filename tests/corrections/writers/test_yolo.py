"""YOLO: the number at the start of a line changes, and no other byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.corrections.writers.yolo import open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def test_only_the_number_changes(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    file = folder / "labels" / "train" / "4.txt"
    text = "2  0.875 0.833333 0.25 0.333333 \r\n\r\n2 0.125 0.166667 0.25 0.333333"
    file.write_bytes(text.encode())
    spec = DataSpec(str(folder))
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    target = tmp_path / "new.txt"
    writer._write(source, file, {3: "green"}, target)
    assert target.read_bytes() == text.replace("\n2 0.1", "\n1 0.1").encode()
    writer._write(source, file, {1: None}, target)
    assert target.read_bytes() == b"\r\n2 0.125 0.166667 0.25 0.333333"


def test_whole_pictures_are_not_corrected(tmp_path: Path) -> None:
    folder = annotated.yolo(tmp_path / "set")
    spec = DataSpec(str(folder), items="images")
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    with pytest.raises(DataError, match="Scan with --items boxes"):
        writer._by_file(source, {0: "red"})
