from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from fixtures.audited import Audited
from hypothesis import given
from hypothesis import strategies as st

from labelsieve import exports, registry
from labelsieve.audits import design, guarantee
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.exports import Names, _receipt, collect, export, safe_name
from labelsieve.files import remove, state_folder, write_json


def test_every_format_says_what_it_is() -> None:
    names = registry.names("exports")
    assert names == [
        "argilla",
        "cleanlab",
        "coco",
        "csv",
        "cvat",
        "fiftyone",
        "hf",
        "imagefolder",
        "jsonl",
        "label-studio",
        "parquet",
        "textfolder",
        "webdataset",
        "yolo",
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
    _a, b, c, *others = decided.wrong
    issues = {r["sample_id"] for r in collect(decided.run, "issues")}
    # whoever keeps a label says that there is none
    assert issues == set(decided.wrong) - {c}
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

    table = pa.table({"sample_id": ["../a/b#1", "broken#1"], "status": ["ok", "ok"]})
    rows = exports.Rows(table, [], Pictures(), {}, "v")
    file = rows.file("../a/b#1", tmp_path / "images")
    assert (
        file == tmp_path / "images" / "%2E.%2Fa%2Fb#1.png"
        and file.read_bytes() == encode(digits[0][0])
    )
    assert rows.file("broken#1", tmp_path / "images") is None


def test_long_names_are_cut_and_still_differ() -> None:
    one, other = (safe_name("ü" * 300 + end) for end in "ab")
    assert one != other and one[:80] == other[:80]
    assert len(os.fsencode(one)) <= 200 and safe_name("ü" * 300 + "a") == one


@pytest.mark.parametrize(
    "text", ["CON", "nul.txt", "a.", "a ", "a?b", "a\nb", 'x"<>|*', "../x", "COM1"]
)
def test_names_are_taken_by_every_system_and_lead_back(text: str) -> None:
    name = safe_name(text)
    assert unquote(name) == text and name != text
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]|[. ]$', name)


def test_names_of_one_folder_differ_without_case() -> None:
    names = Names()
    labels = ["Cat", "cat", "CAT", "e\u0301", "\u00e9", ".Dog", ".dog"]
    taken = [names.escaped(safe_name(label)) for label in labels]
    assert len({unicodedata.normalize("NFC", n).casefold() for n in taken}) == 7
    assert [unquote(name) for name in taken] == labels and taken[0] == "Cat"
    files = [names.numbered(name, ".png") for name in ("a", "A", "a")]
    assert files == ["a.png", "A-2.png", "a-3.png"]


FORMATS = {
    "cleanlab": "out",
    "csv": "out.csv",
    "fiftyone": "out.json",
    "hf": "out",
    "imagefolder": "out",
    "jsonl": "out.jsonl",
    "label-studio": "out",
    "parquet": "out.parquet",
}


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_command_again_ends_the_same(
    decided: Any, tmp_path: Path, to: str
) -> None:
    if to == "hf":
        pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    target = tmp_path / "to" / FORMATS[to]
    first = export(decided.run, to, target)
    before = content(target.parent)
    assert all(path.exists() for path in first)
    # what a killed call leaves: a scratch folder or file of a process that is no more
    scratch = target.with_name(f".{target.name}.99999.partial{target.suffix}")
    scratch.mkdir() if not target.suffix else scratch.write_text("half")
    if target.suffix:
        target.unlink()
    assert export(decided.run, to, target) == first
    if not target.suffix:
        remove(scratch)
    assert content(target.parent) == before


