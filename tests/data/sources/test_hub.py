from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from labelsieve.data.sources import Row, hub, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

WORDS = ["zero", "one", "two", "three"]


@pytest.fixture(scope="module")
def pictures(
    digits: tuple[np.ndarray, np.ndarray], encode: Callable[[np.ndarray], bytes]
) -> list[bytes]:
    """PNG bytes of twelve real digits."""
    return [encode(digits[0][n]) for n in range(12)]


def make(pictures: list[bytes], labels: list[int], **columns: Any) -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=WORDS)}
    )
    for name, values in columns.items():
        features[name] = (
            datasets.ClassLabel(names=WORDS)
            if isinstance(values[0], int)
            else datasets.Value("string")
        )
    cells = [{"bytes": p, "path": None} for p in pictures]
    return datasets.Dataset.from_dict(
        {"image": cells, "label": labels, **columns}, features
    )


def rows(data: Any, **options: Any) -> list[Row]:
    return list(hub.open_source(DataSpec(data, **options)).rows())


def test_a_saved_data_set_gives_encoded_images_and_class_names(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    made = make(pictures, [n % 4 for n in range(12)], truth=[3] * 12)
    made.save_to_disk(tmp_path / "saved")
    source = open_source(DataSpec(str(tmp_path / "saved"), truth_column="truth"))
    found = list(source.rows())
    assert [r.image for r in found] == pictures == [source.read(r.uri) for r in found]
    assert [r.label for r in found] == [WORDS[n % 4] for n in range(12)]
    assert {r.truth for r in found} == {"three"}
    assert {r.truth for r in rows(str(tmp_path / "saved"))} == {None}
    # the object itself, also as a user formats it
    for given in (made, made.with_format("torch"), made.with_format("numpy")):
        assert [(r.key, r.label, r.image) for r in rows(given)] == [
            (r.key, r.label, r.image) for r in found
        ]


def test_splits_are_read_one_after_another_or_alone(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    made = datasets.DatasetDict(
        {
            "train": make(pictures[:6], [0, 1, 2, 3, 0, 1]),
            "test": make(pictures[6:9], [3, 2, 1]),
        }
    )
    made.save_to_disk(tmp_path / "saved")
    source = open_source(DataSpec(tmp_path / "saved"))
    found = list(source.rows())
    assert [(r.split, r.path) for r in found[5:7]] == [
        ("train", "train row 5"),
        ("test", "test row 0"),
    ]
    assert [source.read(r.uri) for r in found] == pictures[:9]
    alone = rows(made, split="test")
    assert [(r.label, r.image) for r in alone] == [
        ("three", pictures[6]),
        ("two", pictures[7]),
        ("one", pictures[8]),
    ]
    with pytest.raises(
        DataError,
        match=r"^Split 'tset' is unknown; there are: test, train. Did you mean 'test'\?",
    ):
        rows(made, split="tset")
    with pytest.raises(DataError, match=r"^Split 'train' is unknown"):
        rows(made["train"], split="train")


def test_a_missing_label_is_none_and_shifts_no_row(pictures: list[bytes]) -> None:
    made = make(pictures[:4], [0, -1, None, 3])  # type: ignore[list-item]
    assert [(r.label, r.image) for r in rows(made)] == list(
        zip(["zero", None, None, "three"], pictures, strict=False)
    )


def test_a_broken_or_missing_image_keeps_its_row(pictures: list[bytes]) -> None:
    made = make([pictures[0], b"no image", pictures[2]], [0, 1, 2])
    assert [(r.label, r.image) for r in rows(made)] == [
        ("zero", pictures[0]),
        ("one", b"no image"),
        ("two", pictures[2]),
    ]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Value("string")}
    )
    some = datasets.Dataset.from_dict(
        {"image": [{"bytes": pictures[0], "path": None}, None], "label": ["a", "b"]},
        features,
    )
    assert [(r.label, r.image) for r in rows(some)] == [("a", pictures[0]), ("b", b"")]


def test_another_image_column_is_never_decoded(pictures: list[bytes]) -> None:
    made = make(pictures[:3], [0, 1, 2])
    made = made.add_column(
        "mask", [{"bytes": b"broken", "path": None}] * 3
    ).cast_column("mask", datasets.Image())
    assert [r.image for r in rows(made, image_column="image")] == pictures[:3]
    with pytest.raises(DataError, match=r"^--image-column: Column 'imag' is unknown"):
        rows(made, image_column="imag")


def test_columns_that_cannot_be_guessed_are_asked_for(pictures: list[bytes]) -> None:
    made = make(pictures[:2], [0, 1], fine=[1, 2]).rename_columns(
        {"label": "coarse", "image": "img"}
    )
    assert [r.label for r in rows(made, label_column="fine")] == ["one", "two"]
    with pytest.raises(
        DataError,
        match=(
            r"^--label-column is needed: the data set has 2 columns of kind ClassLabel\. "
            r"Name one of: img, coarse, fine"
        ),
    ):
        rows(made)
    with pytest.raises(
        DataError,
        match=r"^--image-column is needed: the data set has 0 columns of kind Image",
    ):
        rows(made.remove_columns("img"), label_column="fine")


