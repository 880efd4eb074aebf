from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.data.sources import Row, folder, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

odd_names = pytest.mark.skipif(
    sys.platform == "darwin" or os.name == "nt",
    reason="the file system refuses such names",
)


def put(root: Path, *names: str) -> Path:
    """Files of one byte; sources never look inside."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def rows(root: Path, split: str | None = None) -> tuple[list[Row], list[str]]:
    source = folder.open_source(DataSpec(str(root), split=split))
    return list(source.rows()), source.notes


def labels(root: Path, split: str | None = None) -> dict[str, str | None]:
    return {row.path: row.label for row in rows(root, split)[0]}


def test_a_class_folder_is_the_label_also_of_what_lies_deeper(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "cat/2.PNG", "cat/old/3.webp", "dog/1.jpg")
    assert labels(tmp_path) == {
        "cat/1.jpg": "cat",
        "cat/2.PNG": "cat",
        "cat/old/3.webp": "cat",
        "dog/1.jpg": "dog",
    }
    found, notes = rows(tmp_path)
    assert (
        notes == []
        and {row.split for row in found} == {None}
        and {row.truth for row in found} == {None}
    )


def test_real_pictures_are_found_again_by_their_uri(digit_folder: Path) -> None:
    source = folder.open_source(DataSpec(digit_folder))
    found = list(source.rows())
    assert len(found) == 40
    for row in found:
        assert Path(source.read(row.uri)).read_bytes() == Path(row.image).read_bytes()
        assert row.label == Path(row.image).parent.name


def test_splits_above_the_classes(tmp_path: Path) -> None:
    put(
        tmp_path,
        "train/cat/1.jpg",
        "train/dog/2.jpg",
        "Val/cat/3.jpg",
        "test/dog/4.jpg",
    )
    found, _ = rows(tmp_path)
    assert {(r.key, r.label, r.split) for r in found} == {
        ("train/cat/1.jpg", "cat", "train"),
        ("train/dog/2.jpg", "dog", "train"),
        ("Val/cat/3.jpg", "cat", "Val"),
        ("test/dog/4.jpg", "dog", "test"),
    }
    assert labels(tmp_path, "train") == {
        "train/cat/1.jpg": "cat",
        "train/dog/2.jpg": "dog",
    }


def test_a_test_split_without_classes_does_not_make_train_a_class(
    tmp_path: Path,
) -> None:
    put(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/3.jpg", "test/4.jpg")
    assert labels(tmp_path) == {"train/cat/1.jpg": "cat", "train/dog/2.jpg": "dog"}
    assert rows(tmp_path)[1] == [
        "2 images lie outside any class folder (first: '3.jpg') and were left out"
    ]


def test_a_class_may_be_called_like_a_split_beside_others(tmp_path: Path) -> None:
    put(tmp_path, "test/1.jpg", "train/2.jpg")
    # of nothing but splits, the pictures have no labels
    with pytest.raises(
        DataError, match=r"pictures without labels, as '.*' is no class"
    ):
        labels(tmp_path)
    (tmp_path / "train/2.jpg").unlink()
    (tmp_path / "beside").mkdir()
    put(tmp_path / "beside", "train/cat/1.jpg", "extra/2.jpg")
    assert set(labels(tmp_path / "beside").values()) == {"train", "extra"}
    assert (
        "'train' is a class and not a split, because 'extra' is not a split"
        in rows(tmp_path / "beside")[1]
    )


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "val/cat/2.jpg")
    with pytest.raises(
        DataError,
        match=r"^Split 'trian' is unknown; there are: train, val. Did you mean 'train'\?",
    ):
        rows(tmp_path, "trian")
    put(tmp_path / "flat", "cat/1.jpg")
    with pytest.raises(
        DataError,
        match=r"^Split 'train' is unknown; there are: .none: the folder has no split level",
    ):
        rows(tmp_path / "flat", "train")


def test_hidden_things_are_left_out_and_named(tmp_path: Path) -> None:
    put(
        tmp_path,
        "cat/1.jpg",
        ".ipynb_checkpoints/1-checkpoint.jpg",
        "__MACOSX/cat/1.jpg",
    )
    put(
        tmp_path,
        "cat/.ipynb_checkpoints/1.jpg",
        "cat/._1.jpg",
        "cat/._2.jpg",
        "cat/Thumbs.db",
        "cat/notes.txt",
        "9.jpg",
        "README.md",
    )
    found, notes = rows(tmp_path)
    assert [row.key for row in found] == ["cat/1.jpg"]
    assert sorted(notes) == [
        "1 image lies outside any class folder (first: '9.jpg') and was left out",
        "2 files in 'cat' are not images by their suffix and were left out",
        "hidden 'cat/._1.jpg' and 2 more left out",
        "hidden folder '.ipynb_checkpoints' was left out",
        "hidden folder '__MACOSX' was left out",
    ]
    assert sorted(notes) == sorted(rows(tmp_path)[1])


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "owl/.hidden.jpg")
    (tmp_path / "dog").mkdir()
    found, notes = rows(tmp_path)
    assert {row.label for row in found} == {"cat"}
    assert (
        "class folder 'dog' holds no images" in notes
        and "class folder 'owl' holds no images" in notes
    )


def test_classes_that_differ_only_in_case_stay_two(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "Cat/1.jpg")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("the file system does not tell case apart")
    assert labels(tmp_path) == {"cat/1.jpg": "cat", "Cat/1.jpg": "Cat"}


@odd_names
def test_links_that_lead_back_up_are_followed_once(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "cat/1.jpg", "cat/more/2.jpg")
    put(tmp_path, "beside/3.jpg")
    (root / "cat/more/loop").symlink_to(root / "cat")
    (root / "here").symlink_to(".")
    (root / "above").symlink_to("..")
    (root / "self").symlink_to("self")
    assert labels(root) == {"cat/1.jpg": "cat", "cat/more/2.jpg": "cat"}
    assert {n for n in rows(root)[1] if n.startswith("link loop")} == {
        "link loop at 'cat/more/loop' was not followed",
        "link loop at 'here' was not followed",
        "link loop at 'above' was not followed",
    }


@odd_names
def test_links_within_the_data_are_read(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "cat/1.jpg", "cat/2.jpg")
    (root / "dog").symlink_to(root / "cat")
    (root / "cat/3.jpg").symlink_to("1.jpg")
    names = [f"{label}/{n}.jpg" for label in ("cat", "dog") for n in (1, 2, 3)]
    assert labels(root) == {name: name[:3] for name in names}
    assert not [note for note in rows(root)[1] if "link" in note]


@odd_names
def test_links_that_lead_out_are_named_and_left_out(tmp_path: Path) -> None:
    put(tmp_path, "home/dog/1.jpg", "data/cat/1.jpg", "data-2/a.jpg")
    root, home = tmp_path / "data", tmp_path / "home"
    (root / "dog").symlink_to(home / "dog")
    (root / "cat/2.jpg").symlink_to("../../home/dog/1.jpg")
    (root / "cat/3.jpg").symlink_to(tmp_path / "data-2/a.jpg")  # not in it by its name
    assert labels(root) == {"cat/1.jpg": "cat"}
    notes = [note for note in rows(root)[1] if "out of the data" in note]
    assert notes == [
        f"1 link leads out of the data ('dog' to '{home / 'dog'}') and was left out; "
        "--root FOLDER allows links into that folder",
        f"2 links lead out of the data ('cat/2.jpg' to '{home / 'dog/1.jpg'}') and were "
        "left out; --root FOLDER allows links into that folder",
    ]
    spec = DataSpec(str(root), root=str(home))
    keys = [row.key for row in folder.open_source(spec).rows()]
    assert keys == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


@odd_names
def test_a_folder_of_nothing_but_outward_links_says_so(tmp_path: Path) -> None:
    put(tmp_path, "home/dog/1.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dog").symlink_to(tmp_path / "home/dog")
    with pytest.raises(DataError, match=r"1 link leads out of the data .*--root"):
        labels(tmp_path / "data")
    with pytest.raises(DataError, match=r"^--root '.*nowhere' is not a folder"):
        folder.open_source(DataSpec(str(tmp_path), root=str(tmp_path / "nowhere")))


@odd_names
def test_a_broken_link_keeps_its_row(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    (tmp_path / "cat/gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "cat/self.jpg").symlink_to("self.jpg")
    assert list(labels(tmp_path)) == ["cat/1.jpg", "cat/gone.jpg", "cat/self.jpg"]


@odd_names
def test_names_with_quotes_newlines_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    names = [
        b'it\'s "1".jpg',
        b"two\nlines.jpg",
        b"caf\xe9.jpg",
        "ü €.jpg".encode(),
        b"100%25.jpg",
        b"a,b;c\t.jpg",
    ]
    for place in (b"cat", b"caf\xe9"):
        (tmp_path / os.fsdecode(place)).mkdir()
        for name in names:
            Path(os.fsdecode(bytes(tmp_path) + b"/" + place + b"/" + name)).write_bytes(
                place + name
            )
    source = folder.open_source(DataSpec(tmp_path))
    found = list(source.rows())
    assert len({row.key for row in found}) == 12
    for row in found:
        for text in (row.key, row.uri, row.path, str(row.label)):
            text.encode("utf-8")
        at = os.fsencode(row.image).rsplit(b"/", 2)
        assert (
            Path(source.read(row.uri)).read_bytes()
            == at[1] + at[2]
            == Path(row.image).read_bytes()
        )
    assert {row.label for row in found} == {"cat", "caf\\xe9"}


def test_rows_come_in_the_order_of_names_whatever_the_order_of_creation(
    tmp_path: Path,
) -> None:
    names = [f"{k}/{n}.jpg" for k in ("b", "a", "c") for n in range(9)]
    keys = []
    for seed in range(3):
        random.Random(seed).shuffle(names)
        keys.append([row.key for row in rows(put(tmp_path / str(seed), *names))[0]])
    assert keys[0] == keys[1] == keys[2] == sorted(names)


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="root may open everything",
)
def test_a_folder_that_may_not_be_opened_is_named(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "dog").chmod(0)
    try:
        found, notes = rows(tmp_path)
    finally:
        (tmp_path / "dog").chmod(0o755)
    assert [row.label for row in found] == ["cat"]
    assert any("dog' cannot be opened: Permission denied" in note for note in notes)


def test_a_folder_without_classes_says_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg")
    with pytest.raises(
        DataError,
        match=r"has no class folders; .*\. Put the images of each class into a folder",
    ):
        rows(tmp_path)


@pytest.mark.parametrize(
    "option", ["image_column", "label_column", "truth_column", "id_column"]
)
def test_options_of_tables_are_refused(tmp_path: Path, option: str) -> None:
    put(tmp_path, "cat/1.jpg")
    with pytest.raises(
        DataError, match=f"^--{option.replace('_', '-')} does not apply to a folder"
    ):
        folder.open_source(DataSpec(tmp_path, **{option: "x"}))  # type: ignore[arg-type]


def test_what_is_not_there_is_named() -> None:
    for wrong in ("no/such/folder", "gone.csv", "gone"):
        with pytest.raises(
            DataError,
            match=f"^'{wrong}' does not exist",
        ):
            open_source(DataSpec(wrong))


def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, encode: Callable[[np.ndarray], bytes]
) -> None:
    (tmp_path / "one.png").write_bytes(encode(np.zeros((2, 2), np.uint8)))
    with pytest.raises(
        DataError,
        match=r"^labelsieve cannot read '.*one\.png': it looks like a single picture\.",
    ):
        open_source(DataSpec(tmp_path / "one.png"))


# --- a history beside the data that a stranger wrote


@pytest.mark.parametrize(
    "new", ["/etc/passwd", "../outside.png", "%2E%2E/outside.png", "cat/%2Fetc", 7]
)
def test_a_history_leads_nowhere_else(tmp_path: Path, new: object) -> None:
    data = tmp_path / "data"
    put(data, "cat/1.jpg", "dog/2.jpg")
    put(tmp_path, "outside.png")
    state = data / ".labelsieve"
    state.mkdir()
    table = pa.table({"uri": ["cat/gone.jpg"], "new_uri": [new]})
    pq.write_table(table, state / "applied-1.parquet")
    source = folder.open_source(DataSpec(data))
    assert source.read("cat/gone.jpg") == data / "cat/gone.jpg"
    for uri in ("../outside.png", str(tmp_path / "outside.png"), "%2E%2E/outside.png"):
        with pytest.raises(DataError, match="does not lie inside"):
            source.read(uri)


def test_a_damaged_history_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "dog/2.jpg")
    (tmp_path / ".labelsieve").mkdir()
    (tmp_path / ".labelsieve" / "applied-1.parquet").write_bytes(b"PAR1 nothing")
    source = folder.open_source(DataSpec(tmp_path))
    assert source.read("cat/gone.jpg") == tmp_path / "cat/gone.jpg"


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    put(tmp_path, "cat/\x1b[2Ja\n.jpg", "dog/1.jpg")
    found, _ = rows(tmp_path)
    assert [row.path for row in found] == ["cat/\\x1b[2Ja\\n.jpg", "dog/1.jpg"]
    source = folder.open_source(DataSpec(tmp_path))
    assert source.read(found[0].uri).is_file()
