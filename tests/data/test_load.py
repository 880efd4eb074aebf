from __future__ import annotations

import os
from pathlib import Path

import pytest

from labelsieve.data.load import load, read_class_names, refuse_input
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.json", '{"n1": "tench, Tinca", "7": "red fox"}'),
        ("n.csv", 'n1,"tench, Tinca"\r\n\r\n7,red fox\r\n'),
        ("n.csv", "\ufeffn1, tench, Tinca\n7 , red fox"),
        ("n.tsv", "n1\ttench, Tinca\n7\tred fox\n"),
        ("n.txt", "n1\ttench, Tinca\n7\tred fox\n"),
    ],
)
def test_class_names_are_read_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    spec = load("data", class_names=str(tmp_path / name))
    assert spec.class_names == {"n1": "tench, Tinca", "7": "red fox"}
    assert load(DataSpec("data"), class_names=tmp_path / name) == spec


def test_a_label_with_a_comma_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text('"a, b",both\n')
    assert read_class_names(tmp_path / "n.csv") == {"a, b": "both"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "n.csv",
            b"n1,tench\nn2\n",
            r"^--class-names '.*n\.csv' cannot be read: line 2: 'n2' is not label,name",
        ),
        ("n.json", b"[1, 2]", r"^--class-names '.*n\.json' cannot be read"),
        ("n.json", b'{"a": null}', r"n\.json' cannot be read: the name of 'a' is not"),
        ("n.json", b"[" * 99_999, r"n\.json' cannot be read"),
        ("n.csv", b"a," + b"b" * 200_000, r"n\.csv' cannot be read: field larger"),
        ("n.json", b"{", r"^--class-names '.*n\.json' cannot be read"),
        ("n.csv", b"caf\xe9,x", r"^--class-names '.*n\.csv' cannot be read"),
    ],
)
def test_a_wrong_class_name_file_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("data", class_names=tmp_path / name)
    with pytest.raises(
        DataError, match=r"^--class-names '.*gone' cannot be opened: No such file"
    ):
        load("data", class_names=tmp_path / "gone")


def test_a_wrong_template_or_option_is_named() -> None:
    assert load("data", template="ein Foto: {}").template == "ein Foto: {}"
    with pytest.raises(
        OptionError, match=r"^--template 'a photo' has no {} for the class name"
    ):
        load("data", template="a photo")
    for template in ("a {} of {b}", "a {} }", "{} and {}"):
        with pytest.raises(
            OptionError, match=r"^--template '.*' has other braces than one {}"
        ):
            load("data", template=template)
    with pytest.raises(OptionError, match=r"^Option 'labels' is unknown; there are: "):
        load("data", labels="x")  # type: ignore[call-arg]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_the_place_of_class_names_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names.csv")
    for path in (tmp_path / "names.csv", tmp_path):
        with pytest.raises(DataError, match=r"^--class-names '.*' is not a file\."):
            load("data", class_names=path)


def test_the_data_are_not_written_over(tmp_path: Path) -> None:
    data = tmp_path / "t.csv"
    data.write_text("image,label\n")
    link = tmp_path / "link.csv"
    link.symlink_to(data)
    for output in (data, link, tmp_path / "." / "x" / ".." / "t.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(OptionError, match="holds the data, which would be lost"):
            refuse_input(output, data)
    copy = tmp_path / "copy.csv"
    copy.write_text("image,label\n")
    for other in (None, copy, Path("hf://owner/name"), Path("a\0b")):
        refuse_input(data, other)
    refuse_input(tmp_path / "new.csv", data)


@pytest.mark.parametrize("named", ["t/*.csv", "{t/a.csv,t/b.csv}", "t", "m"])
def test_no_table_of_several_is_written_over(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name in (("t", "a.csv"), ("t", "b.csv"), ("m", "metadata.csv")):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, name).write_text("text,label\n")
    Path("m/a.png").touch()
    Path("m/earlier.csv").write_text("sample_id\n")
    output = Path("m/metadata.csv" if named == "m" else "t/b.csv")
    with pytest.raises(OptionError, match="holds the data, which would be lost"):
        refuse_input(output.absolute(), Path(named))
    # a new file, and beside pictures what an earlier command wrote
    refuse_input(output.with_name("new.csv"), Path(named))
    refuse_input(Path("m/earlier.csv"), Path(named))
