from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.corrections.writers import find_rows
from labelsieve.corrections.writers.table import rewrite
from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def redo(path: Path, changed: dict[int, str | None], **columns: Any) -> bytes:
    source: Any = open_source(DataSpec(path, **columns))
    rewrite(source, changed, path.with_name("out" + path.suffix))
    return path.with_name("out" + path.suffix).read_bytes()


CSV = (
    '\ufeffimage,label,note\r\n"a.png",cat,"two\r\nlines, and ""quotes"""\r\n\r\nb.png,"cat",plain\r\n'
    'c.png,cat,\u2028 5" disk\r\nd.png,007,ü\r\n'
)


def test_csv_changes_only_the_lines_it_must(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV.encode())
    assert redo(path, {}) == CSV.encode()
    assert (
        redo(path, {1: "dog"})
        == CSV.replace('b.png,"cat",plain', "b.png,dog,plain").encode()
    )
    assert redo(path, {2: 'a "b", c'}).decode() == CSV.replace(
        'c.png,cat,\u2028 5" disk', 'c.png,"a ""b"", c","\u2028 5"" disk"'
    )
    assert redo(path, {0: None, 3: None}).decode() == "\ufeff" + "".join(
        (
            "image,label,note\r\n",
            "\r\n",
            'b.png,"cat",plain\r\n',
            'c.png,cat,\u2028 5" disk\r\n',
        )
    )


def test_rows_are_counted_as_the_reader_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(CSV.encode())
    for number in range(4):
        (tmp_path / "again.csv").write_bytes(redo(path, {number: "dog"}))
        labels = [r.label for r in open_source(DataSpec(tmp_path / "again.csv")).rows()]
        assert [k for k, label in enumerate(labels) if label == "dog"] == [number]


def test_tsv_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("image\tlabel\na,b\tcat\nc\tcat\n")
    assert redo(tmp_path / "t.tsv", {0: "do,g"}) == b"image\tlabel\na,b\tdo,g\nc\tcat\n"
    text = '{"image": "a",  "label": 3}\n{"image": "b", "label": 3, "x": {"y": "\\u00fc"}}\n'
    (tmp_path / "t.jsonl").write_text(text)
    first, second = redo(tmp_path / "t.jsonl", {1: "7"}).decode().splitlines()
    assert first == text.splitlines()[0]
    assert json.loads(second) == {"image": "b", "label": 7, "x": {"y": "ü"}}


def test_parquet_keeps_all_but_the_label(tmp_path: Path) -> None:
    info = {
        "info": {
            "features": {
                "label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}
            }
        }
    }
    schema = pa.schema(
        [("image", pa.binary()), ("label", pa.int64()), ("x", pa.list_(pa.float32()))],
        {b"huggingface": json.dumps(info).encode()},
    )
    table = pa.table(
        {
            "image": [b"%d" % k for k in range(7)],
            "label": [0, 1, 0, 1, 0, 1, 0],
            "x": [[k, 0.5] for k in range(7)],
        },
        schema,
    )
    path = tmp_path / "t.parquet"
    pq.write_table(table, path, row_group_size=3, compression="gzip")
    redo(path, {0: "emu", 4: None, 6: "dog"})
    made = pq.ParquetFile(tmp_path / "out.parquet")
    assert made.schema_arrow.equals(pq.read_schema(path), check_metadata=True)
    assert [made.metadata.row_group(g).num_rows for g in range(3)] == [3, 2, 1]
    assert made.metadata.row_group(0).column(0).compression == "GZIP"
    assert made.read()["label"].to_pylist() == [2, 1, 0, 1, 1, 1]
    assert (
        made.read()
        .drop_columns(["label"])
        .equals(table.drop_columns(["label"]).take([0, 1, 2, 3, 5, 6]))
    )
    with pytest.raises(DataError, match="'fox' is not among the class names"):
        redo(path, {0: "fox"})


def test_number_columns_take_only_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": ["a", "b"], "label": pa.array([1, 2], pa.int8())}), path
    )
    redo(path, {1: "3"})
    assert (
        pq.read_table(tmp_path / "out.parquet").schema.field("label").type == pa.int8()
    )
    with pytest.raises(DataError, match="cannot stand in a label column of type int8"):
        redo(path, {1: "three"})