def content(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


FOLDERS = {
    "cleanlab": "decided",
    "coco": "decided",
    "cvat": "decided",
    "hf": "decided",
    "imagefolder": "parted",
    "label-studio": "decided",
    "webdataset": "decided",
    "yolo": "decided",
}


@pytest.mark.parametrize("to", FOLDERS)
def test_a_damaged_export_is_completed_or_named(
    request: pytest.FixtureRequest, tmp_path: Path, to: str
) -> None:
    if to == "hf":
        pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    run = request.getfixturevalue(FOLDERS[to]).run
    target = tmp_path / "out"
    first = export(run, to, target)
    whole = content(target)
    largest = max(target.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    # one file is gone, then all
    for files in ([largest], list(target.iterdir())[1:]):
        for file in files:
            remove(file)
        assert export(run, to, target) == first
        assert content(target) == whole
    data = largest.read_bytes()
    for edited in (data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:]):
        then = largest.stat()
        largest.write_bytes(edited)
        os.utime(largest, ns=(then.st_atime_ns, then.st_mtime_ns))
        with pytest.raises(OptionError, match=f"{largest.name}' in it is not as it"):
            export(run, to, target)
        assert largest.read_bytes() == edited
        export(run, to, target, force=True)
        assert content(target) == whole
    assert os.listdir(tmp_path).count("out") == len(list(tmp_path.glob("*out*")))


def test_a_large_file_with_its_old_times_is_read_where_its_entry_changed(
    tmp_path: Path,
) -> None:
    (tmp_path / "x").mkdir()
    file = tmp_path / "x" / "big.bin"
    file.write_bytes(b"0" * (_receipt.LITTLE + 1))
    _receipt.write_receipt(tmp_path / "x", tmp_path / "x", "what", [])
    receipt = _receipt.read_receipt(tmp_path / "x", "what")
    assert receipt and _receipt.compare(tmp_path / "x", receipt).changed == []
    then = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"mine")
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert _receipt.compare(tmp_path / "x", receipt).changed == ["big.bin"]


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[",
        '{"export": "what", "files": [], "holds": {"a": 3}}',
        '{"export": "what", "files": [null], "holds": {}}',
        # what is missing would be moved to there
        '{"export": "what", "files": [], "holds": {"../a": "folder"}}',
        '{"export": "what", "files": [], "holds": {"%2e%2e/a": "folder"}}',
    ],
)
def test_a_receipt_that_is_none_is_believed_nothing(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "x").mkdir()
    _receipt.write_receipt(tmp_path / "x", tmp_path / "x", "what", [])
    assert _receipt.read_receipt(tmp_path / "x", "other") is None
    assert _receipt.read_receipt(tmp_path / "x", "what") is not None
    for file in (state_folder() / "exports").iterdir():
        file.write_text(content)
    assert _receipt.read_receipt(tmp_path / "x", "what") is None
    assert not _receipt.is_own(tmp_path / "x")


def test_a_file_that_was_edited_in_place_is_not_replaced(
    decided: Any, tmp_path: Path
) -> None:
    target = tmp_path / "o.csv"
    export(decided.run, "csv", target)
    then = target.stat()
    with target.open("r+b") as file:
        file.write(b"my notes")
    os.utime(target, ns=(then.st_atime_ns, then.st_mtime_ns))
    edited = target.read_bytes()
    with pytest.raises(OptionError, match="--force"):
        export(decided.run, "csv", target)
    assert target.read_bytes() == edited
    export(decided.run, "csv", target, force=True)
    assert b"my notes" not in target.read_bytes()


def test_what_somebody_else_wrote_is_not_touched(decided: Any, tmp_path: Path) -> None:
    target = tmp_path / "out"
    export(decided.run, "imagefolder", target)
    for other in ({"to": "cleanlab"}, {"only": "issues"}):
        words = {"to": "imagefolder", **other}
        with pytest.raises(OptionError, match="exists already"):
            export(decided.run, words.pop("to"), target, **words)  # type: ignore[arg-type]
    (target / "mine").write_text("mine")
    with pytest.raises(OptionError, match="exists already"):
        export(decided.run, "imagefolder", target)
    assert (target / "mine").read_text() == "mine"
    (target / "mine").unlink()
    inner = next(p for p in target.iterdir() if p.is_dir()) / "mine"
    inner.write_text("mine")
    with pytest.raises(OptionError, match="mine' in it is no part of this export"):
        export(decided.run, "imagefolder", target, force=True)
    inner.unlink()
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(OptionError, match="exists already"):
        export(decided.run, "csv", tmp_path / "taken.csv")
    assert not [p for p in tmp_path.rglob("*") if "partial" in p.name]


