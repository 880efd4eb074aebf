from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    (file,) = export(decided.run, "cvat", tmp_path / "out")
    assert read_back(file) == expected(decided)
    source: Any = open_source(DataSpec(file))
    assert source.classes == decided.run.all_classes


def test_names_that_xml_cannot_hold_are_refused(decided: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from labelsieve.errors import DataError
    from labelsieve.exports import collect, cvat

    rows = replace(collect(decided.run), classes=["a\x01", "b"])
    with pytest.raises(DataError, match=r"^CVAT cannot hold the class"):
        cvat.write(rows, tmp_path)
