"""Pairs of commands that begin at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attack import pairs
from attack.children import start_forking


@pytest.fixture(autouse=True)
def forking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Children have one thread; the working folder is put back afterwards."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    start_forking()
    yield


@pytest.mark.parametrize("name", ["apply, other apply", "review, apply"])
def test_two_commands_at_once(name: str, tmp_path: Path) -> None:
    assert pairs.strike(tmp_path, name, 1) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(pairs.PAIRS))
def test_twenty_trials(name: str, tmp_path: Path) -> None:
    assert pairs.strike(tmp_path, name, 20) == []
