"""Audits of earlier versions: a random order of all images, judged from its start.

Nothing was written down before the first answer, neither how many there would be nor which scores
they were for. So the share of wrong labels is estimated from them, as it always was, and nothing is
promised: for that see `labelsieve.audits`.

The sample is the start of a random order that depends on nothing but ids and a seed, and whatever
was judged first counts. Images judged for other reasons count only where the order reaches them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from labelsieve.estimation.audits.shares import Rate, estimate
from labelsieve.runs.decisions import SETTLED, WRONG, Decision, Decisions
from labelsieve.runs.run import Run

# fewer from the start of the order may have been judged by chance, by somebody who reviews suspects
LEAST = 10
SLICE = 4_096  # ids that become Python objects at once


def order(ids: Sequence[str], seed: int = 0) -> list[str]:
    """The ids in a random order that depends on nothing but id and seed."""
    return sorted(ids, key=lambda sample_id: _draw(sample_id, seed))


def _draw(sample_id: str, seed: int = 0) -> bytes:
    text = f"{seed}\n{sample_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def judged(
    ordered: Sequence[str], current: Mapping[str, Decision]
) -> tuple[list[str], list[bool]]:
    """What people judged from the start of the random order.

    Stops at the first image that nobody looked at; what was judged beyond was not drawn at
    random.

    Returns:
        Ids, and whether each label is wrong; without those that could not be judged.
    """
    ids: list[str] = []
    wrong: list[bool] = []
    for sample_id in ordered:
        decision = current.get(sample_id)
        if decision is None:
            break
        if decision.verdict in (*SETTLED, *WRONG):
            ids.append(sample_id)
            wrong.append(decision.verdict in WRONG)
    return ids, wrong


def of_run(opened: Run, decisions: Decisions | None) -> Rate | None:
    """The share of wrong labels from such an audit; None with fewer than `LEAST` answers."""
    if decisions is None:
        return None
    # images that could not be read have no score, and are not part of the sample
    scored = opened.scores.filter(opened.scores["p_clean"].is_valid())
    current = decisions.all_current()
    if not _begins(scored["sample_id"], current):
        return None
    ids = scored["sample_id"].to_pylist()
    sampled, wrong = judged(order(ids), current)
    if len(sampled) < min(LEAST, len(ids)):
        return None
    at = {sample_id: row for row, sample_id in enumerate(ids)}
    sample = np.array([at[sample_id] for sample_id in sampled])
    return estimate(1 - scored["p_clean"].to_numpy(), sample, np.array(wrong))


def _begins(ids: pa.ChunkedArray, current: Mapping[str, Decision]) -> bool:
    """Whether the first `LEAST` of the order may be decided.

    Of a million labels a few are looked at, where a person reviews suspects: soon one comes that
    nobody decided about and that the order has before.
    """
    least = min(LEAST, len(ids))
    decided = sorted(map(_draw, current))
    if len(decided) < least or not least:
        return False
    last = decided[least - 1]
    for start in range(0, len(ids), SLICE):
        for sample_id in ids.slice(start, SLICE).to_pylist():
            if sample_id not in current and _draw(sample_id) < last:
                return False
    return True
