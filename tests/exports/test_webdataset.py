from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.exported import expected, read_back

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export


def test_what_was_written_is_read_back(
    decided: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelsieve.exports.webdataset.IN_A_SHARD", 16)
    (folder,) = export(decided.run, "webdataset", tmp_path / "out")
    shards = sorted(p.name for p in folder.glob("*.tar"))
    assert shards == [f"{n:06d}.tar" for n in range(-(-len(decided.after) // 16))]
    found = read_back(folder)
    # without .cls, the label that is null in .json says the same
    assert found == expected(decided)
    source: Any = open_source(DataSpec(folder))
    assert source.classes == decided.run.all_classes
    again = export(decided.run, "webdataset", tmp_path / "again")
    for name in shards:
        assert (again[0] / name).read_bytes() == (folder / name).read_bytes()


# the library leaves its files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_opens_it(decided: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("webdataset", reason="needs webdataset")
    (folder,) = export(decided.run, "webdataset", tmp_path / "out")
    classes = (folder / "classnames.txt").read_text().splitlines()
    data = library.WebDataset(
        [str(p) for p in sorted(folder.glob("*.tar"))], shardshuffle=False
    ).decode()
    found = {}
    for sample in data:
        number = sample.get("cls")
        label = None if number is None else classes[number]
        found[sample["json"]["sample_id"]] = label
    assert found == decided.after
