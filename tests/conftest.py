"""What every test runs under; the fixtures themselves are in tests/fixtures, by subject."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Nothing is fetched in a test. Set before the libraries that read these are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# pyproject.toml puts tests/ on the path, so that these can be imported for their types, too.
pytest_plugins = [
    "fixtures.audited",
    "fixtures.models",
    "fixtures.pictures",
    "fixtures.planted",
    "fixtures.references",
    "fixtures.scans",
]

# No test fails because the machine was busy, or only on some days.
hypothesis.settings.register_profile(
    "labelsieve", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("labelsieve")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels, features, locks and secrets of the tests are their own, never the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LABELSIEVE_CACHE"] = str(folder)
    os.environ["LABELSIEVE_STATE"] = str(tmp_path_factory.mktemp("state"))
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_progress() -> None:
    """Progress bars stay off."""
    from labelsieve import progress

    progress.be_quiet(True)
