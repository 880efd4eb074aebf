from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from labelsieve.data.images import from_object
from labelsieve.data.sources import Row, arrays, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rows(data: Any, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(data, **options)).rows())


def test_images_and_labels_stay_together_and_are_known_by_position(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, truth = digits[0][:30], digits[1][:30]
    source = open_source(DataSpec((images, truth)))
    found = list(source.rows())
    assert [r.label for r in found] == [str(k) for k in truth]
    assert [r.key for r in found] == [f"row{n}" for n in range(30)]
    assert [r.path for r in found] == [f"row {n}" for n in range(30)]
    assert all(np.array_equal(r.image, i) for r, i in zip(found, images, strict=True))
    assert all(
        np.array_equal(source.read(r.uri), i)
        for r, i in zip(found, images, strict=True)
    )
    assert {r.truth for r in found} == {None}


@pytest.mark.parametrize(
    "labels",
    [
        [3, 0, 5],
        (3, 0, 5),
        np.array([3, 0, 5], np.uint8),
        np.array([3.0, 0, 5]),
        torch.tensor([3, 0, 5]),
        torch.tensor([3.0, 0, 5]),
        ["3", "0", "5"],
        np.array(["3", "0", "5"]),
        np.array([b"3", b"0", b"5"]),
        pd.Series([3, 0, 5]),
        pd.Series(["3", "0", "5"], dtype="category"),
    ],
)
def test_labels_of_any_kind_are_written_alike(labels: Any) -> None:
    assert [r.label for r in rows((np.zeros((3, 4, 4), np.uint8), labels))] == [
        "3",
        "0",
        "5",
    ]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, ""],
        np.array(["a", None, " "], object),
        ["a", float("nan"), np.float32("nan")],
        pd.Series(["a", pd.NA, pd.NaT]),
    ],
)
def test_a_missing_label_is_none_and_shifts_no_row(labels: Any) -> None:
    assert [r.label for r in rows((np.zeros((3, 4, 4), np.uint8), labels))] == [
        "a",
        None,
        None,
    ]


def test_pandas_rows_are_taken_by_position_not_by_name(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"image": ["a.png", "b.png", "c.png"], "label": ["x", "y", "z"]}
    ).sort_values("image", ascending=False)
    assert [(r.image, r.label) for r in rows((frame["image"], frame["label"]))] == [
        ("c.png", "z"),
        ("b.png", "y"),
        ("a.png", "x"),
    ]
    some = frame[frame["label"] != "y"]
    source = open_source(DataSpec((some["image"], some["label"])))
    assert [source.read(r.uri) for r in source.rows()] == ["c.png", "a.png"]


class Digits(Dataset[Any]):
    """What a user writes: pictures opened when asked for."""

    classes = ("zero", "one", "two")

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return Image.open(self.files[row]).convert("RGB"), row % 3


def test_a_torch_dataset_keeps_the_rows_it_cannot_open(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    files = [tmp_path / f"{n}.png" for n in range(6)]
    for n, file in enumerate(files):
        Image.fromarray(digits[0][n]).save(file)
    files[1].unlink()
    files[4].write_bytes(b"no image")
    found = rows(Digits(files))
    assert [r.key for r in found] == [f"row{n}" for n in range(6)]
    assert [r.label for r in found] == ["zero", None, "two", "zero", None, "two"]
    assert isinstance(found[1].image, FileNotFoundError) and isinstance(
        found[4].image, UnidentifiedImageError
    )
    assert [
        np.array_equal(np.asarray(found[n].image)[..., 0], digits[0][n])
        for n in (0, 2, 3, 5)
    ] == [True] * 4


def test_other_datasets(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = torch.from_numpy(digits[0][:5]), torch.from_numpy(digits[1][:5])
    pairs = list(zip(images, labels, strict=True))
    for data in (
        TensorDataset(images, labels),
        pairs,
        torch.utils.data.Subset(TensorDataset(images, labels), range(5)),
    ):
        found = rows(data)
        assert [r.label for r in found] == [str(k) for k in labels.tolist()]
        assert np.array_equal(
            np.asarray(from_object(found[3].image))[..., 0], digits[0][3]
        )


def test_class_names_replace_numbers_only_where_they_count() -> None:
    class Named(list[Any]):
        classes = np.array(["cat", "dog"])

    pictures = np.zeros((5, 2, 2), np.uint8)
    found = rows(Named(zip(pictures, [1, 0, 7, "dog", -1], strict=True)))
    assert [r.label for r in found] == ["dog", "cat", "7", "dog", None]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            (np.zeros((3, 2, 2)), [1, 2]),
            "^There are 3 images and 2 labels. Give one label per image",
        ),
        (
            (np.zeros((3, 2, 2)), [1, 2, 3], [4]),
            "^A tuple of data must be .images, labels.. It has 3 parts",
        ),
        ((iter([]), [1, 2]), "^A tuple of data must be .images, labels"),
        (
            [np.zeros((2, 2))] * 3,
            "^Item 0 of the data set is ndarray, not .image, label.",
        ),
        (
            [{"image": 1, "label": 2}],
            "^Item 0 of the data set is dict, not .image, label.",
        ),
        ([(1, 2, 3)], "^Item 0 of the data set is tuple, not .image, label."),
        (
            (np.zeros((2, 2, 2)), np.eye(2)),
            "^The label of row 0 is list, not one value",
        ),
        (
            [(np.zeros((2, 2)), torch.eye(2)[0])],
            "^The label of row 0 is Tensor, not one value",
        ),
        (7, "^labelsieve cannot read an object of type int"),
    ],
)
def test_data_of_another_shape_are_named(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows(data)


def test_a_stream_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(
        DataError, match=r"^labelsieve cannot read an object of type Stream"
    ):
        rows(Stream())


@pytest.mark.parametrize(
    "option",
    ["image_column", "label_column", "truth_column", "id_column", "root", "split"],
)
def test_options_of_tables_are_refused(option: str) -> None:
    with pytest.raises(
        DataError, match=f"^{option} does not apply to data given as Python objects"
    ):
        rows((np.zeros((1, 2, 2)), [1]), **{option: "x"})


def test_bytes_and_paths_are_handed_on(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    items = [buffer.getvalue(), str(tmp_path / "a.png"), tmp_path / "b.png"]
    assert [r.image for r in rows((items, "xyz"))] == items
    assert arrays.accepts(DataSpec((items, "xyz"))) and not arrays.accepts(
        DataSpec("a/path")
    )
