"""Frames of every library give the same rows; ids are theirs, and join what comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.errors import DataError


def columns(digits: Any, encode: Callable[..., bytes]) -> dict[str, list[Any]]:
    images, truth = digits
    return {
        "image": [encode(images[k]) for k in range(12)],
        "label": ["even" if truth[k] % 2 == 0 else "odd" for k in range(12)],
        "truth": [str(truth[k]) for k in range(12)],
        "name": [f"digit-{k}" for k in range(12)],
    }


def frames(table: dict[str, list[Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {"dict": table, "arrow": pa.table(table)}
    for library in ("pandas", "polars"):
        try:
            module = __import__(library)
        except ImportError:
            continue
        made[library] = module.DataFrame(table)
    return made


def test_all_libraries_give_the_same_rows(
    digits: Any, encode: Callable[..., bytes]
) -> None:
    table = columns(digits, encode)
    for library, frame in frames(table).items():
        spec = load(frame, id_column="name", truth_column="truth")
        source = open_source(spec)
        rows = list(source.rows())
        assert [r.key for r in rows] == table["name"], library
        assert [r.label for r in rows] == table["label"]
        assert [r.truth for r in rows] == table["truth"]
        assert [source.read(r.uri) for r in rows] == table["image"]


def test_rows_of_pandas_come_back_with_their_index(digits: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from labelsieve.pipeline.scan import scan

    images, truth = digits
    # of arrays, in an order and with an index of their own
    rows = np.random.default_rng(0).permutation(np.flatnonzero(truth < 2)[:20])
    frame = pandas.DataFrame(
        {"image": list(images[rows]), "label": truth[rows]}, index=rows * 10
    )
    run = scan(frame, output=tmp_path / "run", method="knn")
    back = run.to_pandas()
    assert sorted(back.index) == sorted(frame.index)
    joined = frame.join(back)
    assert (joined["label"].astype(str) == joined["given_label"]).all()


def test_a_polars_frame_is_scanned_and_joined_by_its_ids(
    digits: Any, tmp_path: Path
) -> None:
    polars = pytest.importorskip("polars")
    from labelsieve.pipeline.scan import scan

    images, truth = digits
    rows = np.flatnonzero(truth < 2)[:20]
    names = [f"digit-{row}" for row in rows]
    table = {"label": [str(k) for k in truth[rows]], "name": names}
    frame = polars.DataFrame(table).with_columns(
        polars.Series("image", list(images[rows]), dtype=polars.Object)
    )
    loaded = load(frame, id_column="name")
    run = scan(loaded, output=tmp_path / "run", method="knn")
    given = run.to_pandas()["given_label"]
    assert given.to_dict() == dict(zip(names, table["label"], strict=True))


def test_paths_are_taken_from_the_root(
    digits: Any, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(encode(digits[0][0]))
    source = open_source(load({"path": ["a.png"], "class": ["x"]}, root=str(tmp_path)))
    (row,) = source.rows()
    assert (row.key, row.path, row.label) == ("row0", "a.png", "x")
    assert Path(row.image).read_bytes() == encode(digits[0][0])
    hub = open_source(load({"image": [{"bytes": b"1", "path": None}], "label": [1]}))
    assert next(hub.rows()).image == b"1"


def test_only_one_split() -> None:
    table = {"image": [b"1", b"2"], "label": [0, 1], "split": ["train", "test"]}
    rows = list(open_source(load(table, split="test")).rows())
    assert [(r.uri, r.label, r.split) for r in rows] == [("1", "1", "test")]


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (
            {"pixels": [1], "label": [1]},
            {},
            "The frame has no column with a usual name",
        ),
        ({"image": [1], "kind": [1]}, {}, "label_column="),
        (
            {"image": [1], "label": [1]},
            {"label_column": "lable"},
            "Did you mean 'label'",
        ),
        ({"image": [1], "label": [1]}, {"id_column": "id"}, "id_column"),
        ({"image": [1, 2], "label": [1]}, {}, "Columns have 2 and 1 rows"),
        (
            {"image": [1, 2], "label": [1, 2], "k": ["a", "a"]},
            {"id_column": "k"},
            "'a' stands twice",
        ),
        ({"image": [1, 2], "label": [[1, 2], "a"]}, {}, "others are lists"),
    ],
)
def test_what_is_wrong_is_named(table: Any, options: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(open_source(load(table, **options)).rows())
