from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelsieve.data.archives import cifar100
from labelsieve.data.sources import open_source
from labelsieve.errors import DataError

LABELS = ["fine_19", "fine_29", "fine_0", "fine_11", "fine_99"]


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_and_fine_labels_come_in_the_archives_order(
    build: Any, rows: Any, packed: bool
) -> None:
    found = rows(cifar100.open(build.cifar100(packed=packed)))
    assert [
        r.label for r in found
    ] == LABELS  # the second label byte; the first is the super-class
    assert [r.key for r in found] == [f"train/{i:05d}" for i in range(5)]
    first = np.asarray(found[0].image)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    content = (
        build.cifar100(top="again").joinpath("again/train.bin").read_bytes()[:3074]
    )
    assert content[0] == 7 and content[1] == 19
    for y, x, colour in (
        (0, 0, 0),
        (0, 31, 1),
        (31, 0, 2),
        (17, 5, 0),
    ):  # planes: red, green, blue; row by row
        assert first[y, x, colour] == content[2 + 1024 * colour + 32 * y + x]
    assert {r.split for r in found} == {"train"} and {r.truth for r in found} == {None}


def test_an_image_is_found_again_and_parts_do_not_mix(build: Any, rows: Any) -> None:
    spec = cifar100.open(build.cifar100(), "test")
    assert [(r.key, r.label) for r in rows(spec)] == [
        ("test/00000", "fine_29"),
        ("test/00001", "fine_19"),
    ]
    source = open_source(spec)
    assert all(np.array_equal(source.read(r.uri), r.image) for r in rows(spec))


def test_names_are_the_labels_words_and_a_part_of_the_archive_is_told(
    build: Any,
) -> None:
    spec = cifar100.open(build.cifar100())
    assert (
        dict(spec.class_names) == {}
        and spec.label_column == "label"
        and spec.truth_column is None
    )
    assert cifar100.read(build.folder).notes == [
        "5 images; the official part has 50,000"
    ]


def test_the_folder_may_be_the_inner_one(build: Any) -> None:
    build.cifar100()
    assert cifar100.read(build.folder / "cifar-100-binary").labels == {"label": LABELS}
    assert cifar100.read(build.folder).labels == {"label": LABELS}


class Trap:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize(
    "name", ["cifar-100-python/train", "train", "cifar-100-python.tar.gz"]
)
def test_the_python_release_is_refused_unread(
    build: Any, tmp_path: Path, name: str
) -> None:
    mark = tmp_path / "mark"
    build.write(name, pickle.dumps(Trap(mark)))
    with pytest.raises(
        DataError, match=r"Python release.*pickles.*cifar-100-binary\.tar\.gz"
    ) as caught:
        cifar100.open(build.folder)
    assert str(build.folder) in str(caught.value) and not mark.exists()


def test_a_folder_of_another_archive_is_not_taken_for_the_python_release(
    build: Any,
) -> None:
    build.write("train/n01440764/images/n01440764_0.JPEG", b"")
    with pytest.raises(
        DataError, match=r"neither 'cifar-100-binary' nor 'cifar-100-binary\.tar\.gz'"
    ):
        cifar100.open(build.folder)


@pytest.mark.parametrize("lost", ["train.bin", "fine_label_names.txt"])
def test_a_missing_file_is_named(build: Any, lost: str) -> None:
    (build.cifar100() / "cifar-100-binary" / lost).unlink()
    with pytest.raises(
        DataError, match=rf"'{lost}' is missing.*https://www\.cs\.toronto\.edu"
    ):
        cifar100.open(build.folder)


def test_a_missing_file_of_the_packed_archive_is_named(build: Any) -> None:
    build.folder.mkdir()
    with tarfile.open(build.folder / "cifar-100-binary.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar-100-binary/train.bin"), io.BytesIO())
    with pytest.raises(DataError, match=r"holds no 'fine_label_names.txt'"):
        cifar100.open(build.folder)


@pytest.mark.parametrize("cut", [1, 3073])
def test_a_cut_download_is_told_by_its_size(build: Any, cut: int) -> None:
    path = build.cifar100() / "cifar-100-binary" / "train.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(
        DataError, match=r"'train.bin' has [\d,]+ bytes, no multiple of 3,074.*cut off"
    ):
        cifar100.open(build.folder)


def test_an_empty_file_holds_no_records(build: Any) -> None:
    (build.cifar100() / "cifar-100-binary" / "train.bin").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        cifar100.open(build.folder)


def test_a_label_without_a_name_is_refused(build: Any) -> None:
    with pytest.raises(
        DataError, match=r"record 1 has the label '200'; there are 100 classes"
    ):
        cifar100.open(build.cifar100([3, 200, 5]))


def test_names_must_be_a_hundred(build: Any) -> None:
    build.cifar100()
    build.write("cifar-100-binary/fine_label_names.txt", "apple\nbear\nbear\n")
    with pytest.raises(DataError, match=r"2 class names; there must be 100"):
        cifar100.open(build.folder)


@pytest.mark.parametrize("content", [b"", b"not a tar file", b"\x1f\x8b\x08\x00broken"])
def test_a_packed_file_that_is_none_is_refused(build: Any, content: bytes) -> None:
    build.write("cifar-100-binary.tar.gz", content)
    with pytest.raises(
        DataError, match=r"'cifar-100-binary.tar.gz' cannot be unpacked"
    ):
        cifar100.open(build.folder)


def test_a_packed_file_larger_than_all_of_cifar_is_not_unpacked(build: Any) -> None:
    build.folder.mkdir()
    with tarfile.open(
        build.folder / "cifar-100-binary.tar.gz", "w:gz", compresslevel=1
    ) as tar:
        member = tarfile.TarInfo("cifar-100-binary/train.bin")
        member.size = 60_001 * 3074
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(
        DataError, match=r"'train.bin' in 'cifar-100-binary.tar.gz' is too large"
    ):
        cifar100.open(build.folder)


def test_a_link_in_the_packed_file_is_not_followed(build: Any) -> None:
    build.folder.mkdir()
    with tarfile.open(build.folder / "cifar-100-binary.tar.gz", "w:gz") as tar:
        for name in ("fine_label_names.txt", "train.bin"):
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(member)
    with pytest.raises(DataError, match="holds no"):
        cifar100.open(build.folder)
