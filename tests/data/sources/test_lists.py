"""Lists of "path label": what a line says, and what is asked about."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labelsieve
from labelsieve.data.sources import open_source
from labelsieve.data.sources.lists import line_of
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        (
            "train/n01440764/n01440764_10026.JPEG 0\n",
            "train/n01440764/n01440764_10026.JPEG",
            "0",
        ),
        ("images/4/26/2913,60.jpg 12\r\n", "images/4/26/2913,60.jpg", "12"),
        ("a b.png\tgolden retriever", "a b.png", "golden retriever"),
        ("a.png,cat", "a.png", "cat"),
        ("a.png ;  cat ", "a.png", "cat"),
        ('"x.png y.png" z', "x.png y.png", "z"),
        ("a.png.jpg 3", "a.png.jpg", "3"),
        ("  ./A.TIFF\t7", "./A.TIFF", "7"),
        ("a.png", "a.png", None),
        ('"3 a.png"', "3 a.png", None),
    ],
)
def test_what_a_line_says(line: str, path: str, label: str | None) -> None:
    found = line_of(line)
    assert found is not None and (found.path, found.label) == (path, label)
    assert line[slice(*found.span)] == (label or "")


@pytest.mark.parametrize(
    "line",
    ["", "cat", "3 a.png", "3 a.png b", "3,a.png,b", "a.png b.png 3", "a.pngx 3"],
)
def test_what_a_line_does_not_say(line: str) -> None:
    assert line_of(line) is None


LABELS = st.text("abz é0_-", min_size=1).map(str.strip).filter(bool)


@given(st.text("ab /._", min_size=1), LABELS, st.sampled_from(" \t,;"))
def test_any_path_and_label_come_back(stem: str, label: str, mark: str) -> None:
    path = f"x{stem}y.png"
    # a path with the separator in it is quoted
    shown = f'"{path}"' if mark in path else path
    found = line_of(f"{shown}{mark}{label}\n")
    assert found is not None and (found.path, found.label) == (path, label)


def listed(path: Path, **options: object) -> list[tuple[str, str | None]]:
    source = open_source(DataSpec(path, **options))  # type: ignore[arg-type]
    return [(row.path, row.label) for row in source.rows()]


def test_lines_of_a_file(tmp_path: Path) -> None:
    text = "\ufeff# from a paper\n\nb/1.jpg 3\r\nb/2.jpg\nä.jpg 007"
    for name, data in (
        ("l.txt", text.encode()),
        ("l.lst", text[1:].encode("utf-16")),
        ("l.txt.gz", gzip.compress(text.encode())),
    ):
        (tmp_path / name).write_bytes(data)
        expected = [("b/1.jpg", "3"), ("b/2.jpg", None), ("ä.jpg", "007")]
        assert listed(tmp_path / name) == expected
    (row, *_) = open_source(DataSpec(tmp_path / "l.txt", root=str(tmp_path))).rows()
    assert row.image == tmp_path / "b" / "1.jpg"


def test_several_numbers_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("1.jpg 3 17\n2.jpg 3\n")
    with pytest.raises(DataError, match=r"such as '3 17'\. Give --label-separator ' '"):
        listed(tmp_path / "l.txt")
    assert listed(tmp_path / "l.txt", label_separator="none")[0][1] == "3 17"
    source = open_source(DataSpec(tmp_path / "l.txt", label_separator=" "))
    assert getattr(source, "labels_are", "") == "set"


def test_a_line_that_says_two_things_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("1.jpg a\n\n2.jpg 3.jpg b\n")
    with pytest.raises(
        DataError, match=r"Line 3 of .*: '2\.jpg 3\.jpg b'\. Put the path into"
    ):
        listed(tmp_path / "l.txt")
    with pytest.raises(DataError, match="--label-column does not apply"):
        listed(tmp_path / "l.txt", label_column="x")


def test_texts_stay_texts(tmp_path: Path) -> None:
    for label in ("good", "bad"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text("see a.png for more\n")
    source = open_source(DataSpec(tmp_path))
    assert [row.path for row in source.rows()] == ["bad/1.txt", "good/1.txt"]


def test_a_list_is_scanned(digit_folder: Path, tmp_path: Path) -> None:
    names = sorted(p.relative_to(digit_folder) for p in digit_folder.rglob("*.png"))
    lines = [f"{name.as_posix()} {name.parent.name}\n" for name in names]
    (tmp_path / "list.txt").write_text("".join(lines))
    data = labelsieve.load(tmp_path / "list.txt", root=digit_folder)
    run = labelsieve.scan(
        data, output=tmp_path / "run", method="zero-shot", model="tiny"
    )
    labels = dict(
        zip(
            run.manifest["path"].to_pylist(),
            run.manifest["given_label"].to_pylist(),
            strict=True,
        )
    )
    assert labels == {name.as_posix(): name.parent.name for name in names}
