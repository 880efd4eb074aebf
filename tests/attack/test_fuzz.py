"""Mutated files of strangers: no traceback, no crash, nothing touched outside the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from attack import fuzz, fuzz_more, fuzz_sources
from attack.children import start_forking

# What takes half a second a case, or a training before the first one.
LONG = (fuzz_more.KINDS.keys() | fuzz_sources.KINDS.keys()) - {"pictures"}


def prepared(tmp_path_factory: pytest.TempPathFactory, *, whole: bool) -> Path:
    start_forking()
    folder = tmp_path_factory.mktemp("fuzz")
    fuzz.prepare(folder, whole=whole)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound files to mutate."""
    return prepared(tmp_path_factory, whole=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a model, a classifier, answers and half copies."""
    return prepared(tmp_path_factory, whole=True)


@pytest.mark.parametrize("kind", [kind for kind in fuzz.KINDS if kind not in LONG])
def test_fifty_mutations(kind: str, base: Path) -> None:
    assert list(fuzz.attack(base, kind, 50)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_thousands_of_mutations(kind: str, whole: Path) -> None:
    assert list(fuzz.attack(whole, kind, 500 if kind in LONG else 5000, seed=1)) == []
