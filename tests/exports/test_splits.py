"""Splits come out as they were in the data, and are read again as such."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.exports import export
from labelsieve.exports._splits import short


def digest(sample_id: str) -> str:
    return sample_id.rpartition("#")[2]


def rows(data: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(data), **options)).rows())


def expected(parted: Any, *, labelled: bool) -> dict[str, str]:
    """Content of each picture -> its split."""
    return {
        digest(i): split
        for i, split in parted.splits.items()
        if not labelled or parted.after[i] is not None
    }


@pytest.mark.parametrize("to", ["imagefolder", "webdataset", "yolo", "cvat"])
def test_splits_are_read_back(parted: Any, tmp_path: Path, to: str) -> None:
    (path,) = export(parted.run, to, tmp_path / "out")
    wanted = expected(parted, labelled=to in ("imagefolder", "yolo"))
    if to == "yolo":
        wanted = {k: short(split) for k, split in wanted.items()}
        assert {p.name for p in path.iterdir()} == {"train", "val", "test"}
    found = {content_hash(read_bytes(r.image))[:12]: r.split for r in rows(path)}
    # CVAT has images without a subset
    assert {k: v or "train" for k, v in found.items()} == wanted


def test_each_split_has_a_coco_file(parted: Any, tmp_path: Path) -> None:
    files = export(parted.run, "coco", tmp_path / "out")
    names = [p.relative_to(tmp_path / "out").as_posix() for p in files]
    assert names == [f"annotations/labels_{x}.json" for x in ("test", "train", "valid")]
    found, images, annotations = {}, [], []
    for file in files:
        split = file.stem.removeprefix("labels_")
        for row in rows(file):
            found[content_hash(read_bytes(row.image))[:12]] = split
        content = json.loads(file.read_text())
        images += [entry["id"] for entry in content["images"]]
        annotations += [entry["id"] for entry in content["annotations"]]
    assert found == expected(parted, labelled=False)
    # the files can be put together again
    assert sorted(images) == list(range(1, len(images) + 1))
    assert sorted(annotations) == list(range(1, len(annotations) + 1))


def test_a_class_has_one_folder_name_in_all_splits(parted: Any, tmp_path: Path) -> None:
    """ "Cat" and "cat" are told apart, also where a split has one of them alone."""
    from dataclasses import replace

    import pyarrow as pa

    from labelsieve.exports import collect, imagefolder

    made = collect(parted.run)
    split = ["train", "test"] * (len(made.table) // 2 + 1)
    label = ["Cat", "cat", "cat", "cat"] * (len(made.table) // 4 + 1)
    table = made.table
    for name, values in (("split", split), ("label", label)):
        column = pa.array(values[: len(table)], pa.string())
        table = table.set_column(table.column_names.index(name), name, column)
    imagefolder.write(replace(made, table=table), tmp_path / "out")
    tests = {p.name for p in (tmp_path / "out" / "test").iterdir()}
    trains = {p.name for p in (tmp_path / "out" / "train").iterdir()}
    assert tests == trains and len(trains) == 2
    # a class without a picture in a split has its number there all the same
    empty = [p for p in (tmp_path / "out" / "test").iterdir() if not any(p.iterdir())]
    assert len(empty) == 1


def test_two_names_of_one_split_share_its_folder(parted: Any, tmp_path: Path) -> None:
    manifest = parted.run.manifest
    at = manifest.column_names.index("split")
    import pyarrow as pa

    column = pa.array(["val" if k % 2 else "valid" for k in range(len(manifest))])
    parted.run.manifest = manifest.set_column(at, "split", column)
    (folder,) = export(parted.run, "yolo", tmp_path / "out")
    labelled = [label for label in parted.after.values() if label is not None]
    assert [p.name for p in folder.iterdir()] == ["val"]
    assert sum(p.is_file() for p in folder.rglob("*")) == len(labelled)


def test_tables_name_the_split(parted: Any, tmp_path: Path) -> None:
    (file,) = export(parted.run, "jsonl", tmp_path / "out.jsonl")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    found = {row["sample_id"]: row["split"] or "train" for row in told}
    assert found == parted.splits


def test_hugging_face_has_the_splits(parted: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip(
        "datasets", reason="the extra 'hub' is not installed"
    )
    (folder,) = export(parted.run, "hf", tmp_path / "out")
    made = datasets.load_from_disk(str(folder))
    found = {i: split for split in made for i in made[split]["sample_id"]}
    assert found == parted.splits
