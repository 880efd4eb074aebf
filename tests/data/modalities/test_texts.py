"""Texts of every storage: read once, known by their bytes, given back by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.data.text.reading import TextPreprocess
from labelsieve.errors import DataError
from labelsieve.models.load import preprocess_of

TEXTS = ["a good film", "waste, of time", 'she said "no"', "שלום 🙂"]
LABELS = ["good", "bad", "bad", "good"]
READING = TextPreprocess(64, 2)


def csv_file(folder: Path) -> Any:
    path = folder / "reviews.csv"
    lines = ["text,label"]
    for text, label in zip(TEXTS, LABELS, strict=True):
        quoted = text.replace('"', '""')
        lines.append(f'"{quoted}",{label}')
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def jsonl_file(folder: Path) -> Any:
    path = folder / "reviews.jsonl"
    rows = [{"text": t, "label": y} for t, y in zip(TEXTS, LABELS, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def parquet_file(folder: Path) -> Any:
    path = folder / "reviews.parquet"
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), path)
    return path


def text_folder(folder: Path) -> Any:
    for number, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        path = folder / "reviews" / label / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "reviews"


def columns(folder: Path) -> Any:
    return {"text": TEXTS, "label": LABELS}


@pytest.mark.parametrize(
    "make", [csv_file, jsonl_file, parquet_file, text_folder, columns]
)
def test_texts_of_every_storage_are_the_same(make: Any, tmp_path: Path) -> None:
    spec = load(make(tmp_path))
    prepared = prepare(spec, READING)
    data = prepared.dataset
    assert data.template == "This text is about {}."
    rows = prepared.manifest.table.to_pylist()
    source = open_source(spec)
    for number, row in enumerate(rows):
        (text,) = data.inputs(np.array([number]))
        assert row["given_label"] == LABELS[TEXTS.index(text)]
        again = source.read(row["uri"])
        data_again = again if isinstance(again, bytes) else Path(again).read_bytes()
        assert data_again == text.encode()


def test_what_is_no_text_stays_a_row_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    cells: list[Any] = ["good one", "a bad one", "  ", None, "third", "other"]
    rows = []
    for number, cell in enumerate(cells):
        rows.append(json.dumps({"text": cell, "label": "ab"[number % 2]}))
    path.write_text("\n".join(rows))
    table = prepare(load(path, text_column="text"), READING).manifest.table
    reasons = sorted(r for r in table["reason"].to_pylist() if r)
    assert len(table) == 6
    assert reasons == ["the text is empty"] * 2


def test_texts_without_a_label_are_called_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a", "label": NaN}\n{"text": "b", "label": NaN}\n')
    with pytest.raises(DataError, match=r"None of the 2 texts can be used"):
        prepare(load(path, text_column="text"), READING)


def test_one_kind_of_item_is_judged(tmp_path: Path) -> None:
    path = csv_file(tmp_path)
    with pytest.raises(DataError, match=r"^--image-column and --text-column exclude"):
        open_source(load(path, image_column="text", text_column="text"))
    with pytest.raises(DataError, match=r"^--text-column: Column 'txt' is unknown"):
        open_source(load(path, text_column="txt"))


def test_a_model_of_pictures_is_refused(tmp_path: Path) -> None:
    spec = load(csv_file(tmp_path), text_column="text")
    with pytest.raises(DataError, match=r"^The data are texts, and the model takes"):
        prepare(spec, preprocess_of("tiny"))
