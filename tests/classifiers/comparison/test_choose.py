"""Of several students and recipes the best on held-out labels is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelsieve
from labelsieve.classifiers.comparison import choose as choosing
from labelsieve.classifiers.comparison.choose import by_names, choose
from labelsieve.classifiers.train import train
from labelsieve.errors import OptionError

CPU = {"device": "cpu", "precision": "float32"}
QUICK = {"epochs": 1, "batch_size": 16, "lr": 0.02, "val_share": 0.3}
NAMES = ("model.safetensors", "config.json", "samples.parquet")


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def test_the_best_is_kept_with_what_is_known_of_the_others(
    planted: Any, random_clip: Any, tmp_path: Path
) -> None:
    student = str(random_clip())
    words = {"settings": QUICK, "use": "all", **CPU}
    out = tmp_path / "model"
    made = choose(planted.folder, [student], ["clip", "nts"], output=out, **words)
    beside = sorted((tmp_path / "model-candidates").iterdir())
    assert len(beside) == 2
    about = record(out)["figures"]["candidates"]
    # naive: each candidate on the pictures that its folder says were held out
    found = {}
    for folder in beside:
        model = labelsieve.Classifier.from_pretrained(folder, **CPU)
        right = []
        for row in pq.read_table(folder / "samples.parquet").to_pylist():
            if row["part"] == "validation":
                file = planted.data / path_of(planted, row["sample_id"])
                right.append(model.predict([file])[0] == row["label"])
        found[folder.name.rpartition("+")[2]] = float(np.mean(right))
    said = {m["model"].split(", ")[1]: m["noisy_accuracy"] for m in about["models"]}
    assert said == pytest.approx(found) and about["images"] == len(right)
    best = about["best"].split(", ")[1]
    assert found[best] == max(found.values())
    (kept,) = (f for f in beside if f.name.endswith(f"+{best}"))
    for name in NAMES:
        assert (out / name).read_bytes() == (kept / name).read_bytes()
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    opened = labelsieve.Classifier.from_pretrained(kept, **CPU)
    np.testing.assert_array_equal(
        made.predict_proba([pixels]), opened.predict_proba([pixels])
    )
    # neither the same call nor that of the winner alone trains again
    before = (out / "model.safetensors").stat().st_mtime_ns
    choose(planted.folder, [student], ["clip", "nts"], output=out, **words)
    train(planted.folder, student=student, recipe=best, output=out, **words)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert record(out)["figures"]["candidates"] == about


def path_of(planted: Any, sample_id: str) -> str:
    from labelsieve.files import uri_to_path

    manifest = planted.run.manifest
    where = manifest["sample_id"].to_pylist().index(sample_id)
    return uri_to_path(manifest["uri"][where].as_py())


def test_commas_name_several_unless_a_folder_is_called_so(tmp_path: Path) -> None:
    assert by_names("clip", "auto").func is train
    several = by_names("clip,vit", "auto,nts")
    assert several.keywords == {
        "students": ["clip", "vit"],
        "recipes": ["auto", "nts"],
    }
    odd = tmp_path / "a,b"
    odd.mkdir()
    assert by_names(str(odd), "auto").func is train


def test_what_leaves_no_choice_is_refused_before_anything_is_trained(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "train", None)
    with pytest.raises(OptionError, match="no choice"):
        choose(planted.folder, ["clip"], ["auto", "auto"], output=tmp_path / "m")
    with pytest.raises(OptionError, match="ntss"):
        choose(planted.folder, ["clip"], ["auto", "ntss"], output=tmp_path / "m")


def test_nothing_held_out_is_told(
    planted: Any, random_clip: Any, tmp_path: Path
) -> None:
    settings = {**QUICK, "val_share": 0.0}
    with pytest.raises(OptionError, match="Nothing is held out"):
        choose(
            planted.folder,
            [str(random_clip())],
            ["clip", "vit"],
            output=tmp_path / "m",
            settings=settings,
            **CPU,
        )
