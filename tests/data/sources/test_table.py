from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.data.sources import Row, open_source, table
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable

RECORDS = [
    {"image": "a/1.png", "label": "cat", "truth": "dog", "id": "x1", "split": "train"},
    {"image": "a/2 b.png", "label": "007", "truth": "cat", "id": "x2", "split": "test"},
    {
        "image": 'it\'s "q".png',
        "label": 'hot,"dog"',
        "truth": "cat",
        "id": "x3",
        "split": "train",
    },
    {"image": "ü€.png", "label": "naïve", "truth": "", "id": "x4", "split": "train"},
]


def write(path: Path, records: list[dict[str, Any]], **columns: Any) -> Path:
    """Records in the format that the suffix names, as people's own tools write them."""
    frame = pd.DataFrame(records)
    if path.suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text(
            "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records),
            encoding="utf-8",
        )
    else:
        pq.write_table(pa.Table.from_pylist(records), path, **columns)
    return path


def rows(path: Path, **options: Any) -> list[Row]:
    return list(table.open_source(DataSpec(str(path), **options)).rows())


FORMATS = ["t.csv", "t.tsv", "t.jsonl", "t.ndjson", "t.parquet", "t.PQ"]


@pytest.mark.parametrize("group", [64, 8192])
def test_a_large_parquet_file_is_never_held_whole(tmp_path: Path, group: int) -> None:
    """Neither what was read before nor the rest of a row group."""
    rng = np.random.default_rng(0)
    names = pa.array([f"{k}" for k in range(8192)])
    pixels = pa.array(
        [rng.bytes(8 * 1024) for _ in range(8192)]
    )  # 64 MB that cannot be packed
    pq.write_table(
        pa.table({"image": pixels, "label": names}),
        tmp_path / "t.parquet",
        row_group_size=group,
    )
    del pixels
    before, held, labels = pa.total_allocated_bytes(), [], []
    for row in open_source(DataSpec(tmp_path / "t.parquet")).rows():
        held.append(pa.total_allocated_bytes() - before)
        labels.append(row.label)
    assert labels == names.to_pylist()
    assert max(held) < 32 * 2**20


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, RECORDS)
    found = rows(path, truth_column="truth", id_column="id")
    assert [(r.path, r.label, r.truth, r.key, r.split) for r in found] == [
        (r["image"], r["label"], r["truth"] or None, r["id"], r["split"])
        for r in RECORDS
    ]
    assert [r.image for r in found] == [tmp_path / r["image"] for r in RECORDS]
    source = table.open_source(DataSpec(path))
    assert [source.read(r.uri) for r in source.rows()] == [
        tmp_path / r["image"] for r in RECORDS
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_the_truth_is_read_only_where_it_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, RECORDS)
    assert {r.truth for r in rows(path)} == {None}


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_paths_are_relative_to_the_table_or_to_root_or_absolute(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "pictures").mkdir()
    path = write(
        tmp_path / "deep" / name,
        [{"image": "1.png", "label": "a"}, {"image": "/abs/2.png", "label": "b"}],
    )
    assert [r.image for r in rows(path)] == [
        tmp_path / "deep/1.png",
        Path("/abs/2.png"),
    ]
    assert [r.image for r in rows(path, root=str(tmp_path / "pictures"))] == [
        tmp_path / "pictures/1.png",
        Path("/abs/2.png"),
    ]
    with pytest.raises(DataError, match=r"^--root '.*nowhere' is not a folder"):
        rows(path, root=str(tmp_path / "nowhere"))


def test_named_columns_win_over_usual_names(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        [{"image": "a.png", "photo": "b.png", "label": "x", "kind": "y"}],
    )
    assert [(r.path, r.label) for r in rows(path)] == [("a.png", "x")]
    assert [
        (r.path, r.label) for r in rows(path, image_column="photo", label_column="kind")
    ] == [("b.png", "y")]


