"""Texts beside pictures choose anchors: read from a table, told by look-alikes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelsieve as ls
from labelsieve.data.sources import open_source
from labelsieve.data.sources._side import side_texts
from labelsieve.errors import DataError, ModelError, OptionError
from labelsieve.methods import capro


def test_anchors_are_where_look_alikes_tell_of_the_class(
    plant: Callable[..., Any],
) -> None:
    """Names that say nothing about pictures, but texts that say what some of them show."""
    planted = plant(each=40, rate=0.6, noise=40.0)
    names, truth = planted.images.names, planted.truth
    rng = np.random.default_rng(0)
    known = rng.random(len(truth)) < 0.4
    texts = tuple(
        f"a {names[y]} on a table" if k else ""
        for y, k in zip(truth, known, strict=True)
    )
    data = replace(planted.task.data, side_texts=texts)
    settings = capro.Settings()
    chosen = capro._anchors(replace(planted.task, data=data), settings)
    right = truth == planted.images.labels
    assert chosen.any() and right[chosen].mean() > 0.95
    # most labels are wrong: without texts anchors cannot be so
    assert right.mean() < 0.5
    # the own text has no part: with it alone on one picture nothing near it is told
    alone = tuple(texts[0] if i == 0 else "" for i in range(len(truth)))
    told = capro._by_side_texts(replace(planted.task, data=data), alone)
    assert told[0] >= 2 - 1e-6, "a picture was told by its own text"


def test_same_texts_are_read_once_and_long_ones_cut(
    plant: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = plant(each=5).task.encoder
    real, seen = encoder.tokenize, []

    def narrow(texts: Any) -> Any:
        seen.extend(texts)
        if any(len(text.split()) > 4 for text in texts):
            raise ModelError("too long")
        return real(texts)

    monkeypatch.setattr(encoder, "tokenize", narrow)
    texts = ("two three", "", "two three", "two three four five six seven eight")
    found = capro.side_features(encoder, texts, 48)
    assert not found[1].any() and np.array_equal(found[0], found[2])
    np.testing.assert_allclose(np.linalg.norm(found[[0, 3]], axis=1), 1, rtol=1e-5)
    cut = capro.side_features(encoder, ("two three four",), 48)
    np.testing.assert_allclose(found[3], cut[0])
    assert seen.count("two three") == 2, "read more than once"


@pytest.fixture
def told(digit_table: Path, tmp_path: Path) -> Path:
    table = pq.read_table(digit_table)
    words = [
        f"  picture of {name} " if name else None for name in table["truth"].to_pylist()
    ]
    path = tmp_path / "told.parquet"
    pq.write_table(table.append_column("words", pa.array(words)), path)
    return path


def test_texts_of_a_table_are_joined_by_id(told: Path, tmp_path: Path) -> None:
    spec = ls.load(told, id_column="id", label_column="label", side_text_column="words")
    run = ls.scan(spec, output=tmp_path / "run", method="capro", model="tiny")
    assert run.record["command"]["side_text_column"] == "words"
    by_id = dict(
        zip(*(pq.read_table(told)[c].to_pylist() for c in ("id", "words")), strict=True)
    )
    ids = run.manifest["sample_id"]
    found = side_texts(open_source(spec), "words", ids)
    for sample_id, text in zip(ids.to_pylist(), found, strict=True):
        assert text == (by_id[sample_id.rpartition("#")[0]] or "").strip()
    # the same scan without texts is another command
    with pytest.raises(ls.LabelsieveError, match="holds another run"):
        ls.scan(
            ls.load(told, id_column="id", label_column="label"),
            output=tmp_path / "run",
            method="capro",
            model="tiny",
        )


def test_lists_of_tags_are_one_text_and_numbers_are_refused(
    told: Path, tmp_path: Path
) -> None:
    table = pq.read_table(told)
    n = len(table)
    tags = table.append_column("tags", pa.array([["red", "dress"]] * n))
    tags = tags.append_column("price", pa.array(np.arange(n)))
    pq.write_table(tags, told)
    spec = ls.load(told, id_column="id", label_column="label")
    source = open_source(spec)
    ids = pa.array([f"{name}#0" for name in table["id"].to_pylist()])
    assert set(side_texts(source, "tags", ids)) == {"red dress"}
    with pytest.raises(DataError, match="row 0 has no text"):
        side_texts(source, "price", ids)
    with pytest.raises(DataError, match="'wordz'"):
        side_texts(source, "wordz", ids)


def test_who_does_not_read_them_says_so(
    told: Path, tmp_path: Path, call: Any, planted_base: Path
) -> None:
    words = ("--id-column", "id", "--side-text-column", "words", "--model", "tiny")
    done = call("scan", told, "-o", tmp_path / "r", "--method", "knn", *words)
    assert done.code != 0 and "not read by --method knn" in done.err
    with pytest.raises(OptionError, match="column of a table"):
        ls.scan(
            ls.load(planted_base / "data", side_text_column="words"),
            output=tmp_path / "f",
            method="capro",
            model="tiny",
        )
    assert call("score", "--help").out.count("side-text") == 0
