"""The command line: exit codes, one line per mistake, what goes to which stream, and nothing
heavy behind --help."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labelsieve
from labelsieve import registry


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
        "    # tables of other commands are drawn by it\n"
        "    assert words[-1] != '--help' or 'rich' not in sys.modules, words\n"
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
        "takes texts, and the items of the data are images",
    ),
    (
        ["scan", "{digits}", "--device", "quantum"],
        "--device 'quantum' is not available here",
    ),
    (["scan", "{digits}", "--precision", "float8"], "--precision 'float8' is unknown"),
    (
        ["scan", "{digits}", "-o", "{tmp}/single"],
        "is not empty and is not a run folder",
    ),
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


@pytest.mark.parametrize(
    "encoding",
    [
        "ascii",
        "utf-8",
        pytest.param("cp1252", marks=pytest.mark.slow),
        pytest.param("latin-1", marks=pytest.mark.slow),
    ],
)
def test_narrow_output_loses_nothing(
    encoding: str, scanned: Any, tmp_path: Path
) -> None:
    words = [w for w in scanned.words if w != "--json"]
    copy = tmp_path / "\u043e\u0442\u0447\u0451\u0442"
    shutil.copytree(scanned.folder, copy)
    report = ["report", copy]
    for command in (report, words, ["methods"], [*words, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "labelsieve", *map(str, command)],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout.decode(encoding)
        assert shown and "?" not in shown
        if command is report and encoding != "utf-8":
            assert r"\u043e\u0442\u0447\u0451\u0442" in shown
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
