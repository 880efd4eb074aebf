"""Nodes of a Ray cluster that are lost at random times change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_scans_survive_their_nodes() -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    program = Path(__file__).with_name("lost_nodes.py")
    words = [sys.executable, str(program), "--pictures", "2000", "--times", "5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, timeout=3600, env=environment)
