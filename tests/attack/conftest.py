"""A working folder in which the command line is given words, as a user or an attacker does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attack.children import Ended, labelsieve, start_forking
from attack.samples import ZERO_SHOT, write_digits


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ended]]:
    """`run("scan data -o run")` in a working folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    start_forking()

    def command(words: str, cache: str = "cache", **kill: float) -> Ended:
        return labelsieve(words.split(), tmp_path / cache, **kill)  # type: ignore[arg-type]

    yield command


@pytest.fixture
def scanned(run: Callable[..., Ended]) -> Callable[..., Ended]:
    """`data` and `out`, its scan."""
    write_digits(Path("data"))
    assert run(f"scan data -o out {ZERO_SHOT}").code == 0
    return run
