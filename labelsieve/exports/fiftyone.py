"""FiftyOne: samples with ground_truth, suggestion and scores, for `fiftyone.Dataset.from_json(FILE)`.

Fields: ground_truth (label after decisions), given_label and suggested (Classification; suggested with confidence),
p_clean, mistakenness (1 - p_clean), sample_key (our sample id). Tags: label_issue, reviewed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelsieve.exports import Rows

TARGET = ".json"
KINDS = {
    "filepath": "fiftyone.core.fields.StringField",
    "tags": "fiftyone.core.fields.ListField(fiftyone.core.fields.StringField)",
    "ground_truth": "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)",
    "given_label": "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)",
    "suggested": "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)",
    "p_clean": "fiftyone.core.fields.FloatField",
    "mistakenness": "fiftyone.core.fields.FloatField",
    "sample_key": "fiftyone.core.fields.StringField",
}


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the file, and images beside it where they are embedded in a table. Unreadable images are left out."""
    folder = target.with_name(f"{target.stem}-images")
    samples = [
        _sample(row, file)
        for row in rows
        if (file := rows.file(row["sample_id"], folder)) is not None
    ]
    document = {
        "name": target.stem,
        "version": None,
        "media_type": "image",
        "num_samples": len(samples),
        "sample_fields": KINDS,
        "info": {"made_by": rows.model_version},
        "default_classes": rows.classes,
        "samples": samples,
    }
    target.write_text(
        json.dumps(document, ensure_ascii=False) + "\n",
        encoding="utf-8",
        errors="backslashreplace",
    )
    return [target]


def _sample(row: dict[str, Any], file: Path) -> dict[str, Any]:
    p_clean = row["p_clean"]
    tags = ["label_issue"] * bool(row["is_label_issue"]) + ["reviewed"] * (
        row["verdict"] not in (None, "skip")
    )
    return {
        "filepath": str(file),
        "tags": tags,
        "ground_truth": _classification(row["label"]),
        "given_label": _classification(row["given_label"]),
        "suggested": _classification(row["suggested_label"], row["suggested_prob"]),
        "p_clean": p_clean,
        "mistakenness": None if p_clean is None else 1 - p_clean,
        "sample_key": row["sample_id"],
    }


def _classification(
    label: str | None, confidence: float | None = None
) -> dict[str, Any] | None:
    return (
        None
        if label is None
        else {
            "_cls": "Classification",
            "tags": [],
            "label": label,
            "confidence": confidence,
        }
    )