@pytest.mark.parametrize(
    ("image", "label"),
    [("file_name", "category"), ("Path", "CLASS"), ("filepath", "target")],
)
def test_usual_names_are_found(tmp_path: Path, image: str, label: str) -> None:
    assert [
        (r.path, r.label)
        for r in rows(write(tmp_path / "t.csv", [{image: "a.png", label: "x"}]))
    ] == [("a.png", "x")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_column": "imgae"},
            r"^--image-column: Column 'imgae' is unknown; .* "
            r"Did you mean 'image'\? Table: '.*t.csv'",
        ),
        (
            {"label_column": "labell"},
            r"^--label-column: Column 'labell' is unknown; .* Did you mean 'label'\?",
        ),
        (
            {"truth_column": "t"},
            r"^--truth-column: Column 't' is unknown; there are: id, image, label, split, truth",
        ),
        ({"id_column": "key"}, r"^--id-column: Column 'key' is unknown"),
        ({"split": "trian"}, r"^--split 'trian' matches no row of '.*t.csv'"),
    ],
)
def test_a_wrong_option_is_named(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        rows(write(tmp_path / "t.csv", RECORDS), **options)


def test_a_table_without_usual_names_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"t.csv' has no column with a usual name for --image-column or "
        r"--text-column. Name one of: x, y\.$",
    ):
        rows(write(tmp_path / "t.csv", [{"x": "a.png", "y": "b"}]))
    with pytest.raises(
        DataError,
        match=r"has no column with a usual name for --label-column. Name one of: image, y\.$",
    ):
        rows(write(tmp_path / "t.csv", [{"image": "a.png", "y": "b"}]))


def test_a_split_is_a_choice_of_rows_that_keeps_their_place(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        [{"image": bytes([n]), "label": "a", "split": "ab"[n % 2]} for n in range(6)],
    )
    source = table.open_source(DataSpec(path, split="b"))
    assert [source.read(r.uri) for r in source.rows()] == [
        bytes([n]) for n in (1, 3, 5)
    ]
    with pytest.raises(
        DataError, match=r"^--split needs a column 'split'; '.*u.csv' has none"
    ):
        rows(write(tmp_path / "u.csv", [{"image": "a.png", "label": "x"}]), split="a")


# --- labels


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_label_is_none_and_shifts_no_row(tmp_path: Path, name: str) -> None:
    records = [
        {"image": f"{n}.png", "label": label}
        for n, label in enumerate(["a", None, "", "  ", "b"])
    ]
    assert [(r.path, r.label) for r in rows(write(tmp_path / name, records))] == [
        ("0.png", "a"),
        ("1.png", None),
        ("2.png", None),
        ("3.png", None),
        ("4.png", "b"),
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_labels_that_look_like_something_else_stay_text(
    tmp_path: Path, name: str
) -> None:
    texts = [
        "null",
        "NA",
        "nan",
        "None",
        "true",
        "007",
        "1e3",
        "2020-01-01",
        "2020-01-01T00:00:00",
        "-1",
    ]
    records = [{"image": f"{n}.png", "label": text} for n, text in enumerate(texts)]
    path = tmp_path / name
    if path.suffix in (".csv", ".tsv"):
        comma = "\t" if path.suffix == ".tsv" else ","
        path.write_text(
            "".join(
                f"{image}{comma}{label}\n"
                for image, label in [("image", "label"), *(r.values() for r in records)]
            )
        )
    else:
        write(path, records)
    assert [r.label for r in rows(path)] == texts


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_dates_alone_stay_text(tmp_path: Path, name: str) -> None:
    records = [{"image": f"{n}.png", "label": f"2020-01-0{n}"} for n in (1, 2)]
    assert [r.label for r in rows(write(tmp_path / name, records))] == [
        "2020-01-01",
        "2020-01-02",
    ]


def test_numbers_are_written_without_a_point_where_they_are_whole(
    tmp_path: Path,
) -> None:
    values: list[pa.Array] = [
        pa.array([3, None, 5], pa.int64()),
        pa.array([3.0, float("nan"), 5.0]),
        pa.array([3, None, 5], pa.uint8()),
        pa.array(["3", None, "5"]).dictionary_encode(),
        pa.array([b"3", None, b"5"]),
        pa.array(["3", None, "5"], pa.large_string()),
    ]
    for labels in values:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"image": ["a", "b", "c"], "label": labels}), path)
        assert [r.label for r in rows(path)] == ["3", None, "5"]


