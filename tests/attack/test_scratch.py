"""Attacks that are killed leave nothing for good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from attack import scratch
folder = scratch.begin()
(folder / "litter").write_text("x")
print(folder, flush=True)
sys.stdin.readline()
"""


def _begin(where: Path) -> tuple[subprocess.Popen[str], Path]:
    surroundings = os.environ | {
        "TMPDIR": str(where),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_next_attack_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    killed, left = _begin(tmp_path)
    running, kept = _begin(tmp_path)
    killed.kill()
    killed.communicate()
    assert (left / "litter").exists()
    last, _ = _begin(tmp_path)
    assert not left.exists(), "it was left by a process that is gone"
    assert (kept / "litter").exists(), "its process still works in it"
    for process in (running, last):
        process.communicate("\n")
    (home,) = tmp_path.iterdir()
    assert list(home.iterdir()) == []
