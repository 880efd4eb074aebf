"""The report: one HTML file that needs no network.

Charts are drawn in the browser by Observable Plot (SVG), which is embedded: it follows the page's colours in the dark
and on paper, stays sharp, and costs half a megabyte. Every chart has its numbers in a table beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.estimation.noise_rate import noise_matrix
from labelsieve.runs import audit
from labelsieve.runs.decisions import WRONG, open_decisions
from labelsieve.runs.pages import _asset, _library, environment
from labelsieve.runs.pictures import Pictures, open_pictures, thumbnail
from labelsieve.runs.reasons import Neighbours, neighbours
from labelsieve.runs.run import Run

CARDS = 60
SMALL = 72  # side of the pictures beside a card, in pixels
PAIRS, EXAMPLES = 8, 4
BARS, CELLS, ROWS = 30, 24, 500  # classes in the bar chart, in the matrix, in the table
BINS = 40


def make(folder: str | Path | Run) -> Path:
    """Write `report.html` of a run again, with what people decided since. Raises RunError: no run, not finished, data gone."""
    opened = folder if isinstance(folder, Run) else Run(folder)
    return write(opened, open_pictures(opened))


def write(opened: Run, pictures: Pictures) -> Path:
    """Write `report.html` of a finished run."""
    decisions = open_decisions(opened)
    found = audit.of_run(opened, decisions)
    flagged = opened.scores.filter(pc.fill_null(opened.scores["is_label_issue"], False))
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            record=opened.record,
            verdict=_verdict(opened, found),
            audit=found,
            reviewed=_reviewed(decisions.table()) if decisions else None,
            preflight=opened.preflight,
            cards=_cards(flagged, opened, pictures),
            flagged=len(flagged),
            pairs=_pairs(flagged, opened.noise["pairs"], pictures),
            classes=_classes(opened),
            charts=_charts(opened),
            style=_asset("style.css") + _asset("report.css"),
            scripts=[*(_library(n) for n in ("d3", "plot")), _asset("report.js")],
        )
    )
    if decisions:
        decisions.close()
    scratch = opened.report.with_name(".report.html.partial")
    scratch.write_text(html, encoding="utf-8", errors="backslashreplace")
    scratch.replace(opened.report)
    return opened.report


def _verdict(opened: Run, found: audit.Audit | None) -> dict[str, Any]:
    """The sentence at the top: the audited rate where there is one, else the model's estimate."""
    rate, low, high = (
        (found.rate, found.low, found.high) if found else opened.noise_rate
    )
    return {
        "rate": rate,
        "low": low,
        "high": high,
        "wrong": rate * opened.record["scored"],
        "audited": found is not None,
    }


def _reviewed(decided: pa.Table) -> dict[str, int]:
    wrong = pc.sum(pc.is_in(decided["verdict"], pa.array(WRONG))).as_py() or 0
    return {"images": len(decided), "wrong": wrong}


def _cards(flagged: pa.Table, opened: Run, pictures: Pictures) -> list[dict[str, Any]]:
    alike = neighbours(opened)
    return [card(row, alike, pictures) for row in flagged.slice(0, CARDS).to_pylist()]


def card(
    row: Mapping[str, Any], alike: Neighbours | None, pictures: Pictures
) -> dict[str, Any]:
    """One suspicious image with the reasons: prompt similarities and its nearest trusted images of both classes."""
    near = []
    for label in (
        dict.fromkeys([row["given_label"], row["suggested_label"]]) if alike else []
    ):
        shown = (
            [
                thumbnail(pictures, i, SMALL)
                for i in alike.nearest(row["sample_id"], label)
            ]
            if alike
            else []
        )
        near.append({"label": label, "pictures": [s for s in shown if s]})
    return {
        **row,
        "thumbnail": thumbnail(pictures, row["sample_id"]),
        "near": near,
        **reasons(row),
    }


def reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """Similarities to the given class's positive and negative prompt, where the method has them."""
    positive, negative = row.get("positive_logit"), row.get("negative_logit")
    return {
        "positive": positive,
        "negative": negative if positive is not None else None,
    }


def _pairs(
    flagged: pa.Table, pairs: list[dict[str, Any]], pictures: Pictures
) -> list[dict[str, Any]]:
    """The most frequent confusions with examples."""
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    columns = (
        flagged[c].to_pylist() for c in ("sample_id", "given_label", "suggested_label")
    )
    for sample_id, given, suggested in zip(*columns, strict=True):
        examples[given, suggested].append(sample_id)
    found = []
    for pair in pairs[:PAIRS]:
        ids = examples.get((pair["given"], pair["suggested"]), [])
        shown = [thumbnail(pictures, i, SMALL) for i in ids[:EXAMPLES]]
        found.append({**pair, "flagged": len(ids), "pictures": [s for s in shown if s]})
    return found


def _classes(opened: Run) -> list[dict[str, Any]]:
    """Classes with their number of images and estimated share of wrong labels, noisiest first."""
    counts = opened.preflight["classes"]
    rates = sorted(opened.noise["per_class"].items(), key=lambda p: -p[1])
    return [
        {
            "name": n,
            "images": counts.get(n, 0),
            "rate": r,
            "wrong": r * counts.get(n, 0),
        }
        for n, r in rates[:ROWS]
    ]


def _charts(opened: Run) -> dict[str, Any]:
    return {
        "classes": [
            {k: c[k] for k in ("name", "rate", "images")}
            for c in _classes(opened)[:BARS]
        ],
        "all_classes": len(opened.classes),
        "matrix": _matrix(opened.noise, opened.classes),
        "histogram": histogram(opened.scores),
    }


def _matrix(noise: Mapping[str, Any], classes: list[str]) -> dict[str, Any]:
    """Given → estimated true class, row shares, of the classes that take most part in confusions."""
    matrix = noise_matrix(noise)
    confused = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    shown = np.sort(np.argsort(-confused, kind="stable")[:CELLS])
    rows = matrix[shown][:, shown].toarray() / matrix.sum(1)[shown].clip(1e-12)[:, None]
    cells = [
        {
            "given": classes[i],
            "suggested": classes[j],
            "share": round(float(rows[a, b]), 4),
        }
        for a, i in enumerate(shown)
        for b, j in enumerate(shown)
    ]
    return {
        "classes": [classes[i] for i in shown],
        "cells": cells,
        "rows": rows.round(3).tolist(),
    }


def histogram(scores: pa.Table) -> dict[str, Any]:
    """Counts of p_clean in equal bins, flagged and not, and the threshold where one value separates them."""
    scored = scores.filter(scores["p_clean"].is_valid())
    values, issue = (
        scored["p_clean"].to_numpy(),
        scored["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool),
    )
    flagged, edges = np.histogram(values[issue], bins=BINS, range=(0, 1))
    kept, _ = np.histogram(values[~issue], bins=BINS, range=(0, 1))
    apart = (
        issue.any() and (~issue).any() and values[issue].max() <= values[~issue].min()
    )
    bins = [
        {"x1": float(a), "x2": float(b), "flagged": int(f), "kept": int(k)}
        for a, b, f, k in zip(edges[:-1], edges[1:], flagged, kept, strict=True)
    ]
    return {
        "bins": bins,
        "threshold": float((values[issue].max() + values[~issue].min()) / 2)
        if apart
        else None,
    }
