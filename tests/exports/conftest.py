from __future__ import annotations

from typing import Any

import pytest

from labelsieve.files import uri_to_path
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def decided(planted: Any) -> Any:
    """The planted run with three decisions.

    `decided.after` is the label of every image after them, `decided.files` its file.
    """
    decisions = Decisions(planted.folder)
    a, b, c, *_ = planted.wrong
    decisions.add(a, "accept", planted.truth[a])
    decisions.add(b, "none")
    decisions.add(c, "keep")
    decisions.close()
    planted.after = {**planted.given, a: planted.truth[a], b: None}
    manifest = planted.run.manifest.select(["sample_id", "uri"]).to_pylist()
    planted.files = {
        row["sample_id"]: planted.data / uri_to_path(row["uri"]) for row in manifest
    }
    return planted
