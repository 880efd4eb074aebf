"""Every command that writes, killed at random moments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attack import kill
from attack.children import start_forking


@pytest.fixture(autouse=True)
def forking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Children have one thread; the working folder is put back afterwards."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    start_forking()
    yield


def test_scan_killed_three_times(tmp_path: Path) -> None:
    assert kill.strike(tmp_path, "scan", 3) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [attack.name for attack in kill.attacks()])
def test_killed_twenty_times(name: str, tmp_path: Path) -> None:
    assert kill.strike(tmp_path, name, 20) == []
