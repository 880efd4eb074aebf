"""Which labels to change: people's decisions, what an audit promises, confident suggestions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from labelsieve.audits import guarantee
from labelsieve.corrections.patch import DROP, RELABEL
from labelsieve.data.labels import SET
from labelsieve.errors import OptionError, unknown
from labelsieve.estimation.noise_rate import says_little
from labelsieve.progress import between, counted, note, plain
from labelsieve.runs import standing
from labelsieve.runs.decisions import Decision, Decisions
from labelsieve.runs.run import Run
from labelsieve.runs.sets.standing import NOTHING, SetStanding
from labelsieve.runs.standing import Standing
from labelsieve.tables import CORRECTIONS

POLICIES = ("reviewed", "certified", "auto")
# How the reason of what is dropped as belonging to no class begins.
OUTSIDE = "auto: belongs to no class,"
# Of verdicts that name no label: what they are about, and what leaves these items out.
KEPT = (
    ("none", "of no class", "--drop-outsiders"),
    ("wrong", "whose right label is unknown", "--relabel --drop"),
)
# Right label (None: not known) and reason, by sample id.
Judgements = Mapping[str, tuple[str | None, str]]


@dataclass(frozen=True)
class Policy:
    """What to correct.

    Args:
        source: "reviewed" takes what people decided; "certified" also what a complete random
            audit promises (`labelsieve.audits.guarantee`); "auto" also flagged labels that nobody
            looked at, where the suggestion is at least `min_confidence` probable, by the scan and
            all answers since (`labelsieve.runs.standing`).
        relabel: give images their right label, where it is known.
        drop: leave out images whose label is wrong and is not corrected.
        drop_outsiders: leave out images that belong to no class: as people said and, with "auto",
            as the scan holds of labels that are wrong with `min_confidence`.

    Raises:
        OptionError: an unknown source, or a confidence outside [0, 1].
    """

    source: Literal["reviewed", "certified", "auto"] = "reviewed"
    min_confidence: float = 0.9
    relabel: bool = True
    drop: bool = False
    drop_outsiders: bool = False

    def __post_init__(self) -> None:
        # the command line's words, as that is where most policies come from
        if self.source not in POLICIES:
            raise OptionError(unknown("--policy", self.source, POLICIES))
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(
                f"--min-confidence {self.min_confidence} must lie between 0 and 1."
            )


def plan(opened: Run, decisions: Decisions | None, policy: Policy) -> pa.Table:
    """Corrections of a run, one row per image that changes, by sample id.

    Raises:
        RunError: policy "certified", and no audit promises anything.
    """
    # the last word on each image, whoever said it
    current = decisions.all_current() if decisions else {}
    manifest = opened.manifest
    ids = manifest["sample_id"].to_pylist()
    uri_of = dict(zip(ids, manifest["uri"].to_pylist(), strict=True))
    unseen: Judgements = {}
    if policy.source == "certified":
        unseen = _certified(opened, decisions, policy)
    elif policy.source == "auto":
        unseen = _confident(opened, decisions, policy)
    rows, unlabelled, kept = [], [], []
    for about in opened.scores.to_pylist():
        sample_id = about["sample_id"]
        if about["given_label"] is None and _names_a_label(current.get(sample_id)):
            unlabelled.append(about["path"])
        decision = current.get(sample_id)
        row = _correction(about, decision, policy, unseen, sets=opened.kind == SET)
        if row is not None:
            rows.append({**row, "uri": uri_of[sample_id]})
        elif about["given_label"] is not None and decision is not None:
            kept.append(decision.verdict)
    _tell_of_unlabelled(unlabelled)
    _tell_of_kept(kept, opened.record.get("noun", "image"))
    # by id, so that the same decisions give the same file
    rows.sort(key=lambda row: row["sample_id"])
    return pa.Table.from_pylist(rows, schema=CORRECTIONS)


def _names_a_label(decision: Decision | None) -> bool:
    return decision is not None and decision.label is not None


def _tell_of_unlabelled(paths: list[str]) -> None:
    """A line about decisions that change nothing, as there is no label to change."""
    if paths:
        decisions = counted(len(paths), "decision", "is", "are")
        note(
            f"{decisions} left out: the data have no label there that could change, such as"
            f" of '{plain(paths[0])}'."
        )


def _tell_of_kept(verdicts: list[str], noun: str) -> None:
    """A line each about items that people found wrong and that stay as they are, if any do."""
    for verdict, what, option in KEPT:
        count = verdicts.count(verdict)
        if count:
            # whoever answered so expects that something becomes of it
            items = counted(count, noun, f"{what} keeps its", f"{what} keep their")
            them = "it" if count == 1 else "them"
            note(f"{items} label ({option} leaves {them} out).")


def _certified(opened: Run, decisions: Decisions | None, policy: Policy) -> Judgements:
    """What an audit promises about labels that nobody looked at."""
    promised = guarantee.of_run(opened, decisions)
    judged: dict[str, tuple[str | None, str]] = {}
    if policy.drop:
        for sample_id in promised.wrong.require().ids:
            judged[sample_id] = None, f"certified: {promised.wrong.level:.4g}"
    if policy.relabel:
        found = promised.corrections.require()
        names = opened.scores["sample_id"].to_pylist()
        suggested = opened.scores["suggested_label"].to_pylist()
        label_of = dict(zip(names, suggested, strict=True))
        # a promise about the correction says more than one about the label
        for sample_id in found.ids:
            # no class is no correction
            if label_of[sample_id] is not None:
                reason = f"certified: {found.level:.4g}"
                judged[sample_id] = label_of[sample_id], reason
        if found.empty:
            note(found.empty)
    return judged


def _confident(opened: Run, decisions: Decisions | None, policy: Policy) -> Judgements:
    """Suggestions that are probable enough for labels that nobody looked at."""
    _tell_of_ignorance(opened, decisions)
    # who changes labels that nobody looked at must know what the scan warned of
    for caveat in opened.record.get("caveats", []):
        note(caveat)
    now = standing.read(opened).untouched()
    if decisions is not None:
        now = now.updated(decisions.all_current())
    if opened.kind == SET:
        return _confident_changes(now, policy)
    judged = _confident_outsiders(now, policy)
    differs = now.issue & (now.suggested != now.given) & (now.suggested >= 0)
    # what people decided is taken or left by their word alone
    differs &= now.verdicts == None  # noqa: E711  (element by element)
    sure = differs & (now.suggested_prob >= policy.min_confidence)
    if not sure.any() and not judged:
        _tell_of_less(now.suggested_prob[differs], policy.min_confidence)
    rows = np.flatnonzero(sure)
    ids = now.ids.take(pa.array(rows)).to_pylist()
    for sample_id, row in zip(ids, rows, strict=True):
        label = now.classes[now.suggested[row]]
        judged[sample_id] = label, f"auto: {now.suggested_prob[row]:.4f}"
    return judged


def _confident_outsiders(
    now: Standing, policy: Policy
) -> dict[str, tuple[str | None, str]]:
    """Images that the scan holds to belong to no class, where their labels are surely wrong."""
    if not policy.drop_outsiders:
        return {}
    # what people decided about stands by their word alone
    outside = (now.suggested < 0) & (now.verdicts == None)  # noqa: E711
    rows = np.flatnonzero(outside & (now.p_wrong >= policy.min_confidence))
    ids = now.ids.take(pa.array(rows)).to_pylist()
    judged: dict[str, tuple[str | None, str]] = {}
    for sample_id, prob in zip(ids, now.p_wrong[rows], strict=True):
        judged[sample_id] = None, f"{OUTSIDE} {prob:.4f}"
    return judged


def _confident_changes(now: SetStanding, policy: Policy) -> Judgements:
    """Sets in which those labels change that are wrongly there, or not, with enough probability."""
    changes = now.changes(policy.min_confidence)
    if not changes:
        likeliest = now.changes(0.0).values()
        _tell_of_less(np.array([p for _, p in likeliest]), policy.min_confidence)
    ids = now.ids.take(pa.array(list(changes), pa.int64())).to_pylist()
    judged: dict[str, tuple[str | None, str]] = {}
    for sample_id, (labels, prob) in zip(ids, changes.values(), strict=True):
        judged[sample_id] = labels, f"auto: {prob:.4f}"
    return judged


def _tell_of_ignorance(opened: Run, decisions: Decisions | None) -> None:
    """A warning where suggestions are as doubtful as the share of wrong labels."""
    _, low, high = opened.noise_rate
    # people's answers to a random sample say what the scan could not
    if not says_little(low, high) or guarantee.of_run(opened, decisions).rate:
        return
    note(
        "Warning: the scan cannot say how many labels are wrong "
        f"({between(low, high)}), so its suggestions cannot be relied on. "
        "Judge a random sample with labelsieve audit, then take --policy certified; or "
        "correct what people decided, with --policy reviewed."
    )


def _tell_of_less(probs: np.ndarray, least: float) -> None:
    """A line about suggestions that are not probable enough, as none is."""
    if len(probs):
        # rounded down: a threshold that is typed as it is shown takes the likeliest one
        best = math.floor(1e4 * probs.max()) / 1e4
        lie = "lies" if len(probs) == 1 else "lie"
        note(
            f"{counted(len(probs), 'suggestion')} {lie} below --min-confidence {least:g}; "
            f"the likeliest has {best:g}. A lower --min-confidence takes it."
        )


def _correction(
    about: Mapping[str, Any],
    decision: Decision | None,
    policy: Policy,
    unseen: Judgements,
    *,
    sets: bool = False,
) -> dict[str, Any] | None:
    """The row of a patch about one image, without its uri; None where nothing changes."""
    judgement = _judge(about, decision, unseen, sets=sets)
    if judgement is None:
        return None
    label, reason = judgement
    if not policy.relabel:
        label = None
    # a wrong label without a right one: out, or as it is
    outside = reason.startswith(OUTSIDE) or reason == "reviewed: none"
    if label is None and not (policy.drop or (policy.drop_outsiders and outside)):
        return None
    return {
        "sample_id": about["sample_id"],
        "path": about["path"],
        "action": DROP if label is None else RELABEL,
        "old_label": about["given_label"],
        "new_label": label,
        "reason": reason,
        # known when the patch is applied
        "new_uri": None,
    }


def _judge(
    about: Mapping[str, Any],
    decision: Decision | None,
    unseen: Judgements,
    *,
    sets: bool,
) -> tuple[str | None, str] | None:
    """(right label or None, reason) of a label that counts as wrong; None where it stays."""
    given = about["given_label"]
    if given is None:
        return None
    # a person's word stands above any score; who skipped has not said one
    if decision is not None and decision.verdict != "skip":
        if decision.verdict == "keep" or decision.label == given:
            return None
        label = decision.label
        # a set may be empty, and then the picture stays
        if decision.verdict == "none" and sets:
            label = NOTHING
        return label, f"reviewed: {decision.verdict}"
    return unseen.get(about["sample_id"])
