from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from labelsieve.corrections.policy import Policy, plan
from labelsieve.runs.decisions import Decisions


@pytest.fixture
def patch(planted: Any) -> pa.Table:
    """All wrong labels corrected, but one image that belongs to no class and is left out."""
    decisions = Decisions(planted.folder)
    for sample_id in planted.wrong:
        decisions.add(sample_id, "accept", planted.truth[sample_id])
    decisions.add(planted.wrong[0], "none")
    return plan(planted.run, decisions, Policy(drop=True))
