"""Commands about data: what they print, where it goes, and that options reach what they name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import labelsieve as ls
from labelsieve.pipeline.score import score
from labelsieve.runs.run import Run

# --- a folder from end to end, relative paths, as a person types it


@pytest.fixture(scope="module")
def folder_scan(
    tmp_path_factory: pytest.TempPathFactory,
    digits: Any,
    encode: Callable[..., bytes],
    call: Callable[..., Any],
) -> tuple[Path, Any]:
    """A folder with `photos/`, twelve digits in class folders, and `run/`, their scan; and what
    it printed."""
    home = tmp_path_factory.mktemp("home")
    images, truth = digits
    for name, k in (("zero", 0), ("one", 1), ("two", 2)):
        (home / "photos" / name).mkdir(parents=True)
        for row in np.flatnonzero(truth == k)[40:44]:
            (home / "photos" / name / f"{row}.png").write_bytes(encode(images[row]))
    with contextlib.chdir(home):
        called = call("scan", "photos", "-o", "run", "--set", "epochs=1", "--json")
    assert called.code == 0, called.err
    return home, called


def test_json_is_one_object_on_stdout(folder_scan: tuple[Path, Any]) -> None:
    home, called = folder_scan
    assert called.out.count("\n") == 1
    printed = called.json()
    assert printed == Run(home / "run").record
    assert (printed["images"], printed["scored"], printed["quality"]) == (12, 12, None)
    assert printed["noise_rate"].keys() == {"rate", "low", "high", "renamed"}


def test_progress_goes_to_stderr_in_our_words_only(
    folder_scan: tuple[Path, Any],
) -> None:
    lines = folder_scan[1].err.splitlines()
    assert any(line.startswith("Reading images: 12 ") for line in lines)
    # why prompts are trained though the default trains nothing: said once, before the work
    chosen = "--preset tuned: epochs is a setting of training."
    assert lines.count(chosen) == 1
    for line in [x for x in lines if x != chosen]:
        assert line.startswith(
            (
                "Reading images: ",
                "Computing features: ",
                "Looking at pictures: ",
                "Training prompts: ",
                "Scoring: ",
            )
        ), line


def test_quiet_is_quiet(
    folder_scan: tuple[Path, Any],
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder_scan[0])
    called = call("scan", "photos", "-o", "other", "--set", "epochs=0", "-q")
    assert (called.code, called.err) == (0, "")
    assert "of 12 labels are probably wrong" in called.out
    assert str(Path("other", "report.html")) in called.out


def test_ids_of_a_folder_are_relative_paths(folder_scan: tuple[Path, Any]) -> None:
    home, _ = folder_scan
    rows = Run(home / "run").scores.to_pylist()
    files = {
        p.relative_to(home / "photos").as_posix()
        for p in (home / "photos").rglob("*.png")
    }
    assert (
        {r["sample_id"].partition("#")[0] for r in rows}
        == {r["path"] for r in rows}
        == files
    )
    assert all(r["path"].startswith(r["given_label"] + "/") for r in rows)


# --- options reach what they name


def test_quality_is_printed_with_a_truth_column(
    scanned: Any, call: Callable[..., Any]
) -> None:
    shown = call(*[w for w in scanned.words if w != "--json"])
    quality = scanned.printed["quality"]
    assert shown.code == 0 and "finding wrong labels" in shown.out
    for number in (quality["precision"], quality["recall"], quality["clean"]["recall"]):
        assert f"{number:.3f}" in shown.out


def test_preflight_only_looks(
    call: Callable[..., Any], scan_words: list[str], tmp_path: Path
) -> None:
    called = call(*scan_words, "--preflight", "--json", "-o", tmp_path / "run")
    assert called.code == 0 and not (tmp_path / "run").exists()
    found = called.json()
    assert (
        found["images"],
        found["usable"],
        found["unreadable"],
        found["unlabelled"],
    ) == (
        45,
        42,
        2,
        1,
    )
    shown = call(*scan_words, "--preflight", "-o", tmp_path / "run").out
    assert (
        "45 images, 42 usable, 4 classes" in shown
        and "2 images are unreadable" in shown
    )


def settings_of(
    call: Callable[..., Any], folder: Path, *words: object
) -> dict[str, Any]:
    """The command that a scan of a handful of pictures resolves to."""
    called = call("scan", *words, "--set", "epochs=0", "-q", "--json", "-o", folder)
    assert called.code == 0, called.err
    return dict(called.json()["command"])


def test_options_are_resolved_in_order(
    call: Callable[..., Any], places: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(
        'batch_size = 3\ntuning = "none"\nmirror = false\n'
    )
    found = settings_of(
        call,
        tmp_path / "run",
        places["digits"],
        "--config",
        tmp_path / "mine.toml",
        "--tuning",
        "vpt-shallow",
        "--set",
        "batch_size=5",
        "--rule",
        "real",
        "--seed",
        "7",
        "--template",
        "the digit {}.",
        "--precision",
        "float32",
        "--device",
        "cpu",
    )
    settings = found["settings"]
    assert (settings["batch_size"], settings["tuning"], settings["mirror"]) == (
        5,
        "vpt-shallow",
        False,
    )
    assert (settings["rule"], settings["epochs"]) == ("real", 0)
    assert (found["seed"], found["template"], found["precision"], found["device"]) == (
        7,
        "the digit {}.",
        "float32",
        "cpu",
    )


def test_fast_is_the_preset_fast(
    call: Callable[..., Any], places: dict[str, str], tmp_path: Path
) -> None:
    by_flag = settings_of(call, tmp_path / "a", places["digits"], "--fast")
    assert by_flag["preset"] == "fast" and by_flag["settings"]["tuning"] == "features"
    assert (
        settings_of(call, tmp_path / "a", places["digits"], "--preset", "fast")
        == by_flag
    )


def test_class_names_are_used_and_kept(
    call: Callable[..., Any], places: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "names.csv").write_text("one,the digit one\n")
    command = settings_of(
        call,
        tmp_path / "run",
        places["digits"],
        "--class-names",
        tmp_path / "names.csv",
    )
    assert command["class_names"] == {"one": "the digit one"}
    told = json.loads((tmp_path / "run" / "detector" / "config.json").read_text())
    assert (told["classes"], told["names"]) == (
        ["one", "two"],
        ["the digit one", "two"],
    )


def test_splits_and_roots(
    call: Callable[..., Any], tmp_path: Path, digits: Any, encode: Any
) -> None:
    (tmp_path / "pictures").mkdir()
    lines = ["file,label,split"]
    for i in range(8):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(encode(digits[0][i]))
        lines.append(f"{i}.png,{'ab'[i % 2]},{'train' if i < 6 else 'test'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    words = [
        tmp_path / "table.csv",
        "--root",
        tmp_path / "pictures",
        "--split",
        "train",
    ]
    settings_of(call, tmp_path / "run", *words)
    assert sorted(Run(tmp_path / "run").scores["path"].to_pylist()) == [
        f"{i}.png" for i in range(6)
    ]


# --- score


def test_score_writes_either_kind_of_table(
    call: Callable[..., Any], scanned: Any, digit_table: Path, tmp_path: Path
) -> None:
    words = [
        "score",
        scanned.folder,
        digit_table,
        "--id-column",
        "id",
        "--label-column",
        "label",
        "-q",
    ]
    called = call(*words, "-o", tmp_path / "deep" / "a.parquet", "--json")
    again = score(
        scanned.folder, ls.load(digit_table, id_column="id", label_column="label")
    )
    flagged = sum(again["is_label_issue"].drop_null().to_pylist())
    file = str(tmp_path / "deep" / "a.parquet")
    assert called.json() == {
        "images": 45,
        "scored": 42,
        "flagged": flagged,
        # the very images of the run, whose own scores stand beside it
        "scanned": 45,
        "scan": str(scanned.folder / "scores.parquet"),
        "noun": "image",
        "file": file,
    }
    assert pq.read_table(file).equals(again)
    shown = call(*words, "-o", tmp_path / "a.csv")
    assert shown.out.splitlines() == [
        "! 45 of these were in the scan, which knows more about them: "
        f"{scanned.folder / 'scores.parquet'}",
        f"42 of 45 images scored, {flagged} flagged: {tmp_path / 'a.csv'}",
    ]
    assert pacsv.read_csv(tmp_path / "a.csv").num_rows == 45
