from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.corrections import Killed, interrupt, table_patch

from labelsieve.corrections import write_back
from labelsieve.corrections.patch import patch_id, read_patch, write_patch
from labelsieve.corrections.writers.table import rewrite
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError


def redo(path: Path, changed: dict[int, str | None], **columns: Any) -> bytes:
    source: Any = open_source(DataSpec(path, **columns))
    rewrite(source, changed, path.with_name("out" + path.suffix))
    return path.with_name("out" + path.suffix).read_bytes()


CSV = (
    '\ufeffimage,label,note\r\n"a.png",cat,"two\r\nlines, and ""quotes"""\r\n\r\n'
    'b.png,"cat",plain\r\n'
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


def test_labels_of_thousands_of_digits_keep_every_one(tmp_path: Path) -> None:
    path, long = tmp_path / "t.jsonl", "7" * 5001
    lines = [f'{{"image": "{n}", "label": {long}{n % 2}}}\n' for n in range(4)]
    path.write_text("".join(lines))
    labels = [row.label for row in open_source(DataSpec(path)).rows()]
    assert labels == [f"{long}{n % 2}" for n in range(4)]
    lines[0] = lines[0].replace(f"{long}0", f"{long}1")
    lines[2] = lines[2].replace(f"{long}0", "3")
    assert redo(path, {0: f"{long}1", 2: "3"}).decode() == "".join(lines)


def test_a_label_that_json_cannot_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a", "label": 3}\n')
    with pytest.raises(DataError, match="'emu' cannot replace '3'"):
        redo(tmp_path / "t.jsonl", {0: "emu"})


def test_a_carriage_return_inside_an_object_ends_no_line(tmp_path: Path) -> None:
    text = b'{"path":"0.png",\r"label":"a"}\r\n \r\n{"path":"1.png","label":"a"}\n'
    (tmp_path / "t.jsonl").write_bytes(text)
    wanted = text.replace(b'1.png","label":"a"', b'1.png","label":"b"')
    assert redo(tmp_path / "t.jsonl", {1: "b"}) == wanted
    wanted = text.replace(b'\r"label":"a"', b'\r"label":"b"')
    assert redo(tmp_path / "t.jsonl", {0: "b"}) == wanted


def test_a_line_of_json_keeps_all_but_the_label(tmp_path: Path) -> None:
    line = (
        ' {"path" :"\\u0061", "x":1e400,"y": 1.10, "y":[{"label": "cat"}, "}"],'
        ' "l\\u0061bel"\t: "cat" ,"z":0.12345678901234567890123}\r\n'
    )
    (tmp_path / "t.jsonl").write_bytes(line.encode())
    wanted = line.replace(': "cat" ,', ': "d\\"g" ,').encode()
    assert redo(tmp_path / "t.jsonl", {0: 'd"g'}) == wanted


def test_a_label_with_many_digits_is_written_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"path": "a", "label": 0.5}')
    new = "0.12345678901234567890123"
    assert redo(tmp_path / "t.jsonl", {0: new}).decode().endswith(f'"label": {new}}}')


def test_a_label_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"path": "a", "label": "a", "label": "b"}\n')
    with pytest.raises(DataError, match="stands 2 times"):
        redo(tmp_path / "t.jsonl", {0: "c"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.jsonl", '\ufeff{"image": "a", "label": "cat"}\n'),
        ("t.csv", '\ufeff"label",image\ncat,a\n'),
        ("t.csv", "\r\nimage,label\r\na,cat\r\n"),
        ("t.csv", "\ufeff\n\nlabel,image\ncat,a\n"),
    ],
)
def test_what_stands_before_the_first_row_stays(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert redo(tmp_path / name, {0: "dog"}) == text.replace("cat", "dog").encode()


def test_long_cells_are_no_trouble(tmp_path: Path) -> None:
    text = f"image,label,note\na.png,cat,{'x' * 200_000}\n"
    (tmp_path / "t.csv").write_text(text)
    assert redo(tmp_path / "t.csv", {0: "dog"}).decode() == text.replace("cat", "dog")


@pytest.mark.parametrize("interrupted", [None, 0, 1, 2])
def test_tables_in_place_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int | None
) -> None:
    path = tmp_path / "t.csv"
    text = 'image,label,note\na.png,cat,"x, y"\nb.png,cat,\nc.png,dog,q\nd.png,cat,"last"\n'
    path.write_text(text)
    patch = table_patch(path)
    if interrupted is not None:
        with monkeypatch.context() as patched:
            interrupt(patched, interrupted, half=True)
            with pytest.raises(Killed):
                write_back.in_place(DataSpec(path), patch)
    write_back.in_place(DataSpec(path), patch)
    assert (
        path.read_text()
        == 'image,label,note\na.png,cat,"x, y"\nb.png,dog,\nc.png,dog,q\n'
    )
    write_back.reverse(DataSpec(path), patch)
    assert path.read_text() == text


