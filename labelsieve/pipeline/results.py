"""What a scan gives: evidence joined with every image by id, the estimate, and their figures.

Shapes: n images that were scored, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import registry, tables
from labelsieve.data import preflight
from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import NONE, SET, SINGLE
from labelsieve.estimation import flagging, metrics, noise_rate
from labelsieve.estimation.agreement import (
    FITS,
    LITTLE,
    NOTHING,
    PARTLY,
    SHOWN,
    Agreement,
)
from labelsieve.estimation.calibration import parts
from labelsieve.estimation.noise_rate import Noise
from labelsieve.estimation.transition import fit_transition, select
from labelsieve.methods import Evidence
from labelsieve.pipeline.sets import results as sets
from labelsieve.runs.run import Run

# Name of the method's own class probabilities among reference classifiers, in noise.json.
OWN = "method"
LEARNS = "deft"  # the method that reads names and does without where they say nothing


def estimate_noise(
    evidence: Evidence,
    data: Dataset,
    seed: int,
    others: Mapping[str, np.ndarray] | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Noise:
    """Rate, classes and pairs: from the method's posterior, or from probabilities and labels.

    Args:
        others: class probabilities [n, k] of other reference classifiers, by name, that may be
            selected instead of the method's (`labelsieve.estimation.transition.select`). A
            posterior has taken them into account itself.
        renamed: given class -> the class its pictures are by name, where names changed places
            (`labelsieve.estimation.agreement.Agreement`).
    """
    noise = _of_pictures(evidence, data, seed, others)
    return noise_rate.by_names(noise, renamed or {}, len(data))


def _of_pictures(
    evidence: Evidence,
    data: Dataset,
    seed: int,
    others: Mapping[str, np.ndarray] | None,
) -> Noise:
    """The estimate without a look at names."""
    labels = data.labels
    if evidence.posterior:
        return noise_rate.summarise(
            evidence.probs, labels, data.classes, evidence.rates
        )
    # in this order: the first is kept unless another is clearly better
    probs = {OWN: evidence.probs, **(others or {})}
    transitions = {}
    for name, of_name in probs.items():
        # the method may have fitted its own already, which takes seconds
        known = evidence.transition if name == OWN else None
        transitions[name] = known or fit_transition(of_name, labels, seed)
    name, transition = select(transitions)
    posterior = transition.posterior(transition.calibrate(probs[name]), labels)
    noise = noise_rate.summarise(posterior, labels, data.classes, transition.rates)
    return replace(noise, reference=name)


def modest(evidence: Evidence, data: Dataset, noise: Noise) -> Evidence:
    """The evidence with no more flags than labels are expected to be wrong, if little is known.

    Where the user or the method's own rule decides what is flagged, that stands.
    """
    little = noise_rate.says_little(noise.low, noise.high)
    if not little or evidence.facts.get("flags_by") != flagging.BY_F1:
        return evidence
    flagged = flagging.at_most_expected(1 - evidence.p_clean, evidence.flagged)
    suggested = flagging.suggestions(evidence.probs, data.labels, flagged)
    # what belongs to no class still does, where its label stays flagged
    outside = flagged & (evidence.suggested == NONE)
    suggested = np.where(outside, NONE, suggested)
    return replace(evidence, flagged=flagged, suggested=suggested)


def probs_table(data: Dataset, evidence: Evidence) -> pa.Table:
    """Class probabilities by sample id, a list of k float32 in the order of the classes."""
    k = evidence.probs.shape[1]
    # float32: half of the size, and more digits than any estimate is good for
    flat = pa.array(np.ascontiguousarray(evidence.probs, dtype=np.float32).reshape(-1))
    lists = pa.FixedSizeListArray.from_arrays(flat, k)
    return pa.table({"sample_id": data.ids, "probs": lists})


def scores_table(manifest: pa.Table, data: Dataset, evidence: Evidence) -> pa.Table:
    """Evidence joined with every row of the manifest by id.

    Returns:
        `labelsieve.tables.SCORES` and the method's own columns; most suspicious first, what was
        not scored last.
    """
    of_kind = {SINGLE: _columns, SET: sets.columns}
    found = of_kind[data.coding.kind](data, evidence)
    ranks = _ranks(data.ids, found["margin"], found["p_clean"])
    scored = {"sample_id": data.ids, **found, "rank": ranks, **evidence.columns}
    known = manifest.select(["sample_id", "path", "given_label", "status", "reason"])
    joined = known.join(pa.table(scored), "sample_id", join_type="left outer")
    # every image comes out exactly once, whatever a method gave
    tables.check_same_ids(joined, manifest)
    # here and nowhere else a verdict becomes a status, which all that follows reads
    if data.coding.kind == SINGLE:
        joined = _with_outsiders(joined, data.ids.filter(evidence.suggested == NONE))
    # a method may fill one of the common columns itself
    own = [c for c in scored if c not in tables.SCORES.names]
    return joined.select([*tables.SCORES.names, *own]).sort_by(
        [("rank", "ascending"), ("sample_id", "ascending")]
    )


def _with_outsiders(scores: pa.Table, ids: pa.Array) -> pa.Table:
    """Scores with the status of what belongs to no class, by id."""
    outside = pc.is_in(scores["sample_id"], ids)
    status = pc.if_else(outside, tables.OUTSIDER, scores["status"])
    place = scores.column_names.index("status")
    return scores.set_column(place, "status", status)


def _columns(data: Dataset, evidence: Evidence) -> dict[str, Any]:
    """Columns of the scores of single labels, one value per image."""
    rows = np.arange(len(data))
    suggested = evidence.probs[rows, evidence.suggested]
    outside = evidence.suggested == NONE
    # all that can be said of what belongs to no class is that its label is wrong
    suggested = np.where(outside, 1 - evidence.p_clean, suggested)
    return {
        "p_clean": evidence.p_clean.astype(np.float64),
        "is_label_issue": pa.array(evidence.flagged),
        "suggested_label": data.coding.decode(evidence.suggested),
        "suggested_prob": pa.array(suggested, pa.float64()),
        "margin": _margin(evidence.probs, data.labels).astype(np.float64),
    }


def _ranks(ids: pa.Array, margin: np.ndarray, p_clean: np.ndarray) -> np.ndarray:
    """[n] int64, 1 for the most suspicious: by p_clean, then margin, then id."""
    # ids as numbers: a million strings are 100 MB, and compared one by one
    places = np.empty(len(ids), dtype=np.int64)
    places[tables.order_of(tables.one_chunk(ids))] = np.arange(len(ids))
    # lexsort takes the most important key last
    order = np.lexsort((places, margin, p_clean))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) + 1
    return ranks


def _margin(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] probability of the given label minus that of the best other class."""
    margin = np.empty(len(labels), dtype=probs.dtype)
    # in parts: a copy of all of `probs` would double the largest array of a scan
    for part in parts(*probs.shape):
        others = probs[part].copy()
        rows = np.arange(len(others))
        given = others[rows, labels[part]]
        others[rows, labels[part]] = -np.inf
        margin[part] = given - others.max(1)
    return margin


