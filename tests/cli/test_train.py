"""`labelsieve train` on the command line: what it prints, and that mistakes are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_command_line(
    planted: Any, random_clip: Callable[..., Path], call: Any, tmp_path: Path
) -> None:
    words = [
        "--student",
        random_clip(),
        "--set",
        "epochs=1",
        "--set",
        "lr=0.02",
        "--device",
        "cpu",
        "--precision",
        "float32",
        "-q",
    ]
    done = call("train", planted.folder, *words, "-o", tmp_path / "model", "--json")
    assert done.code == 0, done.err
    assert (
        done.json()["figures"]
        == json.loads((tmp_path / "model" / "training.json").read_text())["figures"]
    )
    shown = call("train", planted.folder, *words, "-o", tmp_path / "model").out
    assert f"Model  {tmp_path / 'model'}" in shown and "12 left out" in shown
    assert call("evaluate", tmp_path / "model", planted.data, "-q").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--use", "cleen"], "'cleen' is unknown; there are: all, certified, clean"),
        (["--loss", "hinge"], "--loss cannot be hinge"),
        (["--recipe", "swin"], "--recipe cannot be swin"),
        (["--labels", "mine"], "--labels cannot be mine"),
        (
            ["--student", "nobody/nothing"],
            "Model 'nobody/nothing' is not on this machine",
        ),
        (["--set", "speed=3"], "Setting 'speed' is unknown"),
        (["--set", "val_share=0.9"], "Setting val_share cannot be 0.9"),
        (["--min-confidence", "2"], "--min-confidence cannot be 2.0"),
        (["--precision", "float16"], "--precision float16 is too coarse"),
        (["--seed", "-1"], "--seed cannot be -1"),
        (["--val", "nowhere"], "'nowhere' does not exist"),
        (["--data", "nowhere"], "'nowhere' does not exist"),
        (["-o", "{data}"], "is not empty and is not a model folder"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, planted: Any, random_clip: Any, call: Any
) -> None:
    words = [w.format(data=planted.data) for w in words]
    student = [] if "--student" in words else ["--student", random_clip()]
    found = call("train", planted.folder, *student, *words, "-q")
    assert found.code == 2 and message in found.err and found.err.count("\n") == 1, (
        found.err
    )
    assert not (planted.folder / "classifier").exists()
