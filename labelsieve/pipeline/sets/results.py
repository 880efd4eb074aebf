"""Evidence about sets of labels, joined with every image by id.

Shapes: n images that were scored, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import SET, Labels, read_set, write_set
from labelsieve.estimation.sets import figures, judging
from labelsieve.methods import Evidence
from labelsieve.progress import about, between, counted
from labelsieve.runs.run import Run

# Below, scores separate pictures with and without a label hardly better than chance.
KNOWN = 0.6
NAMED = 10  # classes that a sentence names
SHOWN = 5  # confusions, likewise
KINDS = {"extra": "should not be there", "missing": "are missing"}
FIGURES = {
    "map": "mAP",
    "map_given": "of the given labels alone",
    "auroc_missing": "AUROC missing",
    "auroc_extra": "AUROC extra",
    "f1": "F1",
    "ece": "ECE",
}


def columns(data: Dataset, evidence: Evidence) -> dict[str, Any]:
    """Columns of the scores of a set, one value per image.

    p_clean: probability that the whole set is right, and suggested_prob that the suggested one is;
    margin: p_clean less the probability of the best other set, the one in which the most doubtful
    label changes; missing, extra: JSON lists of the flagged labels.
    """
    given, flagged = data.labels, evidence.flagged
    p_clean = judging.p_right(evidence.probs, given)
    doubt = judging.p_wrong_of(evidence.probs, given).max(1).clip(0, 1 - 1e-12)
    margin = p_clean * (1 - doubt / (1 - doubt))
    suggested_prob = judging.p_right(evidence.probs, evidence.suggested)
    return {
        "p_clean": p_clean,
        "is_label_issue": flagged.any(1),
        "suggested_label": data.coding.decode(evidence.suggested),
        "suggested_prob": pa.array(suggested_prob, pa.float64()),
        "margin": margin.clip(-1, 1),
        "missing": data.coding.decode(flagged & ~given),
        "extra": data.coding.decode(flagged & given),
    }


def of_empty(facts: Mapping[str, Any]) -> list[str]:
    """What a person should know of sets without a label."""
    empty = facts["set_flags"]["empty_sets"]
    if not empty:
        return []
    images = counted(empty, "image", "has", "have")
    return [
        f"{images} no label: judged as showing none of the classes. Leave out the rows of "
        "images that nobody labelled yet."
    ]


def of_classes(facts: Mapping[str, Any], reads_names: bool) -> list[str]:
    """What a person should know of classes that the scores do not tell."""
    separation = facts.get("method_facts", {}).get("separation", {})
    unknown = [name for name, value in separation.items() if (value or 0.5) < KNOWN]
    if not unknown:
        return []
    names = ", ".join(unknown[:NAMED])
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    what = f"The scores hardly tell which pictures show these classes: {names}{more}."
    if reads_names:
        way = (
            "Name them in words with --class-names, take another --model, or a method that "
            "needs no text: knn, confident-learning."
        )
    else:
        way = "Take another --model, or a method that reads class names: tai-adapter."
    return [f"{what} {way}"]


def words(facts: Mapping[str, Any], pairs: list[dict[str, Any]]) -> list[str]:
    """What was found, for terminal and report: one line each."""
    lines = []
    for kind, what in KINDS.items():
        share, flagged = facts["set_noise"][kind], facts["set_flags"][kind]
        interval = between(share["low"], share["high"])
        lines.append(
            f"{about(share['rate'], first=True)} of labels {what} ({interval}); "
            f"{flagged:,} flagged"
        )
    found = facts["set_quality"]
    if found is not None:
        figures_of = [f"{title} {_figure(found[n])}" for n, title in FIGURES.items()]
        each = "each label of a set judged by itself"
        lines.append(f"Against the true sets, {each}: {', '.join(figures_of)}")
    confused = [f"{p['given']} → {p['suggested']}" for p in pairs[:SHOWN]]
    if confused:
        lines.append(
            f"Most frequent confusions (extra → missing beside it): {'; '.join(confused)}"
        )
    return lines


def _figure(value: float | None) -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def quality(run: Run, truth: pa.Table | None) -> dict[str, Any] | None:
    """Quality label by label where the truth is known; None without truth.

    Returns:
        `labelsieve.estimation.sets.figures.of_sets`.
    """
    if truth is None:
        return None
    found = judged(run, truth)
    return None if found is None else figures.of_sets(*found)


def judged(
    run: Run, truth: pa.Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """What there is to compare of the images that are scored and whose truth is known.

    Returns:
        posterior, given, flagged and right [n, k], as `figures.of_sets` takes them; None where
        there is nothing.
    """
    coding = Labels(SET, tuple(run.classes))
    columns = ["sample_id", "given_label", "suggested_label"]
    joined = run.scores.select(columns).join(truth, "sample_id").sort_by("sample_id")
    # what was not judged has no suggestion
    joined = joined.filter(
        pc.field("suggested_label").is_valid() & pc.field("true_label").is_valid()
    )
    if not len(joined):
        return None
    # by id, as all tables are joined
    table = run.probs()
    rows = pc.index_in(joined["sample_id"], table["sample_id"].combine_chunks())
    values = table["probs"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    posterior = values.reshape(len(table), -1)[rows.to_numpy()]
    given = coding.encode(joined["given_label"])
    flagged = given ^ coding.encode(joined["suggested_label"])
    # a class that was never given is no class of the run
    right = coding.encode(_known(joined["true_label"], coding))
    return posterior, given, flagged, right


def _known(texts: pa.ChunkedArray, coding: Labels) -> pa.ChunkedArray:
    """Sets without the labels that are none of the classes."""
    classes = frozenset(coding.classes)
    kept = [write_set(classes & set(read_set(text))) for text in texts.to_pylist()]
    return pa.chunked_array([pa.array(kept, pa.string())])


def counts(data: Dataset, evidence: Evidence) -> dict[str, int]:
    """How many labels are called missing and extra, for run.json."""
    given, flagged = data.labels, evidence.flagged
    return {
        "labels": int(given.sum()),
        "missing": int((flagged & ~given).sum()),
        "extra": int((flagged & given).sum()),
        "empty_sets": int((~given.any(1)).sum()),
    }