def count_scores(scores: pa.Table, file: str | Path, run: Run) -> dict[str, Any]:
    """What the terminal shows of a table of scores that the detector of a run gave."""
    # by the hash of their content: the same item may be called otherwise here
    known, here = (
        [name.rpartition("#")[2] for name in table["sample_id"].to_pylist()]
        for table in (run.scores, scores)
    )
    contents = frozenset(known)
    scanned = sum(name in contents for name in here)
    return {
        **_counts(scores),
        "scanned": scanned,
        "scan": str(run.folder / "scores.parquet"),
        "noun": run.record.get("noun", "image"),
        "file": str(file),
    }


def _counts(scores: pa.Table) -> dict[str, int]:
    flagged = pc.sum(pc.fill_null(scores["is_label_issue"], False)).as_py()
    return {
        "images": len(scores),
        "scored": len(scores) - scores["p_clean"].null_count,
        "flagged": flagged or 0,  # the sum of no rows is null
    }


def summarise(
    run: Run, facts: Mapping[str, Any], agreement: Agreement | None
) -> dict[str, Any]:
    """What the terminal shows and --json prints.

    The estimate, flags, confused pairs, warnings, and quality where the truth is known.

    Args:
        run: with all its tables.
        facts: what the numbers depend on; passed through.
        agreement: of names, pictures and labels; None of sets, whose classes are judged one by one.
    """
    noise = run.noise
    # an automatic method tells which one it chose
    chosen = facts.get("method_facts", {}).get("chosen")
    method = chosen or run.record["command"]["method"]
    warnings = preflight.Preflight(**run.preflight).warnings()
    more: dict[str, Any]
    if agreement is None:
        of_names = sets.of_classes(facts, _reads_names(method))
        warnings = [*sets.of_empty(facts), *warnings]
        more = {
            "set_noise": {kind: noise[kind] for kind in ("extra", "missing")},
            "set_quality": sets.quality(run, run.truth()),
        }
        more["set_words"] = sets.words({**facts, **more}, noise["pairs"])
    else:
        of_names = text_warnings(agreement, method)
        more = {"agreement": agreement.as_dict()}
    return {
        **facts,
        **_counts(run.scores),
        "outsiders": tables.counts(run.scores["status"]).get(tables.OUTSIDER, 0),
        "noise_rate": {k: noise[k] for k in ("rate", "low", "high", "renamed")},
        "noise_per_class": noise["per_class"],
        "noise_class_intervals": noise.get("class_intervals", {}),
        "confused_pairs": noise["pairs"],
        "unreadable": run.preflight["unreadable"],
        "warnings": of_names + warnings,
        "text_warnings": of_names,
        **more,
        "quality": evaluate_detection(run.scores, run.truth()),
        "files": _files(run),
    }


