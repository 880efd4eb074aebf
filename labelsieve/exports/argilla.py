"""Argilla: records as JSON, which `Dataset.records.from_json` of argilla 2 reads.

Create a data set with a text field `text` and a label question `label` whose labels are the
classes (and `metadata` of the names below, if they are to be filtered by), then
`dataset.records.from_json("records.json")`. Suggestions carry their probability and what made
them. `id` is the sample id, so that answers lead back to the run; what people decided here is in
the metadata, as a response needs a user of the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labelsieve.data.text.reading import decode
from labelsieve.exports import Rows

TARGET = ".json"
ITEMS = ("texts",)
# Of the exported columns; null is left out, which Argilla takes for "not known".
METADATA = (
    "path",
    "given_label",
    "label",
    "verdict",
    "p_clean",
    "is_label_issue",
    "split",
)


def write(rows: Rows, target: Path) -> list[Path]:
    """Write a list of records; texts that cannot be read have none."""
    records = []
    for row, encoded in rows.encoded():
        if encoded is not None:
            records.append(_record(row, decode(encoded[0]), rows.model_version))
    text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    target.write_text(text, encoding="utf-8")
    return [target]


def _record(row: dict[str, Any], text: str, agent: str) -> dict[str, Any]:
    """As `argilla.Record.to_dict` writes it."""
    suggestions = {}
    if row["suggested_label"] is not None:
        suggestions["label"] = {
            "value": row["suggested_label"],
            "score": row["suggested_prob"],
            "agent": agent,
        }
    return {
        "id": row["sample_id"],
        "fields": {"text": text},
        "metadata": {n: _value(row[n]) for n in METADATA if row[n] is not None},
        "suggestions": suggestions,
        "responses": {},
        "vectors": {},
    }


def _value(value: Any) -> Any:
    # metadata are terms and numbers: a truth value has no kind of its own there
    return str(value).lower() if isinstance(value, bool) else value