def test_hugging_face_parquet_gives_names_for_class_numbers(
    tmp_path: Path, digits: Any, encode: Callable[..., bytes]
) -> None:
    import datasets

    words = ["zero", "one", "two"]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=words)}
    )
    pictures = [encode(digits[0][n]) for n in range(4)]
    made = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": p, "path": f"{n}.png"} for n, p in enumerate(pictures)],
            "label": [2, 0, -1, 1],
        },
        features,
    )
    made.to_parquet(tmp_path / "t.parquet")
    found = rows(tmp_path / "t.parquet")
    assert [r.label for r in found] == ["two", "zero", None, "one"]
    source = table.open_source(DataSpec(tmp_path / "t.parquet"))
    assert source.classes == ["zero", "one", "two"]
    assert [r.image for r in found] == pictures
    assert [r.path for r in found] == ["0.png", "1.png", "2.png", "3.png"]


# --- images


def test_encoded_images_are_streamed_and_found_again(tmp_path: Path) -> None:
    """As many rows as a user may have, in one row group, as pandas writes them."""
    count = 20_000
    cells = [n.to_bytes(4, "big") * 4 for n in range(count)]
    pd.DataFrame(
        {"image": cells, "label": ["ab"[n % 2] for n in range(count)]}
    ).to_parquet(tmp_path / "t.parquet")
    source = table.open_source(DataSpec(tmp_path / "t.parquet"))
    found = list(source.rows())
    assert [r.image for r in found] == cells
    assert len({r.key for r in found}) == count
    for n in (0, 1023, 1024, count - 1):
        assert source.read(found[n].uri) == cells[n]


@pytest.mark.parametrize("group", [1, 3, 100])
def test_images_are_found_in_any_row_group(tmp_path: Path, group: int) -> None:
    path = write(
        tmp_path / "t.parquet",
        [{"image": bytes([n]), "label": "a"} for n in range(10)],
        row_group_size=group,
    )
    source = table.open_source(DataSpec(path))
    uris = [r.uri for r in source.rows()]
    for n in random.Random(0).sample(range(10), 10):
        assert source.read(uris[n]) == bytes([n])
    with pytest.raises(DataError, match=r"has no row 10\. Was the table changed"):
        source.read("row:10")


def test_a_cell_without_an_image_keeps_its_row(tmp_path: Path) -> None:
    for cells in (
        [b"abc", None, b"", b"d"],
        ["abc", None, "", "d"],
        [
            {"bytes": b"abc", "path": None},
            {"bytes": None, "path": None},
            None,
            {"bytes": None, "path": "d"},
        ],
    ):
        path = write(
            tmp_path / "t.parquet",
            [{"image": c, "label": f"l{n}"} for n, c in enumerate(cells)],
        )
        found = rows(path)
        assert [r.label for r in found] == ["l0", "l1", "l2", "l3"]
        assert found[1].image == found[2].image == b""
        assert len({r.key for r in found}) == 4


@pytest.mark.parametrize(
    ("cell", "kind"), [([1, 2], "list<.*int64>"), (7, "int64"), (0.5, "double")]
)
def test_an_image_column_of_numbers_is_refused(
    tmp_path: Path, cell: Any, kind: str
) -> None:
    for name in ("t.parquet", "t.jsonl"):
        path = write(tmp_path / name, [{"image": cell, "label": "a"}])
        with pytest.raises(
            DataError,
            match=rf"^--image-column 'image' of '.*{name}' holds {kind}\. Paths or encoded images",
        ):
            rows(path)


def test_file_names_that_are_numbers_stay_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\n0001,a\n0002,b\n")
    assert [r.path for r in rows(tmp_path / "t.csv")] == ["0001", "0002"]


@pytest.mark.parametrize("name", FORMATS)
def test_names_with_newlines_quotes_and_percent_signs(
    tmp_path: Path, name: str
) -> None:
    names = [
        "two\nlines.png",
        'say "hi".png',
        "it's.png",
        "100%25.png",
        "tab\there.png",
        "comma,.png",
        "back\\slash.png",
    ]
    source = table.open_source(
        DataSpec(write(tmp_path / name, [{"image": n, "label": "a"} for n in names]))
    )
    found = list(source.rows())
    assert [r.path for r in found] == [readable(n) for n in names]
    assert [source.read(r.uri) for r in found] == [tmp_path / n for n in names]


# --- keys