def _files(run: Run) -> dict[str, str]:
    """What a person may want to open, by name."""
    names = ["scores.parquet", "scores.csv", "report.html", "run.json"]
    # not every method learns one
    if (run.folder / "detector").exists():
        names.append("detector")
    return {name: str(run.folder / name) for name in names}


def text_warnings(agreement: Agreement, method: str) -> list[str]:
    """What a person who took this method should know about the class names.

    That they changed places is said whatever the method; nothing else where the model knows
    them, or the method does not read them.
    """
    if agreement.renamed:
        return [_renamed(agreement.renamed)]
    if agreement.verdict == FITS or not _reads_names(method):
        return []
    wrong_tool = "Text is the wrong tool here: the model knows"
    what = {
        PARTLY: "The model does not know these classes by name: "
        f"{agreement.unknown_names()}.",
        LITTLE: f"{wrong_tool} little of these classes by their names.",
        NOTHING: f"{wrong_tool} nothing of these classes by their names.",
    }[agreement.verdict]
    if not agreement.pictures_tell:
        return [
            f"{what} Nor do its {agreement.things} of one class resemble each other: "
            "take another --model."
        ]
    return [f"{what} {_way_out(method, agreement.things)}"]


def _way_out(method: str, things: str) -> str:
    """What helps where the model does not know the classes, by the method that was taken."""
    if method == LEARNS:
        return (
            f"{LEARNS} goes by what it learned of them from the {things}; naming them in words "
            "with --class-names may find more."
        )
    return (
        f"Name them in words with --class-names, take {LEARNS}, which learns them from the "
        f"{things}, or a method that needs no text: {', '.join(textless())}."
    )


def _renamed(order: dict[str, str]) -> str:
    """That names changed places, and how, for a person who did not expect it."""
    pairs = [
        f"those labelled '{given}' show '{shown}'" for given, shown in order.items()
    ]
    more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
    return (
        "Pictures and labels match one to one under other names: "
        f"{', '.join(pairs[:SHOWN])}{more}. Were the class names mixed up? "
        "The estimate counts these labels as wrong. Put the names right before single labels."
    )


def textless() -> list[str]:
    """Names of the methods that do not read class names."""
    # read from the files' constants: importing all methods takes seconds
    return [n for n in registry.names("methods") if not _reads_names(n)]


def _reads_names(method: str) -> bool:
    return "text" in registry.constants("methods", method, ("NEEDS",))["needs"]


def evaluate_detection(
    scores: pa.Table, truth: pa.Table | None
) -> dict[str, Any] | None:
    """Detection quality against true labels, over scored images that have one.

    Returns:
        `labelsieve.estimation.metrics.detection`, and how often the suggested label is the true
        one; None without truth.
    """
    if truth is None:
        return None
    # what was not scored, or has no known truth, is not counted
    joined = scores.join(truth, "sample_id").filter(
        pc.field("p_clean").is_valid() & pc.field("true_label").is_valid()
    )
    if not len(joined):
        return None
    wrong = pc.not_equal(joined["given_label"], joined["true_label"]).to_numpy()
    matched = pc.equal(joined["suggested_label"], joined["true_label"])
    # no class is never the true one
    matched = pc.fill_null(matched, False).to_numpy()
    # with no wrong label there is nothing to be right about
    on_wrong = float(matched[wrong].mean()) if wrong.any() else None
    p_clean = joined["p_clean"].to_numpy()
    flagged = joined["is_label_issue"].to_numpy()
    return {
        **metrics.detection(p_clean, flagged, wrong),
        "suggestion_accuracy": float(matched.mean()),
        "suggestion_accuracy_on_wrong": on_wrong,
    }
