"""Mutated files of strangers: no traceback, no crash, nothing touched outside the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack import fuzz
from attack.children import start_forking


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound files to mutate."""
    start_forking()
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz.prepare(folder)
    return folder


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_fifty_mutations(kind: str, base: Path) -> None:
    assert list(fuzz.attack(base, kind, 50)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_five_thousand_mutations(kind: str, base: Path) -> None:
    assert list(fuzz.attack(base, kind, 5000, seed=1)) == []
