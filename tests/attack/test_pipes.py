"""Pipes and devices in the place of files that are received: refused in a line, never waited for.

What a pipe would hang is this process, so each call has a bell that rings.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fixtures import annotated

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, RunError
from labelsieve.tables import read_parquet

if not hasattr(os, "mkfifo") or not hasattr(signal, "alarm"):
    pytest.skip("no pipes with names here", allow_module_level=True)

SECONDS = 20  # on a busy machine; what waits for a pipe waits for ever

# Files that a folder of data may have, one kind of data each.
NAMES = [
    "annotations.json",
    "instances_train2017.json",
    "tasks.json",
    "annotations.xml",
    "data.yaml",
    "metadata.csv",
    "metadata.jsonl",
    "dataset_info.json",
    "table.csv",
    "table.parquet",
    "table.csv.gz",
    "train-00000-of-00001.parquet",
    "shard-000000.tar",
    "shard-000000.tar.gz",
    "cifar-10-python.tar.gz",
    "data_batch_1",
    "wnids.txt",
    "noisy_label_kv.txt",
    "images.txt",
]


class Waited(BaseException):
    """Somebody waits for a pipe."""


@contextmanager
def bell() -> Iterator[None]:
    """Rings when a call takes too long."""

    def ring(*_: object) -> None:
        raise Waited

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put(path: Path, kind: str) -> Path:
    """A pipe, or a link to a device that gives zeros without end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", NAMES)
def test_in_a_folder_of_data(tmp_path: Path, name: str, kind: str) -> None:
    data = tmp_path / "data"
    put(data / name, kind)
    with bell(), pytest.raises(DataError) as caught:
        list(open_source(DataSpec(str(data))).rows())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("name", [n for n in NAMES if "." in n])
def test_named_by_itself(tmp_path: Path, name: str, kind: str) -> None:
    path = put(tmp_path / name, kind)
    with bell(), pytest.raises(DataError) as caught:
        list(open_source(DataSpec(str(path))).rows())
    assert "\n" not in str(caught.value)


def test_beside_what_is_sound(tmp_path: Path) -> None:
    """Files of class names, of splits and of labels beside pictures that are there."""
    for name in ("classes.txt", "data.yaml", "metadata.csv", "splits.json"):
        data = tmp_path / name.partition(".")[0]
        annotated.pictures(data / "cat")
        annotated.pictures(data / "dog")
        put(data / name, "pipe")
        with bell():
            assert len(list(open_source(DataSpec(str(data))).rows())) > 0


def test_tables_of_a_run(tmp_path: Path) -> None:
    with bell(), pytest.raises(RunError, match="not readable as Parquet"):
        read_parquet(put(tmp_path / "scores.parquet", "pipe"))
