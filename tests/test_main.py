"""python -m labelsieve is the command line."""

from __future__ import annotations

import subprocess
import sys

import labelsieve


def test_python_m_labelsieve() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "labelsieve", "--version"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert result.stdout == f"{labelsieve.__version__}\n"


def test_its_errors_have_exit_code_2() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "labelsieve", "scna"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
