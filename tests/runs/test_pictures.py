from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelsieve.data.spec import DataSpec
from labelsieve.errors import ImageError, RunError
from labelsieve.files import uri_to_path
from labelsieve.runs import pictures


class Fake:
    """Pictures from a dictionary: no source needed."""

    def __init__(self, **items: Any) -> None:
        self.items = items

    def read(self, sample_id: str) -> Any:
        return self.items[sample_id]


def test_a_run_opens_its_own_pictures(planted: Any) -> None:
    opened = pictures.open_pictures(planted.run)
    for sample_id, uri in zip(
        planted.run.manifest["sample_id"].to_pylist(),
        planted.run.manifest["uri"].to_pylist(),
        strict=True,
    ):
        data, suffix = pictures.original(opened, sample_id)
        assert (
            suffix == ".png"
            and (planted.data / uri_to_path(uri)).read_bytes() == data
            and sample_id in opened
        )
    assert "../../etc/passwd" not in opened
    with pytest.raises(ImageError, match="not an image of this run"):
        opened.read("../../etc/passwd")


def test_relative_data_are_found_from_another_folder(
    planted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = planted.run.record
    record["command"]["data"], record["working_folder"] = (
        "data",
        str(planted.data.parent),
    )
    monkeypatch.chdir(tmp_path)
    assert pictures.spec_of(planted.run).data == str(planted.data)


@pytest.mark.parametrize("command", [None, {}])
def test_a_record_that_names_no_data_is_damaged(planted: Any, command: Any) -> None:
    planted.run.record.pop("command")
    if command is not None:
        planted.run.record["command"] = command
    with pytest.raises(RunError, match="it names no data"):
        pictures.spec_of(planted.run)


def test_data_that_are_gone_are_named(planted: Any) -> None:
    planted.run.record["command"]["data"] = "/no/such/folder"
    with pytest.raises(
        RunError, match=r"cannot be opened again.*'/no/such/folder' does not exist"
    ):
        pictures.open_pictures(planted.run)


def test_other_data_are_not_taken_for_those_of_the_run(
    planted: Any, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"does not hold the images of.*are not there"):
        (tmp_path / "other" / "zero").mkdir(parents=True)
        (tmp_path / "other" / "zero" / "a.png").write_bytes(b"another")
        pictures.open_pictures(planted.run, str(tmp_path / "other"))
    moved = planted.data.rename(planted.data.with_name("moved"))
    assert pictures.open_pictures(planted.run, str(moved))


def test_webp_is_small_and_shows_the_same(digits: Any, encode: Any) -> None:
    big = np.kron(digits[0][0], np.ones((50, 50), dtype=np.uint8))
    found = pictures.webp(Fake(a=encode(big)), "a", 100)
    assert found is not None
    image = Image.open(io.BytesIO(found))
    assert image.format == "WEBP" and image.size == (100, 100)
    shown = np.asarray(
        image.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=float
    )
    assert np.abs(shown - digits[0][0]).mean() < 12
    tiny = Image.open(
        io.BytesIO(pictures.webp(Fake(a=encode(digits[0][0])), "a", 100) or b"")
    )
    assert np.array_equal(
        np.asarray(tiny.convert("L")), digits[0][0]
    )  # small ones lose nothing


def test_original_bytes_and_suffixes(encode: Any, digits: Any, tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    Image.fromarray(digits[0][0]).save(jpeg, "JPEG")
    assert pictures.original(Fake(a=jpeg.getvalue()), "a") == (jpeg.getvalue(), ".jpg")
    data, suffix = pictures.original(Fake(a=digits[0][0]), "a")
    assert suffix == ".png" and np.array_equal(
        np.asarray(Image.open(io.BytesIO(data)).convert("L")), digits[0][0]
    )
    with pytest.raises(ImageError, match="broken"):
        pictures.original(Fake(a=b"no picture"), "a")


def test_row_groups_are_read_once(
    tmp_path: Path, encode: Any, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:

    from labelsieve.data.sources import open_source

    rows = [encode(d) for d in digits[0][:6]]
    pq.write_table(
        pa.table({"image": rows, "label": ["a", "b"] * 3}),
        tmp_path / "t.parquet",
        row_group_size=3,
    )
    source = open_source(DataSpec(tmp_path / "t.parquet"))
    asked = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, g, **k: asked.append(g) or real(self, g, **k),
    )
    assert [source.read(f"row:{k}") for k in (0, 1, 2, 5, 4, 0)] == [
        rows[k] for k in (0, 1, 2, 5, 4, 0)
    ]
    assert asked == [0, 1]


def write_shards(folder: Path, rows: list[bytes]) -> DataSpec:
    """Two tables of half the rows each."""
    for part in range(2):
        cells = {
            "image": rows[3 * part :][:3],
            "label": ["a", "b", "a", "b"][part:][:3],
        }
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.table(cells), folder / f"train-{part}-of-2.parquet")
    return DataSpec(folder)


def write_tars(folder: Path, rows: list[bytes]) -> DataSpec:
    """Two tar files of WebDataset."""
    folder.mkdir()
    for number, data in enumerate(rows):
        with tarfile.open(folder / f"{number // 3}.tar", "a") as tar:
            for kind, content in (("png", data), ("cls", b"ab"[number % 2 :][:1])):
                info = tarfile.TarInfo(f"{number}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return DataSpec(folder)


@pytest.mark.parametrize("kind", ["table", "saved", "shards", "tars"])
def test_after_rows_were_left_out_in_place_every_picture_is_still_its_own(
    tmp_path: Path, encode: Any, kind: str
) -> None:
    from labelsieve.corrections import write_back
    from labelsieve.data.images import content_hash
    from labelsieve.data.sources import open_source
    from labelsieve.tables import CORRECTIONS, MANIFEST

    rows = [encode(np.full((4, 4), 20 * k, dtype=np.uint8)) for k in range(6)]
    if kind in ("shards", "tars"):
        write = write_shards if kind == "shards" else write_tars
        spec = write(tmp_path / "data", rows)
    elif kind == "table":
        spec = DataSpec(tmp_path / "t.parquet")
        pq.write_table(pa.table({"image": rows, "label": ["a", "b"] * 3}), spec.data)
    else:
        datasets = pytest.importorskip(
            "datasets", reason="the extra 'hub' is not installed"
        )
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.Value("string")}
        )
        cells = {
            "image": [{"bytes": r, "path": None} for r in rows],
            "label": ["a", "b"] * 3,
        }
        datasets.Dataset.from_dict(cells, features=features).save_to_disk(
            str(tmp_path / "saved")
        )
        spec = DataSpec(tmp_path / "saved", label_column="label")
    listed = [
        {
            **dict.fromkeys(MANIFEST.names),
            "sample_id": f"{r.key}#{content_hash(rows[k])[:12]}",
            "uri": r.uri,
            "path": r.path,
        }
        for k, r in enumerate(open_source(spec).rows())
    ]
    manifest = pa.Table.from_pylist(listed, schema=MANIFEST)
    drops = [
        {
            **dict.fromkeys(CORRECTIONS.names),
            **{k: listed[n][k] for k in ("sample_id", "uri", "path")},
            "action": "drop",
            "old_label": "ab"[n % 2],
        }
        for n in (1, 4)
    ]
    write_back.in_place(spec, pa.Table.from_pylist(drops, schema=CORRECTIONS), "scan")
    images = pictures.Images(spec, manifest)
    assert [images.read(about["sample_id"]) for about in listed] == rows
    # scanned anew and corrected again: pictures of the first scan are still found
    left = {r.key: r.uri for r in open_source(spec).rows()}
    key = listed[0]["sample_id"].rpartition("#")[0]
    drop = {**drops[0], "sample_id": listed[0]["sample_id"], "uri": left[key]}
    again = pa.Table.from_pylist([{**drop, "old_label": "a"}], schema=CORRECTIONS)
    write_back.in_place(spec, again, "second scan")
    for seen in (images, pictures.Images(spec, manifest)):
        assert [seen.read(about["sample_id"]) for about in listed] == rows
    stranger = pa.Table.from_pylist(
        [{**listed[0], "sample_id": "x#000000000000"}], schema=MANIFEST
    )
    with pytest.raises(ImageError, match="not the image that was scanned"):
        pictures.Images(spec, stranger).read("x#000000000000")


def test_what_a_strangers_history_names_outside_is_not_read(tmp_path: Path) -> None:
    from labelsieve.data.sources._history import replaced

    (tmp_path / "data" / ".labelsieve").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    files = {
        "../secret": {"kept": "a"},
        "a.tar": {"kept": "../../../secret"},
        "b.tar": {"kept": 7},
        "c.tar": {},
        "d.tar": "d",
        "good.tar": {"kept": "good.tar"},
    }
    for name, facts in (("b", {"files": files}), ("c", {"files": []}), ("d", [])):
        table = pa.table({"uri": ["x"]})
        told = {b"labelsieve": json.dumps(facts).encode()}
        path = tmp_path / "data" / ".labelsieve" / f"applied-{name}.parquet"
        pq.write_table(table.replace_schema_metadata(told), path)
    (path.with_name("applied-e.parquet")).write_bytes(b"no table")
    top = (tmp_path / "data").resolve()
    kept = top / ".labelsieve" / "originals" / "good.tar"
    assert list(replaced(top)) == [{top / "good.tar": kept}]
