"""What a method found, joined with every image by id: the tables of a run and the figures that are shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import tables
from labelsieve.data import preflight
from labelsieve.data.dataset import Dataset
from labelsieve.estimation import metrics
from labelsieve.estimation import noise_rate as estimation_noise_rate_module
from labelsieve.estimation.agreement import Agreement
from labelsieve.estimation.calibration import parts
from labelsieve.estimation.transition import fit_transition, select
from labelsieve.methods import Evidence
from labelsieve.runs.run import Run


def estimate_noise(
    evidence: Evidence,
    images: Dataset,
    seed: int,
    others: Mapping[str, np.ndarray] | None = None,
) -> estimation_noise_rate_module.Noise:
    """Rate, classes and pairs: from the method's posterior, or from class probabilities and the given labels.

    Args:
        others: class probabilities [n, k] of other reference classifiers, by name, that may be selected instead of the method's
            (`labelsieve.estimation.transition.select`). A posterior has asked them itself.
    """
    labels, classes = images.labels, images.classes
    if evidence.posterior:
        return estimation_noise_rate_module.summarise(
            evidence.probs, labels, classes, evidence.rates
        )
    found = {
        "method": evidence.transition or fit_transition(evidence.probs, labels, seed)
    }
    found |= {
        name: fit_transition(probs, labels, seed)
        for name, probs in (others or {}).items()
    }
    name, transition = select(found)
    calibrated = transition.calibrate(
        evidence.probs if others is None or name == "method" else others[name]
    )
    noise = estimation_noise_rate_module.summarise(
        transition.posterior(calibrated, labels), labels, classes, transition.rates
    )
    return replace(noise, reference=name)


def probs_table(images: Dataset, evidence: Evidence) -> pa.Table:
    """Class probabilities by sample id, a list of k float32 in the order of the classes."""
    k = evidence.probs.shape[1]
    flat = pa.array(np.ascontiguousarray(evidence.probs, dtype=np.float32).reshape(-1))
    return pa.table(
        {"sample_id": images.ids, "probs": pa.FixedSizeListArray.from_arrays(flat, k)}
    )


def scores_table(manifest: pa.Table, images: Dataset, evidence: Evidence) -> pa.Table:
    """Evidence joined with every row of the manifest by id; most suspicious first, what was not scored last."""
    n = np.arange(len(images))
    margin = _margin(evidence.probs, images.labels)
    order = np.lexsort(
        (images.ids.to_numpy(zero_copy_only=False), margin, evidence.p_clean)
    )
    rank = np.empty(len(n), dtype=np.int64)
    rank[order] = n + 1
    found = pa.table(
        {
            "sample_id": images.ids,
            "p_clean": pa.array(evidence.p_clean, pa.float64()),
            "is_label_issue": pa.array(evidence.flagged),
            "suggested_label": images.coding.decode(evidence.suggested),
            "suggested_prob": pa.array(
                evidence.probs[n, evidence.suggested], pa.float64()
            ),
            "margin": pa.array(margin, pa.float64()),
            "rank": rank,
            **evidence.columns,
        }
    )
    joined = manifest.select(
        ["sample_id", "path", "given_label", "status", "reason"]
    ).join(found, "sample_id", join_type="left outer")
    tables.check_same_ids(joined, manifest)
    extra = [c for c in evidence.columns if c not in tables.SCORES.names]
    return joined.select([*tables.SCORES.names, *extra]).sort_by(
        [("rank", "ascending"), ("sample_id", "ascending")]
    )


def _margin(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] probability of the given label minus that of the best other class."""
    found = np.empty(len(labels), dtype=probs.dtype)
    for part in parts(*probs.shape):
        others, each = probs[part].copy(), np.arange(len(labels[part]))
        others[each, labels[part]] = -np.inf
        found[part] = probs[part][each, labels[part]] - others.max(1)
    return found


def count_scores(scores: pa.Table, file: str | Path) -> dict[str, Any]:
    """What the terminal shows of a table of scores."""
    flagged = pc.sum(pc.fill_null(scores["is_label_issue"], False)).as_py() or 0
    return {
        "images": len(scores),
        "scored": len(scores) - scores["p_clean"].null_count,
        "flagged": flagged,
        "file": str(file),
    }


def summarise(
    opened: Run, facts: Mapping[str, Any], agreed: Agreement
) -> dict[str, Any]:
    """What the terminal shows and --json prints: the estimate, flags, pairs, and quality where the truth is known."""
    scores, noise = opened.scores, opened.noise
    method = facts.get("method_facts", {}).get(
        "chosen", opened.record["command"]["method"]
    )
    warnings = preflight.Preflight(**opened.preflight).warnings() + agreed.warnings(
        method
    )
    flagged = scores.filter(pc.fill_null(scores["is_label_issue"], False))
    quality = evaluate_detection(scores, opened.truth())
    names = ["scores.parquet", "scores.csv", "report.html", "run.json"]
    names += (
        ["detector"] if (opened.folder / "detector").exists() else []
    )  # not every method learns one
    files = {name: str(opened.folder / name) for name in names}
    return {
        **facts,
        "images": len(scores),
        "scored": len(scores) - scores["p_clean"].null_count,
        "flagged": len(flagged),
        "noise_rate": {k: noise[k] for k in ("rate", "low", "high")},
        "noise_per_class": noise["per_class"],
        "confused_pairs": noise["pairs"],
        "unreadable": opened.preflight["unreadable"],
        "warnings": warnings,
        "agreement": agreed.as_dict(),
        "quality": quality,
        "files": files,
    }


def evaluate_detection(
    scores: pa.Table, truth: pa.Table | None
) -> dict[str, Any] | None:
    """Detection quality against true labels, with label matching (suggested ≠ given) beside it; None without truth."""
    if truth is None:
        return None
    joined = scores.join(truth, "sample_id").filter(
        pc.field("p_clean").is_valid() & pc.field("true_label").is_valid()
    )
    if not len(joined):
        return None
    wrong = pc.not_equal(joined["given_label"], joined["true_label"]).to_numpy()
    matched = pc.equal(joined["suggested_label"], joined["true_label"]).to_numpy()
    found = metrics.detection(
        joined["p_clean"].to_numpy(), joined["is_label_issue"].to_numpy(), wrong
    )
    return {
        **found,
        "suggestion_accuracy": float(matched.mean()),
        "suggestion_accuracy_on_wrong": float(matched[wrong].mean())
        if wrong.any()
        else None,
    }