def test_paths_in_a_text_column_are_relative_to_root(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    (tmp_path / "a.png").write_bytes(pictures[0])
    made = datasets.Dataset.from_dict({"image": ["a.png", None], "label": ["x", "y"]})
    found = rows(made, root=str(tmp_path))
    assert (
        found[0].image == tmp_path / "a.png"
        and found[0].key == found[0].path == "a.png"
    )
    assert found[1].image == b"" and found[1].label == "y"


def test_lists_of_labels_are_refused(pictures: list[bytes]) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.List(datasets.ClassLabel(names=WORDS)),
        }
    )
    made = datasets.Dataset.from_dict(
        {"image": [{"bytes": pictures[0], "path": None}], "label": [[0, 1]]}, features
    )
    with pytest.raises(
        DataError,
        match=r"^--label-column 'label' holds list<.*A column with one value per image is needed",
    ):
        rows(made)


def test_the_order_of_rows_changes_no_key(pictures: list[bytes]) -> None:
    made = make(pictures, [n % 4 for n in range(12)])
    order = random.Random(0).sample(range(12), 12)
    before = {r.image: r.key for r in rows(made)}
    assert {r.image: r.key for r in rows(made.select(order))} == before
    assert len(set(before.values())) == 12
    doubled = [r.key for r in rows(make([pictures[0]] * 3, [0, 1, 1]))]
    assert doubled == [
        before[pictures[0]],
        f"{before[pictures[0]]}@2",
        f"{before[pictures[0]]}@3",
    ]


def test_ids_of_the_users_are_keys(pictures: list[bytes]) -> None:
    made = make(pictures[:3], [0, 1, 2], id=["p", "q", "p"])
    read = rows(made.select([0, 1]), id_column="id")
    assert [r.key for r in read] == [r.path for r in read] == ["p", "q"]
    with pytest.raises(
        DataError, match=r"^--id-column 'id': 'p' stands in row 0 and in row 2"
    ):
        rows(made, id_column="id")


def test_a_hub_id_without_a_network_is_an_error_in_one_line() -> None:
    with pytest.raises(
        DataError,
        match=(
            r"^'hf://nobody/nothing-here' could not be fetched from the hub: "
            r".*save it to disk first\.$"
        ),
    ) as caught:
        open_source(DataSpec("hf://nobody/nothing-here"))
    assert "\n" not in str(caught.value)


def test_a_hub_id_that_is_no_name_is_an_error_too() -> None:
    with pytest.raises(DataError, match=r"^'hf:///' could not be fetched"):
        open_source(DataSpec("hf:///"))


def test_a_damaged_saved_data_set_is_named(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    make(pictures, [0] * 12).save_to_disk(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "cut")
    next((tmp_path / "cut").glob("*.arrow")).write_bytes(b"ARROW1 and no more")
    (tmp_path / "saved" / "state.json").unlink()
    for name in ("saved", "cut"):
        with pytest.raises(
            DataError,
            match=rf"{name}' cannot be opened as a saved data set: "
            r".*Save it again with save_to_disk",
        ) as caught:
            open_source(DataSpec(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_stream_is_refused(pictures: list[bytes]) -> None:
    with pytest.raises(DataError, match=r"is streamed or has no splits"):
        open_source(DataSpec(make(pictures, [0] * 12).to_iterable_dataset()))


def test_nested_lists_are_pictures_of_numbers(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    from labelsieve.data.images import from_object

    made = datasets.Dataset.from_dict(
        {"image": [digits[0][n].tolist() for n in range(2)], "label": ["a", "b"]}
    )
    found = rows(made)
    assert np.array_equal(
        np.asarray(from_object(found[1].image).convert("L")), digits[0][1]
    )
    assert isinstance(from_object(found[0].image), Image.Image)
    assert found[0].key != found[1].key


def test_classes_are_as_declared_also_unused_ones(pictures: list[bytes]) -> None:
    source = open_source(DataSpec(make(pictures, [0, 2] * 6)))
    assert source.classes == WORDS  # type: ignore[attr-defined]
    texts = datasets.Dataset.from_dict({"image": ["a.png"], "label": ["x"]})
    assert open_source(DataSpec(texts)).classes == []  # type: ignore[attr-defined]


def test_cells_that_lie_outside_of_a_damaged_file_are_named(
    tmp_path: Path, pictures: list[bytes]
) -> None:
    """Arrow maps the file as it is: it would read memory of others, or end the process."""
    make(pictures, [0] * 12, name=["four"] * 12).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    content = file.read_bytes()
    sound = np.arange(0, 4 * 13, 4, dtype="<i4").tobytes()
    assert content.count(sound) == 1
    broken = np.arange(0, 4 * 13, 4, dtype="<i4")
    broken[5:7] = [2_000_000_000, -7]
    file.write_bytes(content.replace(sound, broken.tobytes()))
    with pytest.raises(DataError, match="is damaged"):
        rows(str(tmp_path / "saved"), id_column="name")
