"""Embeddings and probabilities in files: ids stand beside them, pickles are refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import labelsieve
from labelsieve.data.sources._values import read_values
from labelsieve.errors import DataError, LabelsieveError

IDS = ["b/2.png", "a/1.png", "c"]
VALUES = np.arange(6, dtype=np.float32).reshape(3, 2) / 8
FLAG = "--embeddings"


def test_numpy_with_ids_beside_it_or_without(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, VALUES)
    assert np.array_equal(read_values(path, FLAG), VALUES)
    (tmp_path / "e.ids.txt").write_text("\n".join(IDS) + "\n")
    ids, values = read_values(path, FLAG)
    assert ids == IDS and np.array_equal(values, VALUES)
    (tmp_path / "e.ids.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"^--embeddings '.*' has 3 rows and 2 ids"):
        read_values(path, FLAG)


def test_archives_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    np.savez(path, ids=np.array(IDS), values=VALUES)
    ids, values = read_values(path, FLAG)
    assert ids == IDS and np.array_equal(values, VALUES)
    np.savez(path, a=VALUES, b=VALUES)
    with pytest.raises(DataError, match="holds 2 arrays besides 'ids', not one"):
        read_values(path, FLAG)


def test_lists_in_a_table(tmp_path: Path) -> None:
    table = pa.table({"sample_id": IDS, "embedding": VALUES.tolist()})
    pq.write_table(table, tmp_path / "e.parquet")
    lines = [json.dumps(row) for row in table.to_pylist()]
    (tmp_path / "e.jsonl").write_text("\n".join(lines))
    for name in ("e.parquet", "e.jsonl"):
        ids, values = read_values(tmp_path / name, FLAG)
        assert ids == IDS and np.array_equal(values, VALUES)


def test_a_column_per_class(tmp_path: Path) -> None:
    table = pa.table({"Path": IDS, "cat": VALUES[:, 0], "dog": VALUES[:, 1]})
    pq.write_table(table, tmp_path / "p.parquet")
    pacsv.write_csv(table, tmp_path / "p.csv")
    for name in ("p.parquet", "p.csv"):
        found = read_values(tmp_path / name, FLAG)
        assert found.column_names == ["id", "cat", "dog"]
        assert found["id"].to_pylist() == IDS
        assert found["dog"].to_pylist() == VALUES[:, 1].tolist()


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"x": [1.0]}, r"has no column of ids\. Call it id; there are: x"),
        ({"id": ["a"], "c": ["x"], "d": [1.0]}, "column 'c' holds no numbers"),
        ({"id": ["a"], "c": [None], "d": [1.0]}, "column 'c' has empty cells"),
        ({"id": ["a", "b"], "e": [[1.0], [1.0, 2.0]]}, "have 1, 2 numbers"),
        ({"id": ["a"], "e": [["x"]]}, "hold no numbers"),
    ],
)
def test_faults_are_named(tmp_path: Path, columns: dict[str, Any], fault: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=fault):
        read_values(tmp_path / "p.parquet", FLAG)


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "e.pkl").write_bytes(b"x")
    (tmp_path / "x.npy").write_bytes(b"x")
    for name, fault in (
        ("e.npy", "cannot be read"),
        ("x.npy", "holds no arrays"),
        ("e.pkl", "is of no kind that is read"),
        ("gone.npy", "does not exist"),
    ):
        with pytest.raises(DataError, match=fault):
            read_values(tmp_path / name, FLAG)


def test_files_are_named_like_data(tmp_path: Path) -> None:
    """By the option of the command line or the keyword in Python, which join by id."""
    np.save(tmp_path / "e.npy", VALUES)
    (tmp_path / "e.ids.txt").write_text("\n".join(IDS))
    spec = labelsieve.load(tmp_path, embeddings=str(tmp_path / "e.npy"))
    assert spec.embeddings is not None and spec.embeddings.ids is not None
    assert spec.embeddings.ids.to_pylist() == IDS
    assert np.array_equal(spec.embeddings.values, VALUES)
    (tmp_path / "e.ids.txt").unlink()
    with pytest.raises(LabelsieveError, match=r"rows_match|ids"):
        labelsieve.load(tmp_path, embeddings=str(tmp_path / "e.npy"))
    spec = labelsieve.load(tmp_path, pred_probs=tmp_path / "e.npy", rows_match=True)
    assert spec.pred_probs is not None and len(spec.pred_probs.values) == 3


def test_nobody_is_told_to_trust_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "e.npy").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(DataError, match=r"e\.npy' holds no arrays\. Pickles are not"):
        read_values(tmp_path / "e.npy", FLAG)


def _header(text: str) -> bytes:
    """An array file with this header."""
    padded = text.ljust(118) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY\x01\x00\xff",
        _header("{'descr':'<f4',"),
        _header("(" * 100),
        _header("{'descr':5,'fortran_order':False,'shape':(1,)}"),
        _header("{'descr':'<f4','fortran_order':False,'shape':(12,-8)}"),
        _header(f"{{'descr':'<f4','fortran_order':False,'shape':(12,{10**11})}}"),
    ],
)
def test_a_broken_array_file_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "e.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"e\.npy' cannot be read as NPY: ") as caught:
        read_values(tmp_path / "e.npy", FLAG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.float32(3),
        np.zeros(3, np.float32),
        np.zeros((3, 2, 2), np.float32),
        np.ones((3, 2), np.complex64),
        np.zeros((3, 2), "M8[s]"),
        np.array([["a", "b"]] * 3),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "e.npy", array)
    np.savez(tmp_path / "e.npz", ids=np.array(IDS), values=array)
    for name in ("e.npy", "e.npz"):
        with pytest.raises(DataError, match=r"An array of real numbers"):
            read_values(tmp_path / name, FLAG)
    with pytest.raises(DataError, match=r"not an array of numbers|have the shape"):
        labelsieve.load(tmp_path, embeddings=(IDS, array))


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    np.savez(path, ids=np.array("x"), values=VALUES)
    with pytest.raises(DataError, match="'ids' is no list of ids"):
        read_values(path, FLAG)
    for member in ("x.npy", "x.txt"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(member, b"junk")
        with pytest.raises(DataError, match=r"e\.npz' (cannot be read|holds no array)"):
            read_values(path, FLAG)
    np.savez(path, values=VALUES)
    data = bytearray(path.read_bytes())
    # the flag of encryption, in both headers of the member
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"e\.npz' cannot be read as NPZ: .*encrypted"):
        read_values(path, FLAG)


def test_ids_and_tables_that_cannot_be(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", VALUES)
    (tmp_path / "e.ids.txt").write_bytes(b"\xe9\n" * 3)
    with pytest.raises(DataError, match=r"e\.ids\.txt' cannot be read as UTF-8 text"):
        read_values(tmp_path / "e.npy", FLAG)
    (tmp_path / "p.csv").write_text("id,cat,dog\n")
    with pytest.raises(DataError, match=r"p\.csv' has no rows"):
        read_values(tmp_path / "p.csv", FLAG)
    (tmp_path / "p.jsonl").write_text('{"id": [1], "cat": 0.5}\n')
    with pytest.raises(DataError, match="the ids are list"):
        read_values(tmp_path / "p.jsonl", FLAG)


def test_ids_of_any_number_of_digits_are_kept(tmp_path: Path) -> None:
    """JSON's whole numbers have no largest one; Arrow's have."""
    wanted = [2**53 + 1, 2**63 + 1, -(10**25), "7" * 5001]
    rows = zip(wanted, [*VALUES.tolist(), [0.0] * len(VALUES[0])], strict=True)
    path = tmp_path / "e.jsonl"
    path.write_text("\n".join(f'{{"id": {n}, "embedding": {v}}}' for n, v in rows))
    ids, values = read_values(path, FLAG)
    assert ids == [str(n) for n in wanted] and np.array_equal(values[:-1], VALUES)
    lines = [f'{{"id": {n}, "cat": 0.25, "dog": 0.75}}' for n in wanted]
    path.write_text("\n".join(lines))
    table = read_values(path, FLAG)
    assert table["id"].to_pylist() == [str(n) for n in wanted]
    assert table["cat"].to_pylist() == [0.25] * 4