def test_a_parquet_table_goes_back_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": [b"%d" % k for k in range(5)], "label": ["cat"] * 5}),
        path,
        compression="zstd",
    )
    before = path.read_bytes()
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch)
    assert pq.read_table(path)["label"].to_pylist() == ["cat", "dog", "cat", "cat"]
    write_back.reverse(DataSpec(path), patch)
    assert path.read_bytes() == before


def test_a_table_that_was_edited_after_the_patch_is_not_overwritten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch)
    with path.open("a") as file:
        file.write("e.png,cat\n")
    edited = path.read_text()
    with pytest.raises(DataError, match="was changed after the patch"):
        write_back.reverse(DataSpec(path), patch)
    assert path.read_text() == edited


def test_a_copy_of_a_table_keeps_the_format(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    before = os.listdir(tmp_path)
    write_back.copy(DataSpec(path), table_patch(path), tmp_path / "sub" / "new.csv")
    assert (
        tmp_path / "sub" / "new.csv"
    ).read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\n"
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "sub"]) and os.listdir(
        tmp_path / "sub"
    ) == ["new.csv"]
    with pytest.raises(OptionError, match=r"must end in .csv"):
        write_back.copy(DataSpec(path), table_patch(path), tmp_path / "new.parquet")


def test_a_table_is_patched_from_what_was_scanned(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = "image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n"
    path.write_text(text)
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch.slice(0, 1), "scan")
    write_back.in_place(DataSpec(path), patch.slice(1, 1), "scan")
    assert path.read_text() == "image,label\na.png,cat\nb.png,cat\nc.png,dog\n"
    write_back.in_place(DataSpec(path), patch, "scan")
    assert path.read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\n"
    write_back.copy(
        DataSpec(path), patch.slice(0, 1), tmp_path / "out.csv", scan="scan"
    )
    assert (
        tmp_path / "out.csv"
    ).read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\nd.png,cat\n"
    write_back.reverse(DataSpec(path), patch, "scan")
    assert path.read_text() == text


def applied(path: Path) -> pa.Table:
    """A table with two corrections in place."""
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch, "scan")
    return patch


@pytest.mark.parametrize("scan", ["scan", "other", None])
@pytest.mark.parametrize("more", ["", "e.png,cat\n"])
def test_a_table_from_a_backup_is_corrected_again(
    tmp_path: Path, scan: str | None, more: str
) -> None:
    path = tmp_path / "t.csv"
    text = "image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n" + more
    patch = applied(path)
    spec = DataSpec(path)
    path.unlink()
    path.write_text(text)
    assert len(write_back.check(spec, patch, scan)) == 2
    assert not write_back.in_place(spec, patch, scan).already
    wanted = "image,label\na.png,cat\nb.png,dog\nc.png,dog\n" + more
    assert path.read_text() == wanted
    assert write_back.in_place(spec, patch, scan).already
    write_back.reverse(spec, patch, scan)
    assert path.read_text() == text


def test_two_tables_of_the_same_pictures_have_a_history_each(tmp_path: Path) -> None:
    first = tmp_path / "t.csv"
    other = tmp_path / "u.jsonl"
    patch = applied(first)
    lines = []
    for name, label in zip("abcd", ("cat", "cat", "dog", "cat"), strict=True):
        lines.append(json.dumps({"image": f"{name}.png", "label": label}) + "\n")
    other.write_text("".join(lines))
    assert not write_back.in_place(DataSpec(other), patch, "scan").already
    corrected = lines[0] + lines[1].replace("cat", "dog") + lines[2]
    assert other.read_text() == corrected
    for path in (first, other):
        assert write_back.in_place(DataSpec(path), patch, "scan").already
    write_back.reverse(DataSpec(first), patch, "scan")
    assert first.read_text().count("cat") == 3 and other.read_text() == corrected
    write_back.reverse(DataSpec(other), patch, "scan")
    assert other.read_text() == "".join(lines)
    assert write_back.reverse(DataSpec(other), patch, "scan").already


