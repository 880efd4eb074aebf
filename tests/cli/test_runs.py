from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelsieve import progress
from labelsieve.runs.decisions import Decisions


def test_report(call: Callable[..., Any], planted: Any) -> None:
    planted.run.report.unlink()
    called = call("report", str(planted.folder), "--json")
    assert (
        called.code == 0
        and json.loads(called.out) == {"report": str(planted.run.report)}
        and planted.run.report.exists()
    )


def test_apply_from_copy_to_reverse(
    call: Callable[..., Any], planted: Any, tmp_path: Path
) -> None:
    decisions = Decisions(planted.folder)
    decisions.add(planted.wrong[0], "accept", planted.truth[planted.wrong[0]])
    decisions.close()
    before = planted.tree()
    run = str(planted.folder)
    called = call("apply", run, "-o", str(tmp_path / "out"))
    assert (
        called.code == 0
        and "1 label changed, 0 images left out" in called.out
        and "Patch" in called.out
    )
    assert call("apply", run, "--in-place", "--yes").code == 2
    assert (
        "1 change would be made" in call("apply", run, "--in-place").out
        and planted.tree() == before
    )
    assert (
        "corrected in place" in call("apply", run, "--in-place", "--yes").out
        and planted.tree() != before
    )
    assert (
        "1 label changed back, 0 images put back"
        in (out := call("apply", run, "--reverse").out)
        and "as it was before" in out
        and planted.tree() == before
    )
    wrong, right = planted.given[planted.wrong[0]], planted.truth[planted.wrong[0]]
    assert f": {right} → {wrong}  [taken back]" in out
    found = call(
        "apply",
        run,
        "-o",
        str(tmp_path / "auto"),
        "--policy",
        "auto",
        "--min-confidence",
        "0.9",
        "--drop",
        "--json",
    ).json()
    assert (found["relabelled"], found["dropped"]) == (0, len(planted.wrong))


def test_a_copy_is_put_back_with_the_command_that_is_named(
    call: Callable[..., Any], planted: Any, tmp_path: Path
) -> None:
    decisions = Decisions(planted.folder)
    decisions.add(planted.wrong[0], "accept", planted.truth[planted.wrong[0]])
    decisions.add(planted.wrong[1], "none")
    decisions.add(planted.wrong[2], "wrong")
    decisions.close()
    ways = ("apply", str(planted.folder), "-o", str(tmp_path / "out"))
    progress.be_quiet(False)
    called = call(*ways)
    progress.be_quiet(True)
    # of what people called wrong, something becomes, or it is said what would
    assert (
        "1 image of no class keeps its label (--drop-outsiders leaves it out)."
        in called.err
        and "1 image whose right label is unknown keeps its label" in called.err
    )
    called = call(*ways, "--reverse")
    assert called.code == 2 and "-o and --reverse exclude each other" in called.err
    words = shlex.split(called.err.partition("is put back with labelsieve ")[2])
    words[-1] = words[-1].rstrip(".")
    assert "1 label changed back" in call(*words).out
    called = call(*ways[:2], "--drop-outsiders", "-o", str(tmp_path / "other"))
    assert "1 label changed, 1 image left out" in called.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "One of -o, --in-place and --reverse is needed"),
        (("--in-place", "--reverse"), "--in-place and --reverse exclude each other"),
        (("-o", "x", "--reverse"), "a copy that is not wanted is deleted"),
        (("-o", "x", "--policy", "revewed"), "Did you mean 'reviewed'"),
        (("--reverse",), "was not applied to"),
    ],
)
def test_what_apply_refuses(
    call: Callable[..., Any], planted: Any, words: tuple[str, ...], said: str
) -> None:
    called = call("apply", str(planted.folder), *words)
    assert called.code == 2 and said in called.err and called.err.count("\n") == 1


def test_export(call: Callable[..., Any], planted: Any, tmp_path: Path) -> None:
    called = call(
        "export",
        str(planted.folder),
        "--to",
        "csv",
        "-o",
        str(tmp_path / "x.csv"),
        "--only",
        "issues",
        "--json",
    )
    assert called.json() == {"files": [str(tmp_path / "x.csv")]}
    assert (tmp_path / "x.csv").read_text().count("row") >= 0 and call(
        "export", str(planted.folder), "--to", "cvs", "-o", "x"
    ).code == 2


def test_review_says_what_is_wrong_before_it_serves(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    called = call("review", str(tmp_path))
    assert called.code == 2 and "is not a run folder" in called.err


def test_data_that_moved_are_named_with_data(
    call: Callable[..., Any], planted: Any, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    planted.data.rename(moved)
    run = str(planted.folder)
    # whatever is wanted of the pictures, the same words say where they should be
    verbs = (["report"], ["train"], ["apply", "--in-place"], ["apply", "-o", "copy"])
    refused = [call(verb[0], run, *verb[1:]) for verb in verbs]
    assert {called.code for called in refused} == {2}
    assert (
        len(said := {called.err for called in refused}) == 1 and "--data" in said.pop()
    )
    assert call("report", run, "--data", moved).code == 0
    assert "data:image/webp" in planted.run.report.read_text()
    table = call("export", run, "--to", "csv", "-o", tmp_path / "x.csv")
    assert table.code == 0, "a table needs no pictures"
    folder = ["export", run, "--to", "imagefolder", "-o", tmp_path / "x"]
    assert call(*folder, "--data", moved).code == 0


def test_other_machines_are_warned_about(
    call: Callable[..., Any], planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="the extra 'review' is missing")
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    local = call("review", planted.folder, "--no-browser")
    assert local.code == 0 and "http://127.0.0.1:" in local.out and local.err == ""
    called = call("review", planted.folder, "--no-browser", "--host", "0.0.0.0")
    assert called.code == 0 and called.err.startswith("warning: with --host 0.0.0.0")
