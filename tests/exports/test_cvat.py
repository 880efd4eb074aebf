from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.exported import expected, read_back

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export


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
