"""Mosaics: their parts are pictures of their true sets, and errors come as often as asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelsieve.bench.sets.mosaics import SIDE, with_errors, write
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError

COLOURS = {name: (40 * k, 250 - 40 * k, 90) for k, name in enumerate("abcdef")}


def pictures(classes: str) -> Any:
    """Six one-coloured pictures of each class."""
    images, labels = [], []
    for name in classes * 6:
        images.append(np.full((SIDE, SIDE, 3), COLOURS[name], np.uint8))
        encoded = io.BytesIO()
        Image.fromarray(images.pop()).save(encoded, "PNG")
        images.append(encoded.getvalue())
        labels.append(name)
    return open_source(DataSpec((images, labels)))


def test_the_true_set_is_what_the_quarters_show(tmp_path: Path) -> None:
    write(pictures("abcdef"), tmp_path / "t.parquet", 50, (0.0, 0.0), 0)
    table = pq.read_table(tmp_path / "t.parquet").to_pylist()
    sizes = set()
    for row in table:
        pixels = np.asarray(Image.open(io.BytesIO(row["image"])))
        assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
        shown = {tuple(pixels[y, x]) for y in (5, SIDE + 5) for x in (5, SIDE + 5)}
        assert shown == {COLOURS[name] for name in row["true_label"]}
        assert row["given_label"] == row["true_label"]
        sizes.add(len(row["true_label"]))
    assert sizes == {1, 2, 3, 4}


def test_errors_change_labels_and_no_picture(tmp_path: Path) -> None:
    source = pictures("abcdef")
    for seed in (0, 1):
        write(source, tmp_path / f"{seed}.parquet", 20, (0.2, 0.1), seed)
    first, second = (pq.read_table(tmp_path / f"{s}.parquet") for s in (0, 1))
    assert first["image"].equals(second["image"])
    assert first["true_label"].equals(second["true_label"])
    assert not first["given_label"].equals(second["given_label"])
    with pytest.raises(OptionError, match="need 4 classes; the data have 3"):
        write(pictures("abc"), tmp_path / "t.parquet", 5, (0.0, 0.0), 0)


def test_errors_come_as_often_as_asked_for() -> None:
    true = np.random.default_rng(0).random((4_000, 8)) < 0.3
    given = with_errors(true, 0.1, 0.05, 1)
    assert abs((true & ~given).sum() / true.sum() - 0.1) < 0.01
    assert abs((given & ~true).sum() / true.sum() - 0.05) < 0.01
    assert (with_errors(true, 0.0, 0.0, 1) == true).all()
