"""Which labels to change: people's decisions and confident scores as a table, a patch that can be applied and reversed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from labelsieve.decisions import Decision, Decisions
from labelsieve.errors import DataError, OptionError, RunError, unknown
from labelsieve.run import Run, fingerprint
from labelsieve.tables import CORRECTIONS, check_unique, read_parquet, write_parquet

RELABEL, DROP = "relabel", "drop"
POLICIES = ("reviewed", "auto")
FACTS = b"labelsieve"  # where a patch keeps facts about having been applied, in the metadata of its schema


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
            raise OptionError(f"--min-confidence {self.min_confidence} must lie between 0 and 1.")


def plan(opened: Run, decisions: Decisions | None, policy: Policy) -> pa.Table:
    """Corrections of a run, one row per image that changes, by sample id."""
    current = decisions.all_current() if decisions else {}
    uris = dict(zip(opened.manifest["sample_id"].to_pylist(), opened.manifest["uri"].to_pylist(), strict=True))
    rows = []
    for about in opened.scores.to_pylist():
        wanted = _judge(about, current.get(about["sample_id"]), policy)
        if wanted is None:
            continue
        label, reason = wanted
        action = RELABEL if label is not None and policy.relabel else DROP if policy.drop else None
        if action:
            rows.append({
                "sample_id": about["sample_id"], "uri": uris[about["sample_id"]], "path": about["path"], "action": action,
                "old_label": about["given_label"], "new_label": label if action == RELABEL else None, "reason": reason, "new_uri": None,
            })  # fmt: skip
    return pa.Table.from_pylist(sorted(rows, key=lambda r: r["sample_id"]), schema=CORRECTIONS)


def _judge(about: Mapping[str, Any], decision: Decision | None, policy: Policy) -> tuple[str | None, str] | None:
    """(right label or None, reason) of a label that is held to be wrong; None where it stays."""
    if about["given_label"] is None:
        return None
    if decision is not None and decision.verdict != "skip":
        if decision.verdict == "keep" or decision.label == about["given_label"]:
            return None
        return decision.label, f"reviewed: {decision.verdict}"
    sure = about["is_label_issue"] and about["suggested_prob"] >= policy.min_confidence
    if policy.source == "auto" and sure and about["suggested_label"] != about["given_label"]:
        return about["suggested_label"], f"auto: {about['suggested_prob']:.4f}"
    return None


def scan_of(opened: Run) -> str:
    """Names what a run scanned: the same images with the same labels in the same places."""
    table = opened.manifest.select(["sample_id", "uri", "given_label"]).sort_by("sample_id")
    return fingerprint([column.to_pylist() for column in table.columns])


def patch_id(patch: pa.Table) -> str:
    """Names what a patch does, whatever happened to it since."""
    rows = sorted(zip(*(patch[c].to_pylist() for c in ("sample_id", "action", "new_label")), strict=True), key=str)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_patch(patch: pa.Table, path: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a patch; `facts` say how it was applied."""
    write_parquet(patch.replace_schema_metadata({FACTS: json.dumps(dict(facts or {})).encode()}), path)


def read_patch(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A patch and the facts of its application.

    Raises:
        RunError: not there, or no patch.
        DataError: an image appears twice, or an action is unknown.
    """
    table = read_parquet(path)
    if any(name not in table.column_names for name in CORRECTIONS.names):
        raise RunError(
            f"'{path}' is no patch of corrections.", "Give a corrections.parquet that labelsieve apply wrote."
        )
    facts = json.loads((table.schema.metadata or {}).get(FACTS, b"{}"))
    table = table.select(CORRECTIONS.names).cast(CORRECTIONS)
    check_unique(table)
    for row in table.select(["action", "new_label", "path"]).to_pylist():
        if row["action"] not in (RELABEL, DROP) or (row["action"] == RELABEL) is (row["new_label"] is None):
            raise DataError(
                f"'{path}': the row of '{row['path']}' is neither a new label nor a drop.", "The patch is damaged."
            )
    return table, facts


def labels_after(patch: pa.Table) -> dict[str, str | None]:
    """Sample id -> label after the patch, None where dropped."""
    return dict(zip(patch["sample_id"].to_pylist(), patch["new_label"].to_pylist(), strict=True))
