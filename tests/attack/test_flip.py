"""Single bits of a finished run and of the cache, flipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack import flip
from attack.children import start_forking


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a finished scan, and its cache."""
    start_forking()
    folder = tmp_path_factory.mktemp("flips")
    flip.prepare(folder)
    return folder


@pytest.mark.parametrize("part", flip.PARTS)
def test_three_flips_in_each_file(part: str, base: Path) -> None:
    assert list(flip.attack(base, 3, part)) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", flip.PARTS)
def test_two_hundred_flips_in_each_file(part: str, base: Path) -> None:
    assert list(flip.attack(base, 200, part, seed=1)) == []
