"""`labelsieve bench` on the command line: what it prints, Ctrl-C, and that mistakes are one
line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PART = ["--only", "method=zero-shot,seed=0", "--jobs", "1"]


def test_interrupted_it_says_so_and_the_same_command_ends_it(
    call: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["bench", "smoke", "-o", str(out), *PART]
    process = subprocess.Popen(
        [sys.executable, "-m", "labelsieve", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs do not hear it
    )
    end = time.monotonic() + 600
    while not list(out.glob("data/*/result.json")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=600)[1].splitlines()
    assert (
        process.returncode == 130
        and said[-1] == "Interrupted. The same command continues."
    )
    assert not any("Traceback" in line for line in said)

    done = call(*words, "-q", "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert found["done"] == 1 and found["cells"] == 6 and not found["not_run"]
    assert found["headroom"][0]["best_f1"] == "zero-shot"

    shown = call(*words, "-q").out
    assert (
        "1 of 6 cells are done." in shown
        and "digits, symmetric 20 %" in shown
        and str(out / "table.md") in shown
    )
    assert str(out / "results.parquet") in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["ofline"],
            "there are: clip, multi-label, offline, open-set",
        ),
        (["nowhere.toml"], "'nowhere.toml' cannot be opened"),
        (["smoke", "--only", "method=kn"], "method 'kn' is unknown"),
        (["smoke", "--tower", "bench"], "--tower 'bench' is not NAME=MODEL"),
        (["smoke", "--jobs", "x"], "--jobs 'x' cannot be used"),
        (["smoke", "-o", "{file}"], "file"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, call: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    words = [w.format(file=tmp_path / "file") for w in words]
    place = [] if "-o" in words else ["-o", tmp_path / "out"]
    found = call("bench", *words, *place, "-q")
    assert found.code == 2 and message in found.err and found.err.count("\n") == 1, (
        found.err
    )
    assert not (tmp_path / "out").exists()


def test_the_help_names_what_is_ready(call: Any) -> None:
    # lines are broken after hyphens, too
    shown = "".join(call("bench", "--help").out.split())
    ready = "clip,multi-label,offline,open-set,paper-real,paper-synthetic,smoke"
    assert f"{ready},oraTOMLfileofyourown" in shown
