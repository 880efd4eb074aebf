"""The charts of the report as numbers: noise per class, matrix, histogram, and the map.

They are drawn in the browser by Observable Plot (SVG), which is embedded: it follows the page's
colours in the dark and on paper, stays sharp, and costs half a megabyte. Every chart has its
numbers in a table beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET
from labelsieve.estimation.noise_rate import noise_matrix, says_little
from labelsieve.features import projection
from labelsieve.report import sets
from labelsieve.runs.reading.features import cached_features
from labelsieve.runs.run import Run

BARS = 30  # classes in the bar chart: more have no room for their names
CELLS = 24  # classes in the matrix, likewise
ROWS = 500  # classes in the table
BINS = 40
BAR = ("name", "rate", "low", "high", "images")  # of a class in the chart
POINTS = 4_000  # on the map: more lie over each other in a picture of that size


def of_run(opened: Run, standing: Any) -> dict[str, Any]:
    """What report.js draws."""
    bars = []
    for each in classes(opened)[:BARS]:
        bars.append({key: each[key] for key in BAR})
    return {
        "classes": bars,
        "all_classes": len(opened.classes),
        # of sets no class stands in the place of another one
        "matrix": None if opened.kind == SET else matrix(opened.noise, opened.classes),
        "histogram": histogram(opened.scores),
        "map": points(opened, standing),
    }


def classes(opened: Run) -> list[dict[str, Any]]:
    """Classes with their number of images and estimated share of wrong labels, noisiest first.

    `low` and `high` are an interval of the share, None in runs of earlier versions; `rate` and
    `wrong` are None where it is too wide to name a number, for the class or for the whole run.
    """
    _, *whole = opened.noise_rate
    intervals = opened.noise.get("class_intervals", {})
    counts = opened.preflight["classes"]
    rows = []
    for name, rate in opened.noise["per_class"].items():
        low, high = intervals.get(name, (None, None))
        unknown = says_little(*whole) or (low is not None and says_little(low, high))
        images = counts.get(name, 0)
        rows.append(
            {
                "name": name,
                "images": images,
                "rate": None if unknown else rate,
                "wrong": None if unknown else rate * images,
                "low": low,
                "high": high,
            }
        )
    return sorted(rows, key=_noisiest)[:ROWS]


def _noisiest(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """Order of the classes: by what is shown, so those without a number come last, by name."""
    unknown = row["rate"] is None
    return unknown, 0.0 if unknown else -row["rate"], row["name"]


def matrix(noise: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Given → estimated true class, shares of a row, of the classes confused most."""
    # sparse: with thousands of classes nearly all cells are empty
    counts = noise_matrix(noise)
    # images that left a class or came to it; the diagonal counts twice
    confused = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    shown = np.sort(np.argsort(-confused, kind="stable")[:CELLS])
    # shares of all images of the given class, also of those whose column is not shown
    rows = counts[shown][:, shown].toarray() / counts.sum(1)[shown].clip(1e-12)[:, None]
    names = [names[i] for i in shown]
    cells = []
    for a, given in enumerate(names):
        for b, suggested in enumerate(names):
            share = round(float(rows[a, b]), 4)
            cells.append({"given": given, "suggested": suggested, "share": share})
    return {
        "classes": names,
        "cells": cells,
        "rows": rows.round(3).tolist(),
    }


def histogram(scores: pa.Table) -> dict[str, Any]:
    """Counts of p_clean in equal bins, flagged and not.

    `threshold` is the value that separates the two, None where none does.
    """
    scored = scores.filter(scores["p_clean"].is_valid())
    values = scored["p_clean"].to_numpy()
    issue = scored["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool)
    flagged, edges = np.histogram(values[issue], bins=BINS, range=(0, 1))
    kept, _ = np.histogram(values[~issue], bins=BINS, range=(0, 1))
    bins = []
    for number in range(BINS):
        bins.append(
            {
                "x1": float(edges[number]),
                "x2": float(edges[number + 1]),
                "flagged": int(flagged[number]),
                "kept": int(kept[number]),
            }
        )
    threshold = None
    if issue.any() and not issue.all():
        highest = values[issue].max()
        lowest = values[~issue].min()
        threshold = float((highest + lowest) / 2) if highest <= lowest else None
    return {"bins": bins, "threshold": threshold}


def points(opened: Run, standing: Any) -> dict[str, Any] | None:
    """Places of at most `POINTS` images on a map, with their labels; None without features.

    The map of the review page where there is one, else the two main directions of the features.
    Suspects are all on it, as far as there is room; the others are evenly spaced.
    """
    # nothing is computed anew for the report: arranging many images takes minutes
    kept = projection.read(opened)
    ids, xy, method = (
        (None, None, "") if kept is None else (kept.ids, kept.xy, kept.method)
    )
    cached = cached_features(opened) if kept is None else None
    if cached is not None:
        ids, features = pa.array(cached[0], pa.string()), cached[1]
    elif kept is None:
        return None
    rows = pc.index_in(standing.ids, ids).to_numpy(zero_copy_only=False)
    shown = _spread(standing.issue & np.isfinite(rows.astype(float)))
    at = rows[shown].astype(int)
    if cached is not None:
        xy, method = _main_directions(np.asarray(features[at], dtype=np.float32)), "PCA"
    else:
        xy = xy[at]  # type: ignore[index]
    given, names = standing.given, list(standing.classes)
    if opened.kind == SET:
        given, names = sets.numbered(standing)
    return {
        "method": method,
        # thousandths: a map is a few hundred pixels wide
        "x": np.round(xy[:, 0], 3).tolist(),
        "y": np.round(xy[:, 1], 3).tolist(),
        "given": given[shown].tolist(),
        "issue": standing.issue[shown].astype(int).tolist(),
        "path": opened.scores["path"].take(shown).to_pylist(),
        "names": names,
        "all": len(standing.given),
    }


def _spread(wanted: np.ndarray) -> np.ndarray:
    """Rows [m] of at most `POINTS`: first those wanted [n] bool, then others at even steps."""
    first = np.flatnonzero(wanted)[: POINTS // 2]
    others = np.setdiff1d(np.arange(len(wanted)), first)
    room = POINTS - len(first)
    if len(others) > room:
        others = others[np.linspace(0, len(others) - 1, room).astype(int)]
    # suspects last, so that they are drawn over the others
    return np.concatenate([others, first])


def _main_directions(features: np.ndarray) -> np.ndarray:
    """[m, 2] float32 in 0..1: the two directions in which features [m, d] vary most."""
    centred = features - features.mean(0)
    # of the covariance, which is small however many images there are
    _, directions = np.linalg.eigh(centred.T @ centred)
    places = centred @ directions[:, : -min(3, features.shape[1] + 1) : -1]
    # features of a single number
    if places.shape[1] < 2:
        places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    # a few far away ones would squeeze all others into the middle
    low, high = np.percentile(places, (0.5, 99.5), axis=0)
    scaled: np.ndarray = ((places - low) / np.maximum(high - low, 1e-9)).clip(0, 1)
    return scaled