def keys(path: Path, **options: Any) -> dict[Any, str]:
    return {(r.image, r.label): r.key for r in rows(path, **options)}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_the_order_of_rows_changes_no_key_of_paths(tmp_path: Path, name: str) -> None:
    records = [{"image": f"{n}.png", "label": "a"} for n in range(20)]
    before = keys(write(tmp_path / name, records))
    random.Random(1).shuffle(records)
    assert keys(write(tmp_path / name, records)) == before
    assert set(before.values()) == {f"{n}.png" for n in range(20)}


def test_the_order_of_rows_changes_no_key_of_bytes(tmp_path: Path) -> None:
    records = [{"image": bytes([n]), "label": "a"} for n in range(20)]
    before = keys(write(tmp_path / "t.parquet", records))
    random.Random(1).shuffle(records)
    assert keys(write(tmp_path / "t.parquet", records)) == before
    assert keys(write(tmp_path / "t.parquet", records[5:])).items() <= before.items()


def test_rows_of_the_same_image_have_keys_of_their_own(tmp_path: Path) -> None:
    found = rows(
        write(tmp_path / "t.csv", [{"image": "a.png", "label": x} for x in "xyz"])
    )
    assert [r.key for r in found] == ["a.png", "a.png@2", "a.png@3"]
    first, second = (
        r.key
        for r in rows(
            write(tmp_path / "t.parquet", [{"image": b"a", "label": x} for x in "xy"])
        )
    )
    assert second == f"{first}@2"


def test_an_id_of_the_users_that_is_there_twice_is_named_with_its_rows(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "t.csv",
        [{"image": f"{n}.png", "label": "a", "id": i} for n, i in enumerate("pqrq")],
    )
    with pytest.raises(
        DataError,
        match=r"^--id-column 'id': 'q' stands in row 1 and in row 3\. Name a column of unique ids",
    ):
        rows(path, id_column="id")


def test_a_row_without_an_id_is_known_by_its_path(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        [
            {"image": "0.png", "label": "a", "id": "p"},
            {"image": "1.png", "label": "a", "id": None},
        ],
    )
    assert [r.key for r in rows(path, id_column="id")] == ["p", "1.png"]


# --- files that cannot be read


def test_a_row_with_too_many_cells_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,x\nb.png,y,z\n")
    with pytest.raises(
        DataError,
        match=r"^'.*t\.csv' cannot be read(?: as CSV)?: .*#3: Expected 2 columns, got 3",
    ):
        rows(tmp_path / "t.csv")


def test_a_late_fault_is_named_with_its_row(tmp_path: Path) -> None:
    lines = [f"{n}.png,{'x' * 50}" for n in range(30_000)]
    lines[25_000] = "only one cell"
    (tmp_path / "t.csv").write_text("image,label\n" + "\n".join(lines))
    with pytest.raises(
        DataError,
        match=(r"t\.csv' cannot be read.*: .*Row #25002: Expected 2 columns, got 1.*"),
    ):
        rows(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b""),
        ("t.csv", b"image,label\ncaf\x81.png,a\n"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0"),
        ("t.jsonl", b""),
        ("t.jsonl", b'{"image": "a.png", "label": '),
        ("t.jsonl", b'{"image": "a", "label": 1}\n{"image": "b", "label": "x"}\n'),
        ("t.jsonl", b"[1, 2]"),
        ("t.parquet", b""),
        ("t.parquet", b"PAR1 cut"),
        ("t.tsv", b"image,label\na,b\n"),
    ],
)
def test_a_damaged_table_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}'") as caught:
        rows(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("\ufeffimage,label\r\na.png,x\r\n".encode())
    assert [(r.path, r.label) for r in rows(tmp_path / "t.csv")] == [("a.png", "x")]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label,label\na.png,x,y\n")
    with pytest.raises(
        DataError, match=r"t\.csv' has 2 columns named 'label'\. Rename"
    ):
        rows(tmp_path / "t.csv")


def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\n")
    pq.write_table(
        pa.table(
            {"image": pa.array([], pa.binary()), "label": pa.array([], pa.string())}
        ),
        tmp_path / "t.parquet",
    )
    assert rows(tmp_path / "t.csv") == rows(tmp_path / "t.parquet") == []


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"gone\.csv' does not exist\. Give a folder of class folders, a CSV",
    ):
        open_source(DataSpec(str(tmp_path / "gone.csv")))


