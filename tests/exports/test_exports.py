from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve import exports, registry
from labelsieve.errors import OptionError
from labelsieve.exports import collect, export, safe_name
from labelsieve.files import write_json


def test_every_format_says_what_it_is() -> None:
    names = registry.names("exports")
    assert names == [
        "cleanlab",
        "csv",
        "fiftyone",
        "hf",
        "imagefolder",
        "jsonl",
        "label-studio",
        "parquet",
    ]
    for name in names:
        room = registry.load("exports", name)
        assert room.TARGET == "folder" or re.fullmatch(r"\.\w+", room.TARGET)
        assert registry.summary("exports", name).endswith(".") and callable(room.write)


def test_labels_are_those_after_the_decisions(decided: Any) -> None:
    rows = collect(decided.run)
    assert {r["sample_id"]: r["label"] for r in rows} == decided.after
    assert {r["sample_id"]: r["given_label"] for r in rows} == decided.given
    assert set(rows.probs) == set(decided.given) and all(
        abs(p.sum() - 1) < 1e-4 for p in rows.probs.values()
    )


def test_only_clean_and_only_issues(decided: Any) -> None:
    _a, b, _c, *others = decided.wrong
    assert {r["sample_id"] for r in collect(decided.run, "issues")} == set(
        decided.wrong
    )
    assert {r["sample_id"] for r in collect(decided.run, "clean")} == set(
        decided.given
    ) - {
        b,
        *others,
    }


def test_wrong_words_are_refused(planted: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'label-studio'"):
        export(planted.run, "label-studoi", tmp_path / "x")
    with pytest.raises(OptionError, match=r"must end in .csv"):
        export(planted.run, "csv", tmp_path / "x.txt")
    with pytest.raises(OptionError, match="Did you mean 'issues'"):
        export(planted.run, "csv", tmp_path / "x.csv", only="isues")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    with pytest.raises(OptionError, match="exists already"):
        export(planted.run, "imagefolder", tmp_path / "full")


@given(st.text(max_size=30))
def test_safe_names_stay_in_their_folder(text: str) -> None:
    name = safe_name(text)
    assert (
        name
        and "/" not in name
        and "\\" not in name
        and "\0" not in name
        and not name.startswith(".")
    )
    assert (Path("/base") / name).parent == Path("/base")


@given(st.text(max_size=8), st.text(max_size=8))
def test_safe_names_do_not_collide(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_embedded_images_become_files_of_the_format(
    planted: Any, tmp_path: Path, encode: Any, digits: Any
) -> None:
    class Pictures:
        def read(self, sample_id: str) -> Any:
            return {"../a/b#1": encode(digits[0][0]), "broken#1": b"no picture"}[
                sample_id
            ]

    rows = exports.Rows(pa.table({}), [], Pictures(), {}, "v")  # type: ignore[arg-type]
    file = rows.file("../a/b#1", tmp_path / "images")
    assert (
        file == tmp_path / "images" / "%2E.%2Fa%2Fb#1.png"
        and file.read_bytes() == encode(digits[0][0])
    )
    assert rows.file("broken#1", tmp_path / "images") is None


def test_a_run_made_before_decisions_exports_too(planted: Any, tmp_path: Path) -> None:
    write_json(planted.folder / "note.json", {})
    (file,) = export(planted.folder, "jsonl", tmp_path / "sub" / "x.jsonl")
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == len(
        planted.given
    )
