from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labelsieve.data.archives import cifar10n
from labelsieve.errors import DataError

CLEAN = [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
SETS = {name: [(k + i) % 10 for k in CLEAN] for i, name in enumerate(cifar10n.SETS, 1)}


def build_all(build: Any, packed: bool = False) -> Path:
    build.cifar10(CLEAN, packed)
    return build.human("CIFAR-10_human.pt", {"clean_label": CLEAN, **SETS})


@pytest.mark.parametrize("packed", [False, True])
def test_five_files_are_one_part_and_five_label_sets_can_be_chosen(
    build: Any, rows: Any, packed: bool
) -> None:
    spec = cifar10n.open(build_all(build, packed))
    assert spec.label_column == "worse_label" and spec.truth_column == "clean_label"
    for name, numbers in SETS.items():
        found = rows(replace(spec, label_column=name))
        assert [r.label for r in found] == [f"thing{k}" for k in numbers]
        assert [r.truth for r in found] == [f"thing{k}" for k in CLEAN]
    assert [r.key for r in found] == [f"train/{i:05d}" for i in range(10)]
    pictures = {r.image.tobytes() for r in found}
    assert len(pictures) == 10


def test_an_unknown_label_set_is_told_the_nearest(build: Any, rows: Any) -> None:
    spec = replace(cifar10n.open(build_all(build)), label_column="worst_label")
    with pytest.raises(
        DataError,
        match=r"--label-column: Label set 'worst_label' is unknown.*'worse_label'\?",
    ):
        rows(spec)


def test_a_missing_batch_is_named(build: Any) -> None:
    (build_all(build) / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"'data_batch_4.bin' is missing"):
        cifar10n.open(build.folder)


@pytest.mark.parametrize(
    "name",
    ["cifar-10-batches-py/data_batch_1", "data_batch_1", "cifar-10-python.tar.gz"],
)
def test_the_python_release_is_refused(build: Any, name: str) -> None:
    build.write(name, b"\x80\x02}q\x00.")
    with pytest.raises(DataError, match=r"Python release.*cifar-10-binary\.tar\.gz"):
        cifar10n.open(build.folder)


def test_the_test_part_is_read_without_human_labels(build: Any, rows: Any) -> None:
    spec = cifar10n.open(build.cifar10(CLEAN), "test")
    assert [r.label for r in rows(spec)] == [
        "thing6",
        "thing9",
        "thing9",
    ] and spec.truth_column is None
