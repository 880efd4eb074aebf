from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.archives import cifar100n
from labelsieve.errors import DataError

CLEAN = [19, 29, 0, 11, 99]
NOISY = [19, 30, 0, 12, 99]
FILE = "CIFAR-100_human.pt"


def build_all(
    build: Any, noisy: Any = NOISY, clean: Any = CLEAN, file: str = FILE
) -> Path:
    build.cifar100(CLEAN)
    return build.human(
        file, {"clean_label": clean, "noisy_label": noisy, "clean_coarse_label": clean}
    )


@pytest.mark.parametrize("file", [FILE, f"data/{FILE}"])
def test_human_labels_stand_beside_the_true_ones(
    build: Any, rows: Any, file: str
) -> None:
    spec = cifar100n.open(build_all(build, file=file))
    assert (spec.label_column, spec.truth_column) == ("noisy_label", "clean_label")
    found = rows(spec)
    assert [r.label for r in found] == [f"fine_{k}" for k in NOISY]
    assert [r.truth for r in found] == [f"fine_{k}" for k in CLEAN]


def test_the_test_part_has_true_labels_only(build: Any, rows: Any) -> None:
    spec = cifar100n.open(build_all(build), "test")
    assert spec.truth_column is None and [r.label for r in rows(spec)] == [
        "fine_29",
        "fine_19",
    ]


def rewrite(path: Path, change: Any) -> None:
    """The pickle inside a file of torch, changed."""
    with zipfile.ZipFile(path) as old:
        members = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(
                name, change(content) if name.endswith("data.pkl") else content
            )


def test_files_of_old_numpy_are_read(build: Any) -> None:
    """The published file names the module of numpy 1 and lists of Python numbers."""
    build_all(build)
    torch.save(
        {"clean_label": np.array(CLEAN), "noisy_label": list(NOISY)},
        build.folder / FILE,
    )
    rewrite(
        build.folder / FILE,
        lambda data: data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"),
    )
    with zipfile.ZipFile(build.folder / FILE) as file:
        (name,) = [n for n in file.namelist() if n.endswith("data.pkl")]
        assert b"numpy.core.multiarray" in file.read(
            name
        ) and b"numpy._core" not in file.read(name)
    assert cifar100n.read(build.folder).labels["noisy_label"] == [
        f"fine_{k}" for k in NOISY
    ]


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize("old", [False, True], ids=["torch", "plain pickle"])
def test_code_in_a_label_file_is_not_run(build: Any, tmp_path: Path, old: bool) -> None:
    build_all(build)
    mark = tmp_path / "mark"
    labels = {
        "clean_label": np.array(CLEAN),
        "noisy_label": np.array(NOISY),
        "trap": Trap(mark),
    }
    if old:
        (build.folder / FILE).write_bytes(pickle.dumps(labels, protocol=2))
    else:
        torch.save(labels, build.folder / FILE)
    with pytest.raises(
        DataError, match=rf"'{FILE}' is not a file of labels.*UCSC-REAL"
    ):
        cifar100n.open(build.folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"label\n1\n", pickle.dumps([1])[:-1]]
)
def test_a_damaged_label_file_is_refused_in_one_line(
    build: Any, content: bytes
) -> None:
    build_all(build)
    (build.folder / FILE).write_bytes(content)
    with pytest.raises(DataError, match="is not a file of labels") as caught:
        cifar100n.open(build.folder)
    assert "\n" not in str(caught.value)


def test_labels_in_another_order_are_refused(build: Any) -> None:
    """tensorflow-datasets shuffles; its labels fit the same number of pictures."""
    with pytest.raises(
        DataError,
        match="differs from the pictures' own labels 2 times: it is in another order",
    ):
        cifar100n.open(build_all(build, clean=[29, 19, 0, 11, 99]))


@pytest.mark.parametrize(
    ("noisy", "reason"),
    [
        ([1, 2, 3], r"int64 of shape \(3,\); 5 class numbers"),
        ([19, 30, 0, 12, 100], "has the label '100'"),
        ([19, 30, 0, 12, -1], "has the label '-1'"),
    ],
)
def test_labels_that_fit_no_picture_or_class_are_refused(
    build: Any, noisy: list[int], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        cifar100n.open(build_all(build, noisy))


def test_labels_that_are_no_numbers_are_refused(build: Any) -> None:
    build_all(build)
    torch.save(
        {"clean_label": np.array(CLEAN), "noisy_label": torch.tensor([0.5] * 5)},
        build.folder / FILE,
    )
    with pytest.raises(DataError, match=r"'noisy_label'.* is float32"):
        cifar100n.open(build.folder)


def test_a_missing_set_and_a_missing_file_are_named(build: Any) -> None:
    build_all(build)
    torch.save({"clean_label": np.array(CLEAN)}, build.folder / FILE)
    with pytest.raises(DataError, match=f"'noisy_label' in '{FILE}' is missing"):
        cifar100n.open(build.folder)
    (build.folder / FILE).unlink()
    with pytest.raises(
        DataError, match=f"'{FILE}' is missing.*UCSC-REAL/cifar-10-100n"
    ):
        cifar100n.open(build.folder)
    torch.save(torch.zeros(3), build.folder / FILE)
    with pytest.raises(DataError, match=r"'clean_label'.*is missing"):
        cifar100n.open(build.folder)


def test_labels_alone_are_not_enough(build: Any) -> None:
    build.human(FILE, {"clean_label": CLEAN, "noisy_label": NOISY})
    with pytest.raises(
        DataError, match=r"neither 'cifar-100-binary' nor 'cifar-100-binary.tar.gz'"
    ):
        cifar100n.open(build.folder)
