"""Several annotation files are one data set, and are corrected each in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated
from fixtures.annotated import cvat_tasks, downloaded

from labelsieve.data.images import read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


@pytest.mark.parametrize("inner", ["", "images"])
def test_a_downloaded_folder_is_one_set(tmp_path: Path, inner: str) -> None:
    folder = downloaded(tmp_path / "set", inner)
    source: Any = open_source(DataSpec(str(folder)))
    rows = list(source.rows())
    assert [row.split for row in rows] == ["train"] * 6 + ["val"] * 6
    assert len({row.key for row in rows}) == 12
    assert rows[0].key == "annotations/instances_train.json|100"
    assert all(
        annotated.colour_of(read_bytes(source.read(r.uri))) == r.label for r in rows
    )
    # the val pictures are those of val
    assert "val" in str(rows[6].image.member)
    assert source.classes == ["red", "blue", "green"]
    assert source.class_ids == {"red": 7, "blue": 3, "green": 90}
    assert any("captions_train.json" in note for note in source.notes)
    chosen = list(open_source(DataSpec(str(folder), split="val")).rows())
    assert [row.key for row in chosen] == [row.key for row in rows[6:]]
    with pytest.raises(DataError, match="--split 'x' is no split"):
        list(open_source(DataSpec(str(folder), split="x")).rows())


def test_a_pattern_names_several(tmp_path: Path) -> None:
    folder = downloaded(tmp_path / "set")
    spec = DataSpec(f"{folder}/annotations/instances_*.json")
    assert len(list(open_source(spec).rows())) == 12
    tasks = cvat_tasks(tmp_path / "tasks")
    assert len(list(open_source(DataSpec(f"{tasks}/*/*.xml")).rows())) == 12


def test_exports_of_label_studio_and_files_per_task_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    for part in "ab":
        annotated.label_studio(tmp_path / "exports" / part)
    rows = list(open_source(DataSpec(tmp_path / "exports")).rows())
    one = list(open_source(DataSpec(tmp_path / "exports" / "a" / "tasks.json")).rows())
    assert [r.label for r in rows] == 2 * [r.label for r in one]
    folder = annotated.label_studio_tasks(tmp_path / "tasks")
    source = open_source(DataSpec(folder))
    found = list(source.rows())
    assert sorted(str(r.label) for r in found) == sorted(str(r.label) for r in one)
    assert {r.key.partition("|")[0] for r in found} == {"1.json", "2.json", "4.json"}
    for row in found:
        assert annotated.colour_of(read_bytes(source.read(row.uri))) == row.label


def test_more_files_than_are_looked_at_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(annotated.paint([("red", 0, 0)]))
    for number in range(2100):
        answer = {"result": [{"type": "choices", "value": {"choices": ["red"]}}]}
        task = {"id": number, "data": {"image": "1.png"}, "annotations": [answer]}
        annotated.write_json(tmp_path / f"{number}.json", task)
    assert sum(1 for _ in open_source(DataSpec(tmp_path)).rows()) == 2100


def test_names_of_several_files(tmp_path: Path) -> None:
    from labelsieve.data.load import load
    from labelsieve.data.sources._layout import together

    paths = []
    for part in ("x/a", "y/b"):
        (tmp_path / part).parent.mkdir(parents=True)
        (tmp_path / f"{part}.csv").write_text(f"image,label\n{part[-1]}.png,{part}\n")
        paths.append(tmp_path / f"{part}.csv")
    # in whichever order they are named
    for files in (paths, paths[::-1]):
        rows = list(open_source(load(files)).rows())
        assert [(row.uri, row.label) for row in rows] == [
            ("x/a.png", "x/a"),
            ("y/b.png", "y/b"),
        ]
    assert load(paths[:1]).data == paths[0]
    annotated.write_json(tmp_path / "c.json", annotated.coco(tmp_path / "c"))
    with pytest.raises(
        DataError, match=r"a\.csv' holds no annotations as 'c\.json' does"
    ):
        open_source(load([*paths, tmp_path / "c.json"]))
    (tmp_path / "d.md").touch()
    with pytest.raises(DataError, match=r"d\.md' is no table.* Name files of one kind"):
        open_source(load([*paths, tmp_path / "d.md"]))
    for names, said in (
        ([paths[0], tmp_path], "is one of 2 names, and no file"),
        ([paths[0], "s3://b/t.csv"], "is one of 2 names, and no file"),
        ([paths[0], tmp_path / "no.csv"], r"no\.csv' does not exist"),
    ):
        with pytest.raises(DataError, match=said):
            together(names)
    (tmp_path / "a,b.csv").write_text("image,label\n")
    with pytest.raises(DataError, match="has a comma or a brace in its name"):
        together([paths[0], tmp_path / "a,b.csv"])
