"""FiftyOne: samples with labels, suggestion and scores.

Read the file with `fiftyone.Dataset.from_json(FILE)`. Fields: ground_truth (label after
decisions), given_label and suggested (Classification; suggested with confidence), p_clean,
mistakenness (1 - p_clean), sample_key (our sample id). Tags: label_issue, reviewed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelsieve.exports import Rows

TARGET = ".json"
TEXT = "fiftyone.core.fields.StringField"
NUMBER = "fiftyone.core.fields.FloatField"
CLASS = (
    "fiftyone.core.fields.EmbeddedDocumentField(fiftyone.core.labels.Classification)"
)
# Fields of a sample and what FiftyOne calls their kinds.
KINDS = {
    "filepath": TEXT,
    "tags": f"fiftyone.core.fields.ListField({TEXT})",
    "ground_truth": CLASS,
    "given_label": CLASS,
    "suggested": CLASS,
    "p_clean": NUMBER,
    "mistakenness": NUMBER,
    "sample_key": TEXT,
}


def write(rows: Rows, target: Path) -> list[Path]:
    """Write the file, and images beside it where they are embedded in a table.

    Unreadable images are left out.
    """
    name = rows.final(target).stem
    samples = _samples(rows, rows.final(target).with_name(f"{name}-images"))
    document = {
        "name": name,
        "version": None,
        "media_type": "image",
        "num_samples": len(samples),
        "sample_fields": KINDS,
        "info": {"made_by": rows.model_version},
        "default_classes": rows.classes,
        "samples": samples,
    }
    text = json.dumps(document, ensure_ascii=False) + "\n"
    # a path that is not UTF-8 cannot be opened by FiftyOne in any case
    target.write_text(text, encoding="utf-8", errors="backslashreplace")
    return [target]


def _samples(rows: Rows, folder: Path) -> list[dict[str, Any]]:
    samples = []
    for row in rows:
        file = rows.file(row["sample_id"], folder)
        # FiftyOne knows no sample without a file
        if file is not None:
            samples.append(_sample(row, file))
    return samples


def _sample(row: dict[str, Any], file: Path) -> dict[str, Any]:
    p_clean = row["p_clean"]
    return {
        "filepath": str(file),
        "tags": _tags(row),
        "ground_truth": _classification(row["label"]),
        "given_label": _classification(row["given_label"]),
        "suggested": _classification(row["suggested_label"], row["suggested_prob"]),
        "p_clean": p_clean,
        "mistakenness": None if p_clean is None else 1 - p_clean,
        "sample_key": row["sample_id"],
    }


def _tags(row: dict[str, Any]) -> list[str]:
    tags = []
    if row["is_label_issue"]:
        tags.append("label_issue")
    # who skipped an image has not judged it
    if row["verdict"] not in (None, "skip"):
        tags.append("reviewed")
    return tags


def _classification(
    label: str | None, confidence: float | None = None
) -> dict[str, Any] | None:
    if label is None:
        return None
    value = {"label": label, "confidence": confidence}
    return {"_cls": "Classification", "tags": [], **value}
