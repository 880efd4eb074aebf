from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from labelsieve.data.images import content_hash
from labelsieve.exports import export


def test_class_folders_hold_the_images_of_the_labels(
    decided: Any, tmp_path: Path
) -> None:
    (folder,) = export(decided.run, "imagefolder", tmp_path / "out")
    expected: dict[str, set[str]] = {}
    for sample_id, label in decided.after.items():
        if label is not None:
            expected.setdefault(label, set()).add(sample_id.rpartition("#")[2][:12])
    found = {
        unquote(f.name): {content_hash(p.read_bytes())[:12] for p in f.iterdir()}
        for f in folder.iterdir()
    }
    assert found == expected


def test_it_can_be_scanned_again(decided: Any, tmp_path: Path) -> None:
    from labelsieve.data.sources import open_source
    from labelsieve.data.spec import DataSpec

    (folder,) = export(decided.run, "imagefolder", tmp_path / "out", only="clean")
    rows = list(open_source(DataSpec(folder)).rows())
    _a, _b, _, *others = decided.wrong
    assert len(rows) == len(decided.given) - 1 - len(others)
