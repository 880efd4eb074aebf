"""Shards: only those with a corrected row are written anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq

from labelsieve.corrections.writers.shards import accepts, open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec


def test_numbers_of_classes_stay_numbers(tmp_path: Path) -> None:
    """What Hugging Face wrote is opened by it again."""
    features = datasets.Features(
        {
            "image": datasets.Value("binary"),
            "label": datasets.ClassLabel(names=["b", "a"]),
        }
    )
    for shard in range(2):
        cells = {"image": [bytes([shard, n]) for n in range(3)], "label": [0, 1, 0]}
        part = datasets.Dataset.from_dict(cells, features)
        part.to_parquet(tmp_path / f"train-{shard:05d}-of-00002.parquet")
    spec = DataSpec(str(tmp_path))
    source: Any = open_source(spec)
    assert accepts(source) and len(list(source.rows())) == 6
    writer: Any = open_writer(spec, source)
    assert writer._by_file(source, {4: "b", 5: None}) == {
        "train-00001-of-00002.parquet": {1: "b", 2: None}
    }
    file, new = source.tables[1].path, tmp_path / "out" / "new.parquet"
    new.parent.mkdir()
    writer._write(source, file, {1: "b", 2: None}, new)
    assert pq.read_table(new)["label"].to_pylist() == [0, 0]
    again = datasets.Dataset.from_parquet(str(new), cache_dir=str(tmp_path / "c"))
    assert again.features == features


def test_lines_of_json_change_alone(tmp_path: Path) -> None:
    for part in "ab":
        lines = [json.dumps({"image": f"{n}", "label": "x"}) for n in range(3)]
        (tmp_path / f"{part}.jsonl").write_text("\r\n".join(lines))
    spec = DataSpec(str(tmp_path))
    source: Any = open_source(spec)
    list(source.rows())
    writer: Any = open_writer(spec, source)
    ((uri, changes),) = writer._by_file(source, {4: "y"}).items()
    writer._write(source, tmp_path / uri, changes, tmp_path / "new.jsonl")
    old = (tmp_path / uri).read_bytes()
    new = (tmp_path / "new.jsonl").read_bytes()
    assert new == old.replace(b'"1", "label": "x"', b'"1", "label": "y"')
