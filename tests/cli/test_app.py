"""The command line: exit codes, one line per mistake, what goes to which stream, and nothing
heavy behind --help."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import labelsieve
from labelsieve import registry
from labelsieve.runs.run import Run


def labelsieve_process(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labelsieve", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
    )


# --- help, version, imports


def test_help_and_version_come_without_torch() -> None:
    code = (
        "import sys, contextlib, io\n"
        "import labelsieve\n"
        "from labelsieve.cli import app\n"
        "for words in (['--help'], ['scan', '--help'], ['methods'], ['models', '--json'],\n"
        "              ['--version']):\n"
        "    sys.argv = ['labelsieve', *words]\n"
        "    with (contextlib.redirect_stdout(io.StringIO()) as out,\n"
        "          contextlib.suppress(SystemExit)):\n"
        "        app.main()\n"
        "    assert out.getvalue(), words\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'pyarrow', 'numpy', 'fastapi'}\n"
        "heavy &= sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_no_arguments_show_the_help(call: Callable[..., Any]) -> None:
    called = call()
    assert called.code == 2
    for command in ("scan", "score", "demo", "methods", "models", "cache"):
        assert f"\n  {command}" in called.err


def test_version(call: Callable[..., Any]) -> None:
    assert call("--version").out == f"{labelsieve.__version__}\n"


def test_lists_in_json(call: Callable[..., Any]) -> None:
    methods = call("methods", "--json").json()["methods"]
    assert [m["name"] for m in methods] == registry.names("methods")
    assert all(
        m["summary"] and m["cost"] and set(m["needs"]) <= {"text", "pixels"}
        for m in methods
    )
    models = call("models", "--json").json()["models"]
    assert models[0]["name"] == "tiny" and all(
        m["parameters"] and m["use"] for m in models
    )
    for name in ("methods", "models"):
        shown = call(name).out
        assert all(row["name"] in shown for row in call(name, "--json").json()[name])


# --- mistakes: one line on stderr that names the value, exit code 2, no traceback

MISTAKES = [
    (["scna"], "Did you mean 'scan'"),
    (["scan"], "Missing argument"),
    (["scan", "{digits}", "--modle", "tiny"], "No such option: --modle"),
    (["scan", "{digits}", "--seed", "x"], "--seed"),
    (["scan", "{digits}", "--seed=-3"], "-3"),
    (["scan", "{tmp}/nowhere"], "nowhere' does not exist"),
    (["scan", "{tmp}/nowhere.csv"], "nowhere.csv' does not exist"),
    (["scan", "{tmp}/empty"], "no class folders"),
    (["scan", "{tmp}/hollow"], "There are no images"),
    (["scan", "{tmp}/single"], "only one class, 'cat'"),
    (["scan", "{tmp}/broken"], "None of the 2 images can be used"),
    (["scan", "{table}", "--label-column", "lable"], "Did you mean 'label'?"),
    (
        ["scan", "{table}", "--label-column", "label", "--truth-column", "true"],
        "--truth-column: Column 'true' is unknown",
    ),
    (
        ["scan", "{table}", "--label-column", "label", "--image-column", "x"],
        "--image-column: Column 'x' is unknown",
    ),
    (
        ["scan", "{digits}", "--label-column", "x"],
        "--label-column does not apply to a folder",
    ),
    (
        ["scan", "{digits}", "--truth-column", "x"],
        "--truth-column does not apply to a folder",
    ),
    (["scan", "{digits}", "--split", "train"], "Split 'train' is unknown"),
    (["scan", "{digits}", "--method", "deaft"], "Method 'deaft' is unknown"),
    (["scan", "{digits}", "--method", "deaft"], "Did you mean 'deft'?"),
    (["scan", "{digits}", "--preset", "papers"], "Did you mean 'paper'?"),
    (
        ["scan", "{digits}", "--fast", "--preset", "paper"],
        "--fast and --preset paper exclude each other",
    ),
    (["scan", "{digits}", "--tuning", "vpt-dep"], "Did you mean 'vpt-deep'?"),
    (["scan", "{digits}", "--rule", "rael"], "Did you mean 'real'?"),
    (["scan", "{digits}", "--set", "epoch=1"], "Did you mean 'epochs'?"),
    (["scan", "{digits}", "--set", "epochs=many"], "Setting epochs cannot be 'many'"),
    (["scan", "{digits}", "--set", "epochs=-1"], "Setting epochs cannot be -1"),
    (["scan", "{digits}", "--set", "batch_size=0"], "Setting batch_size cannot be 0"),
    (["scan", "{digits}", "--set", "epochs"], "is not NAME=VALUE"),
    (["scan", "{digits}", "--config", "{tmp}/nowhere.toml"], "cannot be opened"),
    (["scan", "{digits}", "--class-names", "{tmp}/nowhere.csv"], "cannot be opened"),
    (["scan", "{digits}", "--template", "a photo"], "has no {{}}"),
    (["scan", "{digits}", "--model", "{tmp}/nowhere"], "cannot be loaded"),
    (
        ["scan", "{digits}", "--model", "{tmp}/bert"],
        "is of family 'bert', which is not supported. Supported: CLIP, SigLIP",
    ),
    (
        ["scan", "{digits}", "--device", "quantum"],
        "--device 'quantum' is not available here",
    ),
    (["scan", "{digits}", "--precision", "float8"], "--precision 'float8' is unknown"),
    (["scan", "{digits}", "-o", "{tmp}/single"], "is not empty and is no run folder"),
    (["scan", "{digits}", "-o", "{tmp}/a-file"], "a-file' is a file"),
    (["scan", "{digits}", "-o", "{tmp}/a-file/run"], "a-file"),
    (["score", "{tmp}/nowhere", "{digits}"], "is not a run folder"),
    (
        ["score", "{run}", "{digits}", "-o", "{tmp}/x.txt"],
        "must end in .parquet or .csv",
    ),
    (["score", "{run}", "{tmp}/nowhere"], "does not exist"),
    (["score", "{run}", "{tmp}/single"], "Label 'cat' is unknown"),
    (["score", "{run}", "{digits}", "-o", "{tmp}/a-file/x.csv"], "a-file"),
    (["demo", "--data", "digit", "-o", "{tmp}/demo"], "Did you mean 'digits'?"),
    (["demo", "-o", "{tmp}/a-file"], "a-file"),
]


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory,
    digit_table: Path,
    scanned: Any,
    encode: Callable[..., bytes],
    digits: Any,
) -> dict[str, str]:
    """Good data and what is wrong in all ways."""
    tmp = tmp_path_factory.mktemp("mistakes")
    picture = [encode(digits[0][i]) for i in range(4)]
    for name, content in {
        "digits/one/a.png": picture[0],
        "digits/two/b.png": picture[1],
        "hollow/cat/notes.txt": b"x",
        "single/cat/a.png": picture[2],
        "broken/cat/a.png": b"x",
        "broken/dog/a.png": b"",
        "a-file": b"x",
        "bert/config.json": b'{"model_type": "bert"}',
    }.items():
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_bytes(content)
    (tmp / "empty").mkdir()
    return {
        "tmp": str(tmp),
        "digits": str(tmp / "digits"),
        "table": str(digit_table),
        "run": str(scanned.folder),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    MISTAKES,
    ids=lambda v: " ".join(v[:5]) if isinstance(v, list) else None,
)
def test_a_mistake_is_one_line(
    call: Callable[..., Any], places: dict[str, str], words: list[str], message: str
) -> None:
    words = [w.format(**places) for w in words]
    own_output = words[:1] != ["scan"] or "-o" in words
    quiet = ["-q"] if words[:1] in (["scan"], ["score"]) else []
    called = call(
        *words, *quiet, *([] if own_output else ["-o", places["tmp"] + "/run"])
    )
    assert called.code == 2
    assert (
        called.err.startswith("error: ")
        and called.err.count("\n") == 1
        and called.err.endswith("\n")
    )
    assert message.replace("{{", "{").replace("}}", "}") in called.err
    assert called.out == ""
    assert not Path(places["tmp"], "run").exists(), (
        "a mistake leaves no run folder behind"
    )


def test_a_mistake_in_a_real_process(places: dict[str, str]) -> None:
    found = labelsieve_process(
        "scan", places["digits"], "--method", "deaft", "-o", places["tmp"] + "/run"
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == (
        "error: Method 'deaft' is unknown; there are: "
        f"{', '.join(registry.names('methods'))}. Did you mean 'deft'?\n"
    )


def test_a_bug_is_not_hidden(
    call: Callable[..., Any], places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("labelsieve.data.load.load", bug)
    with pytest.raises(ZeroDivisionError):
        call("scan", places["digits"])


def test_an_interrupt_says_how_to_continue(
    call: Callable[..., Any], places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("labelsieve.data.load.load", interrupt)
    called = call("scan", places["digits"])
    assert called.code == 130
    assert called.err.strip() == "Interrupted. The same command continues."


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
    assert printed["noise_rate"].keys() == {"rate", "low", "high"}


def test_progress_goes_to_stderr_in_our_words_only(
    folder_scan: tuple[Path, Any],
) -> None:
    lines = folder_scan[1].err.splitlines()
    assert any(line.startswith("Reading images: 12 ") for line in lines)
    for line in lines:
        assert line.startswith(
            (
                "Reading images: ",
                "Computing features: ",
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


# --- score and cache


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
    flagged = scanned.printed["flagged"]
    file = str(tmp_path / "deep" / "a.parquet")
    assert called.json() == {
        "images": 45,
        "scored": 42,
        "flagged": flagged,
        "file": file,
    }
    assert pq.read_table(file).equals(Run(scanned.folder).scores)
    shown = call(*words, "-o", tmp_path / "a.csv")
    assert (
        shown.out
        == f"42 of 45 images scored, {flagged} flagged: {tmp_path / 'a.csv'}\n"
    )
    assert pacsv.read_csv(tmp_path / "a.csv").num_rows == 45


def test_the_cache_is_shown_and_cleared(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x").write_bytes(bytes(3_000_000))
    assert call("cache", "--json").json() == {
        "folder": str(tmp_path / "cache"),
        "bytes": 3_000_000,
        "deleted": 0,
    }
    assert call("cache").out == f"{tmp_path / 'cache'}: 3 MB\n"
    assert call("cache", "--clear", "--json").json()["deleted"] == 3_000_000
    assert call("cache", "--json").json()["bytes"] == 0


# --- what the machine cannot do, and names that a terminal would obey


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), ": No space left on device. Free"),
        (OSError(28, "No space left on device", "/x/y"), "'/x/y': No space left"),
        (PermissionError(13, "Permission denied", b"/x/\xff"), "Permission denied"),
        (ConnectionError("the network is down"), "error: the network is down."),
        (OSError(), "error: OSError."),
        (MemoryError(), "not enough memory"),
        (RecursionError("maximum depth"), "nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "not valid text"),
    ],
)
def test_what_the_machine_cannot_do_is_one_line(
    call: Callable[..., Any],
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("labelsieve.data.load.load", fail)
    called = call("scan", places["digits"])
    assert called.code == 2 and called.out == ""
    assert called.err.startswith("error: ") and called.err.count("\n") == 1
    assert message in called.err


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
def test_narrow_output_gets_question_marks(
    encoding: str, scanned: Any, tmp_path: Path
) -> None:
    words = [w for w in scanned.words if w != "--json"]
    for command in (words, ["methods"], [*words, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "labelsieve", *map(str, command)],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode(encoding)
    assert json.loads(done.stdout.decode(encoding)) == scanned.printed


def test_names_of_the_data_do_not_command_the_terminal(
    call: Callable[..., Any], digits: Any, encode: Any, tmp_path: Path
) -> None:
    """Neither in the summary nor in an error, a note or the JSON."""
    evil = "\x1b[2Jcat\u202e"
    for name in (evil, "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for row in range(4):
            file = tmp_path / "data" / name / f"{name}{row}.png"
            file.write_bytes(encode(digits[0][row + 4 * (name == "dog")]))
    words = ["scan", tmp_path / "data", "--method", "zero-shot", "-o", tmp_path / evil]
    for called in (
        call(*words),
        call(*words, "--json"),
        call(*words, "--preflight"),
        call("report", tmp_path / evil),
        call("scan", tmp_path / evil / "gone"),
    ):
        for stream in (called.out, called.err):
            assert "\x1b" not in stream and "\u202e" not in stream
        assert "cat" in called.out + called.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_output_that_cannot_be_written_is_named() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "labelsieve", "methods"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