def test_other_columns_of_one_value(tmp_path: Path) -> None:
    import datetime

    day = datetime.date(2024, 5, 6)
    for kind, values, label, wanted in [
        (pa.date32(), [day, day], "2020-01-02", datetime.date(2020, 1, 2)),
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], "c", "c"),
        (pa.large_string(), ["a", "b"], "c", "c"),
        (pa.binary(), [b"a", b"b"], "ü", "ü".encode()),
    ]:
        path = tmp_path / "t.parquet"
        pq.write_table(
            pa.table({"image": ["a", "b"], "label": pa.array(values, kind)}), path
        )
        redo(path, {1: label})
        made = pq.read_table(tmp_path / "out.parquet")["label"]
        assert made.type == kind and made.to_pylist() == [values[0], wanted]


def test_rows_are_found_by_place_label_and_image(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    images = [b"one", b"two", b"two"]
    pq.write_table(pa.table({"image": images, "label": ["cat", "cat", "dog"]}), path)
    source: Any = open_source(DataSpec(path))
    rows = list(source.rows())

    def row(number: int, **changed: Any) -> dict[str, Any]:
        about = {
            "uri": rows[number].uri,
            "path": "p",
            "old_label": rows[number].label,
            "new_label": "emu",
        }
        return {
            **about,
            "sample_id": f"k#{content_hash(images[number])[:12]}",
            **changed,
        }

    assert find_rows(source, [row(2), row(0)]) == {0: "emu", 2: "emu"}
    for wrong in (
        row(0, old_label="dog"),
        row(0, sample_id="k#" + "0" * 12),
        row(0, uri="row:9"),
    ):
        with pytest.raises(DataError, match="Were they changed"):
            find_rows(source, [wrong])


def test_the_same_path_twice_with_two_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\na.png,dog\n")
    source: Any = open_source(DataSpec(path))
    wanted = [
        {
            "uri": "a.png",
            "path": "a.png",
            "old_label": "dog",
            "new_label": "emu",
            "sample_id": "a.png@2#0",
        }
    ]
    assert find_rows(source, wanted) == {1: "emu"}


def test_parquet_columns_stay_packed_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    packed = {
        "image.bytes": "NONE",
        "image.path": "NONE",
        "label": "SNAPPY",
        "x": "ZSTD",
    }  # images as the hub keeps them
    rows = {
        "image": [{"bytes": b"%d" % k, "path": None} for k in range(3)],
        "label": ["cat"] * 3,
        "x": [1, 2, 3],
    }
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table(
            rows, pa.schema([("image", kind), ("label", pa.string()), ("x", pa.int8())])
        ),
        path,
        compression=packed,
    )
    redo(path, {1: "dog"})
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    assert {c.path_in_schema: c.compression for c in map(group.column, range(4))} == {
        k: v.replace("NONE", "UNCOMPRESSED") for k, v in packed.items()
    }


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [(True, "False", False), (1.5, "2.5", 2.5), (3, "7", 7), ("a", "7", "7")],
)
def test_json_labels_keep_their_type(
    tmp_path: Path, old: Any, new: str, wanted: Any
) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "a", "label": old}) + "\n")
    assert json.loads(redo(tmp_path / "t.jsonl", {0: new})) == {
        "image": "a",
        "label": wanted,
    }


def test_a_label_that_json_cannot_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a", "label": 3}\n')
    with pytest.raises(DataError, match="'emu' cannot stand where '3' stands"):
        redo(tmp_path / "t.jsonl", {0: "emu"})


def test_long_cells_are_no_trouble(tmp_path: Path) -> None:
    text = f"image,label,note\na.png,cat,{'x' * 200_000}\n"
    (tmp_path / "t.csv").write_text(text)
    assert redo(tmp_path / "t.csv", {0: "dog"}).decode() == text.replace("cat", "dog")


def test_rows_are_known_by_their_id_not_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,image,label\n1,a.png,cat\n2,a.png,cat\n3,b.png,cat\n"
    )  # one image, two rows
    source: Any = open_source(DataSpec(tmp_path / "t.csv", id_column="id"))
    second = {
        "sample_id": "2#0",
        "uri": "a.png",
        "path": "a.png",
        "old_label": "cat",
        "new_label": "dog",
    }
    assert find_rows(source, [second]) == {1: "dog"}
    plain: Any = open_source(
        DataSpec(tmp_path / "t.csv")
    )  # without ids, the place is what is left
    assert find_rows(plain, [second]) == {0: "dog"}
