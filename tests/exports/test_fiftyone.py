from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labelsieve.exports import export
from labelsieve.exports.fiftyone import KINDS
from labelsieve.runs.standing import scores_of


def test_samples_have_the_declared_fields(decided: Any, tmp_path: Path) -> None:
    (file,) = export(decided.run, "fiftyone", tmp_path / "faults.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert (
        document["name"] == "faults"
        and document["media_type"] == "image"
        and document["sample_fields"] == KINDS
    )
    scores = {r["sample_id"]: r for r in scores_of(decided.run).to_pylist()}
    assert document["num_samples"] == len(document["samples"]) == len(scores)
    for sample in document["samples"]:
        about = scores[sample["sample_key"]]
        assert (
            set(sample) == set(KINDS)
            and Path(sample["filepath"]) == decided.files[sample["sample_key"]]
        )
        after = decided.after[sample["sample_key"]]
        assert sample["ground_truth"] == (
            None
            if after is None
            else {
                "_cls": "Classification",
                "tags": [],
                "label": after,
                "confidence": None,
            }
        )
        if about["suggested_label"] is None:  # somebody said that no class fits
            assert sample["suggested"] is None
        else:
            assert sample["suggested"]["label"] == about["suggested_label"]
            assert sample["suggested"]["confidence"] == about["suggested_prob"]
        assert sample["mistakenness"] == 1 - about["p_clean"]
        assert ("label_issue" in sample["tags"]) == about["is_label_issue"]
        assert ("reviewed" in sample["tags"]) == (
            sample["sample_key"] in decided.wrong[:3]
        )


def test_fiftyone_makes_samples_of_them(decided: Any, tmp_path: Path) -> None:
    """Without its database, which needs a server."""
    fiftyone = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    odm = pytest.importorskip("fiftyone.core.odm")
    (file,) = export(decided.run, "fiftyone", tmp_path / "faults.json")
    for record in json.loads(file.read_text(encoding="utf-8"))["samples"]:
        sample = fiftyone.Sample.from_dict(record)
        assert (
            sample.suggested.confidence == record["suggested"]["confidence"]
            and sample.media_type == "image"
        )
    assert all(odm.get_field_kwargs(kind)["ftype"] for kind in KINDS.values())