@pytest.mark.skipif(
    sys.platform == "darwin" or os.name == "nt",
    reason="the file system refuses such names",
)
def test_pictures_below_a_root_that_is_no_text(
    tmp_path: Path, encode: Callable[[np.ndarray], bytes]
) -> None:
    root = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    data = encode(np.zeros((2, 2), np.uint8))
    (root / "1.png").write_bytes(data)
    found = rows(
        write(tmp_path / "t.csv", [{"image": "1.png", "label": "a"}]), root=str(root)
    )
    assert found[0].image.read_bytes() == data


# --- JSON Lines of strangers


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"null\n{:", r"line 1 is not a JSON object \('null'\)"),
        (b'{"image": "a", "label": 1}\n{:', "line 2 is not JSON"),
        (b'\n\n{"image": "a"', "line 3 is not JSON"),
        (b'{"image": "a", "label": "\\ud800"}', "line 1 is not valid Unicode"),
        (b'{"image": "caf\xe9"}', "line 1 is not valid Unicode"),
        (b'{"image": ' + b"[" * 100_000, "line 1 is nested too deep"),
        (b'{"image": "' + b"a" * (1 << 24), "line 1 is longer than 16 MiB"),
        (b'{"image": "a", "label": 1} {}', "line 1 is not JSON"),
        (b"\n \n", "it has no lines"),
        (
            b'{"image": "a", "label": 1}\n{"image": "b", "label": "x"}',
            "'label' holds text in line 2 and numbers before",
        ),
    ],
)
def test_a_fault_of_json_lines_is_named_with_its_line(
    content: bytes, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.jsonl' cannot be read as JSONL: {fault}"):
        rows(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("10000000000000004103", "10000000000000004103"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("9007199254740993", "9007199254740993"),
        ("1e20", "100000000000000000000"),
        ("1.0", "1"),
        ("0.10", "0.1"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("9007199254740993.0", "9007199254740993"),
        ("1e999", "1e999"),
        ("true", "True"),
        ("null", None),
        ("NaN", None),
    ],
)
def test_numbers_keep_every_digit(
    written: str, text: str | None, tmp_path: Path
) -> None:
    line = f'{{"image": "a.png", "label": {written}, "id": {written}}}\n'
    (tmp_path / "t.jsonl").write_text("\ufeff" + line, encoding="utf-8")
    (row,) = rows(tmp_path / "t.jsonl", id_column="id")
    assert row.label == text and row.key == (text or "a.png")


def test_large_integers_of_csv_and_parquet_keep_every_digit(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na,10000000000000004103\n")
    assert [r.label for r in rows(tmp_path / "t.csv")] == ["10000000000000004103"]
    labels = pa.array([2**64 - 1, 2**63], pa.uint64())
    pq.write_table(
        pa.table({"image": ["a", "b"], "label": labels}), tmp_path / "t.parquet"
    )
    found = [r.label for r in rows(tmp_path / "t.parquet")]
    assert found == ["18446744073709551615", "9223372036854775808"]


def test_files_that_are_called_like_rows_are_read_as_files(tmp_path: Path) -> None:
    names = ["row:1.png", "row:1", "row:", "row:x", "a.png"]
    path = write(tmp_path / "t.csv", [{"image": n, "label": "a"} for n in names])
    source = table.open_source(DataSpec(path))
    uris = [row.uri for row in source.rows()]
    assert [source.read(uri) for uri in uris] == [tmp_path / n for n in names]
    # as written before, but for the one that is the name of a row
    assert uris == ["row:1.png", "./row:1", "row:", "row:x", "a.png"]


def test_a_row_without_a_file_is_called_by_its_own_id(tmp_path: Path) -> None:
    table = pa.table({"text": ["one", "two"], "label": ["a", "b"], "id": ["x7", None]})
    pq.write_table(table, tmp_path / "t.parquet")
    read = rows(tmp_path / "t.parquet", text_column="text", id_column="id")
    assert [row.path for row in read] == ["x7", "row 1"]
    read = rows(tmp_path / "t.parquet", text_column="text")
    assert [row.path for row in read] == ["row 0", "row 1"]
