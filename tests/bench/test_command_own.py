"""Benches of the user's own embeddings: joined by id, and asked of no method that needs a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.bench import command, plan
from labelsieve.bench.material import with_own
from labelsieve.bench.steps import Workspace, of
from labelsieve.errors import OptionError

CONFIG = """
[[tower]]
name = "tiny"

[[method]]
name = "{method}"

[[data]]
name = "digits"
path = "digits.parquet"
image_column = "image"
id_column = "id"
label_column = "true"
limit = 48
noise = [{{ kind = "symmetric", rate = 0.2 }}]
"""


def configured(folder: Path, method: str = "knn", more: str = "") -> str:
    (folder / "c.toml").write_text(CONFIG.format(method=method) + more)
    return str(folder / "c.toml")


@pytest.fixture
def own(digit_data: Path, tmp_path: Path) -> Path:
    """Embeddings that say the true class, in an order of their own."""
    table = pq.read_table(digit_data / "digits.parquet")
    classes = sorted(set(table["true"].to_pylist()))
    order = np.random.default_rng(0).permutation(len(table))
    at = np.array([classes.index(label) for label in table["true"].to_pylist()])
    vectors = np.eye(len(classes), dtype=np.float32)[at]
    vectors += (
        np.random.default_rng(1).normal(0, 0.01, vectors.shape).astype(np.float32)
    )
    ids = table["id"].cast(pa.string()).take(order)
    pq.write_table(
        pa.table({"id": ids, "embedding": list(vectors[order])}), tmp_path / "e.parquet"
    )
    return tmp_path / "e.parquet"


def test_own_embeddings_are_joined_by_id(
    digit_data: Path, tmp_path: Path, own: Path
) -> None:
    workspace = Workspace(tmp_path / "bench", digit_data, "cpu", "float32")
    files = {"embeddings": str(own)}
    answer = command.run(configured(tmp_path), workspace, jobs="1", own=files)
    (row,) = pq.read_table(answer["files"]["results.parquet"]).to_pylist()
    # whatever the tower sees, these neighbours are all of the true class
    assert row["state"] == "done" and row["auroc"] > 0.99, row


def test_what_does_not_go_together_is_refused(
    digit_data: Path, tmp_path: Path, own: Path
) -> None:
    files: dict[str, Any] = {"embeddings": str(own), "pred_probs": None}
    named = plan.read(configured(tmp_path, "zero-shot"))
    with pytest.raises(
        OptionError, match=r"zero-shot needs a model, and 'digits' brings"
    ):
        with_own(named, digit_data, files)
    one = plan.read(configured(tmp_path))
    with pytest.raises(
        OptionError, match=r"embeddings of 'digits': '.*no.npy' does not exist"
    ):
        with_own(one, digit_data, {"embeddings": "no.npy"})
    second = 'noise = [{ kind = "pair", rate = 0.1 }]\npath = "digits.parquet"\n'
    two = plan.read(configured(tmp_path, more=f'[[data]]\nname = "b"\n{second}'))
    with pytest.raises(OptionError, match=r"--embeddings: 'c' has 2 data sets\. Write"):
        with_own(two, digit_data, files)
    assert with_own(two, digit_data, {"embeddings": None}) == two
    # a file that changed is another cell, one that is not named leaves cells as they were
    workspace = Workspace(tmp_path / "bench", digit_data, "cpu", "float32")
    folders = []
    for content in (b"1", b"2", None):
        own.write_bytes(content or b"")
        told = with_own(one, digit_data, files if content else {})
        folders.append([step.folder for step in of(list(told.cells()), workspace)])
    assert folders[0] != folders[1] and folders[2] == [
        step.folder for step in of(list(one.cells()), workspace)
    ]
