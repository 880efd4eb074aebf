"""Which labels to change: people's decisions and confident suggestions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from labelsieve.corrections.patch import DROP, RELABEL
from labelsieve.errors import OptionError, unknown
from labelsieve.runs.decisions import Decision, Decisions
from labelsieve.runs.run import Run
from labelsieve.tables import CORRECTIONS

POLICIES = ("reviewed", "auto")


@dataclass(frozen=True)
class Policy:
    """What to correct.

    Args:
        source: "reviewed" takes what people decided; "auto" also flagged labels that nobody looked at, where the suggestion
            is at least `min_confidence` probable.
        relabel: give images their right label, where it is known.
        drop: leave out images whose label is wrong and is not corrected.

    Raises:
        OptionError: an unknown source, or a confidence outside [0, 1].
    """

    source: Literal["reviewed", "auto"] = "reviewed"
    min_confidence: float = 0.9
    relabel: bool = True
    drop: bool = False

    def __post_init__(self) -> None:
        if self.source not in POLICIES:
            raise OptionError(unknown("--policy", self.source, POLICIES))
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(
                f"--min-confidence {self.min_confidence} must lie between 0 and 1."
            )


def plan(opened: Run, decisions: Decisions | None, policy: Policy) -> pa.Table:
    """Corrections of a run, one row per image that changes, by sample id."""
    current = decisions.all_current() if decisions else {}
    uris = dict(
        zip(
            opened.manifest["sample_id"].to_pylist(),
            opened.manifest["uri"].to_pylist(),
            strict=True,
        )
    )
    rows = []
    for about in opened.scores.to_pylist():
        wanted = _judge(about, current.get(about["sample_id"]), policy)
        if wanted is None:
            continue
        label, reason = wanted
        action = (
            RELABEL
            if label is not None and policy.relabel
            else DROP
            if policy.drop
            else None
        )
        if action:
            rows.append(
                {
                    "sample_id": about["sample_id"],
                    "uri": uris[about["sample_id"]],
                    "path": about["path"],
                    "action": action,
                    "old_label": about["given_label"],
                    "new_label": label if action == RELABEL else None,
                    "reason": reason,
                    "new_uri": None,
                }
            )
    return pa.Table.from_pylist(
        sorted(rows, key=lambda r: r["sample_id"]), schema=CORRECTIONS
    )


def _judge(
    about: Mapping[str, Any], decision: Decision | None, policy: Policy
) -> tuple[str | None, str] | None:
    """(right label or None, reason) of a label that is held to be wrong; None where it stays."""
    if about["given_label"] is None:
        return None
    if decision is not None and decision.verdict != "skip":
        if decision.verdict == "keep" or decision.label == about["given_label"]:
            return None
        return decision.label, f"reviewed: {decision.verdict}"
    sure = about["is_label_issue"] and about["suggested_prob"] >= policy.min_confidence
    if (
        policy.source == "auto"
        and sure
        and about["suggested_label"] != about["given_label"]
    ):
        return about["suggested_label"], f"auto: {about['suggested_prob']:.4f}"
    return None