@pytest.mark.parametrize("name", ["../../home/x", "{home}/x", "..", "", 3, None])
def test_an_original_elsewhere_is_not_taken(tmp_path: Path, name: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x").write_text("mine")
    path = tmp_path / "data" / "t.csv"
    patch = applied(path)
    before = path.read_bytes()
    (record,) = (path.parent / ".labelsieve").glob("applied-*.parquet")
    table, facts = read_patch(record)
    if isinstance(name, str):
        name = name.format(home=tmp_path / "home")
    write_patch(table, record, {**facts, "original": name})
    with pytest.raises((DataError, RunError)):
        write_back.reverse(DataSpec(path), patch, "scan")
    assert (tmp_path / "home" / "x").read_text() == "mine"
    assert path.read_bytes() == before


def test_links_that_wait_under_our_names_are_not_written_through(
    tmp_path: Path,
) -> None:
    path = tmp_path / "data" / "t.csv"
    mine = tmp_path / "mine"
    mine.write_text("mine")
    state = path.parent / ".labelsieve"
    (state / "originals").mkdir(parents=True)
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    patch = table_patch(path)
    record = f"applied-{patch_id(patch)}.parquet"
    kept = f"{patch_id(patch)}-t.csv"
    names = [
        ".t.csv.new",
        f".{record}.new",
        f"..{record}.new.partial",
        "journal.json.x",
    ]
    for name in [*names, f"originals/.{kept}.partial"]:
        (state / name).symlink_to(mine)
    write_back.in_place(DataSpec(path), patch, "scan")
    assert mine.read_text() == "mine" and not path.is_symlink()
    write_back.reverse(DataSpec(path), patch, "scan")
    assert mine.read_text() == "mine"


def test_a_table_that_is_a_link_comes_back_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "t.csv"
    path.symlink_to("../store/t.csv")
    patch = applied(path)
    assert (tmp_path / "store" / "t.csv").read_text().count("cat") == 3
    write_back.reverse(DataSpec(path), patch, "scan")
    assert path.read_text() == (tmp_path / "store" / "t.csv").read_text()


def test_a_finished_copy_is_known_and_another_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    patch = table_patch(path)
    spec, output = DataSpec(path), tmp_path / "out.csv"
    assert not write_back.copy(spec, patch, output).already
    assert write_back.copy(spec, patch, output).already
    output.write_text("mine")
    for other in (output, path):
        before = other.read_text()
        with pytest.raises(OptionError, match="exists already"):
            write_back.copy(spec, patch, other)
        assert other.read_text() == before


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_separators_and_encodings_stay(tmp_path: Path, encoding: str) -> None:
    text = 'image;label;note\r\nä.png;Café;"1;5"\r\nb.png;Tee;x\r\n'
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    assert redo(path, {}) == text.encode(encoding)
    changed = text.replace("Tee", "Süß")
    assert redo(path, {1: "Süß"}) == changed.encode(encoding)


def test_a_label_that_the_encoding_has_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("image,label\nä.png,Café\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"The encoding of the table, cp1252, has no"):
        redo(tmp_path / "t.csv", {0: "茶"})


def test_sets_are_written_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,cat|dog\nb.png,cat\n")
    # a person's order and spaces stay: what goes leaves a gap, what comes stands at the end
    new = '["ant", "bird", "cat"]'
    assert redo(tmp_path / "t.csv", {1: new}, label_separator="|").decode() == (
        "image,label\na.png,cat|dog\nb.png,cat|ant|bird\n"
    )
    (tmp_path / "s.csv").write_text('image,label\na.png,"dog, cat, bird"\n')
    assert redo(tmp_path / "s.csv", {0: new}, label_separator=",").decode() == (
        'image,label\na.png,"cat, bird, ant"\n'
    )
    (tmp_path / "t.jsonl").write_text('{"image": "a", "label": ["x", "cat", "bird"]}\n')
    redone = redo(tmp_path / "t.jsonl", {0: new})
    assert redone.decode() == '{"image": "a", "label": ["cat", "bird", "ant"]}\n'
    table = pa.table({"image": ["a", "b"], "label": [["x", "cat", "bird"], None]})
    pq.write_table(table, tmp_path / "t.parquet")
    redo(tmp_path / "t.parquet", {0: new})
    labels = pq.read_table(tmp_path / "out.parquet")["label"].to_pylist()
    assert labels == [["cat", "bird", "ant"], None]
    # one text in a cell of Parquet, as in CSV
    pq.write_table(
        pa.table({"image": ["a"], "label": ["x|cat"]}), tmp_path / "j.parquet"
    )
    redo(tmp_path / "j.parquet", {0: new}, label_separator="|")
    labels = pq.read_table(tmp_path / "out.parquet")["label"].to_pylist()
    assert labels == ["cat|ant|bird"]


def test_sets_of_numbers_stay_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a", "label": [7, 3]}\n')
    redone = redo(tmp_path / "t.jsonl", {0: '["12", "7"]'})
    assert redone.decode() == '{"image": "a", "label": [7, 12]}\n'