def test_tables_need_no_pictures_and_others_find_them_where_they_are_now(
    decided: Any, tmp_path: Path
) -> None:
    decided.data.rename(tmp_path / "moved")
    for to in ("csv", "jsonl", "parquet", "cleanlab"):
        assert export(decided.run, to, tmp_path / "gone" / FORMATS[to])
    for to in ("imagefolder", "label-studio", "fiftyone"):
        target = tmp_path / to / FORMATS[to]
        with pytest.raises(RunError, match="with --data"):
            export(decided.run, to, target)
        assert not list((tmp_path / to).glob("**/?*"))
        assert export(decided.run, to, target, data=tmp_path / "moved")
    empty = tmp_path / "empty"
    (empty / "zero").mkdir(parents=True)
    with pytest.raises(RunError, match="does not hold the images"):
        export(decided.run, "imagefolder", tmp_path / "none", data=empty)
    # where they were scanned there is a folder again, and nothing in it
    empty.rename(decided.data)
    with pytest.raises(DataError, match="None of the images"):
        export(decided.run, "imagefolder", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_run_made_before_decisions_exports_too(planted: Any, tmp_path: Path) -> None:
    write_json(planted.folder / "note.json", {})
    (file,) = export(planted.folder, "jsonl", tmp_path / "sub" / "x.jsonl")
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == len(
        planted.given
    )


@pytest.mark.parametrize("to", ["fiftyone", "hf", "imagefolder", "label-studio"])
def test_a_file_that_was_no_picture_is_not_carried_along(
    decided: Any, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a table may name any file of the machine; the scan called it corrupt."""
    if to == "hf":
        pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
    secret = next(r for r in decided.run.scores["sample_id"].to_pylist())
    name = decided.files[secret].name
    decided.files[secret].write_bytes(b"my secret words")
    # as the scan would have named it: the id tells the content
    monkeypatch.setattr("labelsieve.runs.pictures._is_scanned", lambda *_: True)
    scores = decided.run.scores
    corrupt = pa.array(["corrupt", *scores["status"].to_pylist()[1:]])
    at = scores.column_names.index("status")
    decided.run.scores = scores.set_column(at, "status", corrupt)
    target = tmp_path / "to" / FORMATS[to]
    export(decided.run, to, target)
    written = content(target.parent)
    assert written and not any(b"my secret words" in data for data in written.values())
    if to == "label-studio":
        tasks = json.loads(written["out/tasks.json"])
        (task,) = [t for t in tasks if t["data"]["sample_id"] == secret]
        assert task["data"]["image"] == ""
    if to == "fiftyone":
        assert not any(s["filepath"].endswith(name) for s in _samples(written))


def _samples(written: dict[str, bytes]) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = json.loads(written["out.json"])["samples"]
    return samples


def test_a_file_that_is_no_export_is_replaced_only_by_force(
    decided: Any, tmp_path: Path
) -> None:
    target = tmp_path / "mine.csv"
    target.write_text("all my notes\n")
    with pytest.raises(OptionError, match="--force"):
        export(decided.run, "csv", target)
    assert target.read_text() == "all my notes\n"
    export(decided.run, "csv", target, force=True)
    # its own earlier export makes room, until somebody works on it
    export(decided.run, "csv", target, only="clean")
    with target.open("a") as file:
        file.write("a line of mine\n")
    with pytest.raises(OptionError, match="exists already"):
        export(decided.run, "csv", target)


def test_the_scanned_table_is_not_replaced(planted: Any, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("image,label\n")
    command = {**planted.run.record["command"], "data": str(table)}
    planted.run.record["command"] = command
    with pytest.raises(OptionError, match=r"t\.csv' holds the data"):
        export(planted.run, "csv", table)
    assert table.read_text() == "image,label\n"


def test_only_certified_is_what_people_settled_and_an_audit_promises(
    audited: Audited,
) -> None:
    with pytest.raises(RunError, match="no random audit was begun"):
        collect(audited.run, "certified")
    asked = design.commit(audited.run, None, design.Wish(answers=300))
    audited.answer(asked.ids)
    promised = guarantee.of_run(audited.run).clean
    decisions = audited.decisions()
    decisions.add(promised.ids[0], "wrong")
    rows = {row["sample_id"]: row for row in collect(audited.run, "certified")}
    assert set(rows) == {*asked.ids, *promised.ids[1:]}
    wrong = [row["label"] != audited.truth[i] for i, row in rows.items()]
    assert sum(wrong) / len(wrong) <= 0.03
