"""CSV as spreadsheets write it: separators and encodings are recognised, and said."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

TEXT = 'image;label;note\nä.png;"Übergröße; neu";1,5\nb.png;Café;2,25\n'


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("cp1252", "as Windows-1252, "),
        ("utf-16", "as UTF-16, "),
    ],
)
def test_semicolons_and_encodings(tmp_path: Path, encoding: str, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(TEXT.encode(encoding))
    source = open_source(DataSpec(tmp_path / "t.csv", label_separator="none"))
    found = [(r.path, r.label) for r in source.rows()]
    assert found == [("ä.png", "Übergröße; neu"), ("b.png", "Café")]
    assert source.notes == [f"'t.csv' was read {said}with semicolons between its cells"]
    assert source.read("ä.png") == tmp_path / "ä.png"


@pytest.mark.parametrize("mark", ["\t", "|"])
def test_other_separators(tmp_path: Path, mark: str) -> None:
    text = "image,label\n1.png,a\n2.png,b\n".replace(",", mark)
    (tmp_path / "t.csv").write_text(text)
    source = open_source(DataSpec(tmp_path / "t.csv"))
    assert [r.label for r in source.rows()] == ["a", "b"]
    assert len(source.notes) == 1


def test_commas_are_commas_though_cells_hold_semicolons(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('image,label\n1.png,"a, b"\n2.png,c;d\n')
    source = open_source(DataSpec(tmp_path / "t.csv", label_separator="none"))
    assert [r.label for r in source.rows()] == ["a, b", "c;d"]
    assert source.notes == []


def test_a_letter_of_another_encoding_far_down_is_found(tmp_path: Path) -> None:
    lines = ["image,label", *(f"{n}.png,a" for n in range(200_000)), "x.png,café"]
    (tmp_path / "t.csv").write_bytes("\n".join(lines).encode("cp1252"))
    source = open_source(DataSpec(tmp_path / "t.csv"))
    *_, last = source.rows()
    assert last.label == "café"
    assert source.notes == ["'t.csv' was read as Windows-1252"]


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"image,label\na\x00b.png,x\n")
    with pytest.raises(
        DataError, match=r"t\.csv' cannot be read as CSV: it is not text"
    ):
        open_source(DataSpec(tmp_path / "t.csv"))
