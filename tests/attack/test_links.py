"""Links in received data: what leads out of the folder that was named is read by no source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures import annotated

from labelsieve.data.images import read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError

# What is made below "data" -> where its picture 1.png lies, and what is then named.
Made = tuple[Path, Path]


def coco_file(folder: Path) -> Made:
    content = annotated.coco(folder)
    return folder / "images", annotated.write_json(folder / "a.json", content)


def coco_folder(folder: Path) -> Made:
    annotated.downloaded(folder)
    return folder / "train2017", folder


def cvat(folder: Path) -> Made:
    return folder / "images", annotated.cvat(folder)


def label_studio(folder: Path) -> Made:
    return folder, annotated.label_studio(folder)


def yolo(folder: Path) -> Made:
    return annotated.yolo(folder) / "images" / "train", folder


def metadata(folder: Path) -> Made:
    annotated.pictures(folder)
    rows = [{"file_name": n, "label": n[0]} for n in annotated.SQUARES]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text)
    return folder, folder


def shards(folder: Path) -> Made:
    # pictures beside tables would make it a folder of metadata
    annotated.pictures(folder / "inner" / "deeper")
    names = [f"inner/deeper/{n}" for n in annotated.SQUARES]
    table = pa.table({"image": names, "label": ["a", "b"] * 2})
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder / "inner" / "deeper", folder


MAKERS = (coco_file, coco_folder, cvat, label_studio, yolo, metadata, shards)


def unreadable(named: Path, **options: Any) -> dict[str, str]:
    """Uri -> why its picture cannot be read, when it is listed and when it is read again."""
    source = open_source(DataSpec(str(named), **options))
    reasons = {}
    for row in source.rows():
        for get in (lambda row=row: row.image, lambda row=row: source.read(row.uri)):
            try:
                read_bytes(get())
            except ImageError as error:
                reasons[row.uri] = error.what
            else:
                assert row.uri not in reasons
    return reasons


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    maker: Callable[[Path], Made] = request.param
    (tmp_path / "data").mkdir()
    if maker is shards:
        # a folder of tables alone: no picture may be seen
        return _hidden_pictures(maker(tmp_path / "data"))
    return maker(tmp_path / "data")


def _hidden_pictures(made: Made) -> Made:
    pictures, named = made
    for file in sorted(pictures.rglob("*.png")):
        file.rename(file.with_suffix(".bin"))
    table = named / "train-00000-of-00001.parquet"
    names = [
        n.replace(".png", ".bin") for n in pq.read_table(table)["image"].to_pylist()
    ]
    pq.write_table(pa.table({"image": names, "label": ["a", "b"] * 2}), table)
    return made


def leave(made: Made, home: Path) -> Path:
    """Put 1.png elsewhere, and a link in its place."""
    (file,) = made[0].glob("1.*")
    home.mkdir()
    file.rename(home / "private")
    file.symlink_to(home / "private")
    return file


def test_a_picture_that_is_a_link_out_of_the_data_is_not_read(
    made: Made, tmp_path: Path
) -> None:
    assert not unreadable(made[1])
    leave(made, tmp_path / "home")
    reasons = unreadable(made[1])
    assert reasons
    for uri, reason in reasons.items():
        assert "1." in uri
        assert "leads out of the data" in reason and "--root" in reason


def test_root_allows_links_into_a_folder(made: Made, tmp_path: Path) -> None:
    leave(made, tmp_path / "home")
    assert not unreadable(made[1], root=str(tmp_path / "home"))
    (tmp_path / "other").mkdir()
    assert unreadable(made[1], root=str(tmp_path / "other"))


def test_links_within_the_data_are_read(made: Made) -> None:
    (file,) = made[0].glob("1.*")
    inner = (made[1] if made[1].is_dir() else made[1].parent) / "kept-1"
    file.rename(inner)
    file.symlink_to(inner)
    assert not unreadable(made[1])


@pytest.mark.parametrize("maker", [coco_file, coco_folder, cvat])
def test_a_folder_of_pictures_that_is_a_link_out_is_named(
    maker: Callable[[Path], Made], tmp_path: Path
) -> None:
    folder = tmp_path / "x" / "data"
    folder.mkdir(parents=True)
    pictures, named = maker(folder)
    pictures.rename(tmp_path / "photos")
    pictures.symlink_to(tmp_path / "photos")
    with pytest.raises(DataError, match="--root"):
        list(open_source(DataSpec(str(named))).rows())
    if maker is not coco_folder:
        assert not unreadable(named, root=str(tmp_path / "photos"))


def test_a_table_that_is_named_says_how_many_pictures_lie_elsewhere(
    tmp_path: Path,
) -> None:
    annotated.pictures(tmp_path / "photos")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "photos" / "1.png")
    names = [str(tmp_path / "photos" / "1.png"), "../photos/3.png", "link.png", "4.png"]
    (tmp_path / "data" / "4.png").write_bytes(annotated.paint([]))
    table = tmp_path / "data" / "t.csv"
    table.write_text("image,label\n" + "".join(f"{n},cat\n" for n in names))
    source = open_source(DataSpec(str(table)))
    assert len(list(source.rows())) == 4
    (note,) = [n for n in source.notes if "outside" in n]
    assert note.startswith("3 pictures lie outside of the data")
    assert str(tmp_path / "photos" / "1.png") in note
    # a folder that the user names is meant
    table.write_text(f"image,label\n{names[0]},cat\n")
    source = open_source(DataSpec(str(table), root=str(tmp_path)))
    assert len(list(source.rows())) == 1
    assert not [n for n in source.notes if "outside" in n]
