"""Judging other images with a run's detector, and the very images of the run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from labelsieve.data.load import load
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.files import sha256
from labelsieve.pipeline.score import score
from labelsieve.runs.digests import DIGESTS, SIZES, read_record, sizes_of, write_record
from labelsieve.runs.run import Run, run_folder

SPEC = {"id_column": "id", "label_column": "label"}


def test_the_detector_gives_the_scores_of_the_scan_again(
    scanned: Any, digit_table: Path, tmp_path: Path
) -> None:
    learned = load_file(scanned.folder / "detector" / "detector.safetensors")
    assert {"contexts", "visual_prompts", "transition"} <= learned.keys()
    told = json.loads((scanned.folder / "detector" / "config.json").read_text())
    assert (
        told["classes"] == ["one", "three", "two", "zero"]
        and told["method"] == "deft"
        and told["model"] == "tiny"
    )
    spec = load(digit_table, **SPEC)
    before = {f: f.stat().st_mtime_ns for f in scanned.folder.rglob("*")}
    again = score(scanned.folder, spec, output=tmp_path / "new" / "scores.parquet")
    first = Run(scanned.folder).scores
    # images that it has learned from are judged by its probes of all of them, not out of fold
    told_at = dict(zip(first["sample_id"].to_pylist(), range(len(first)), strict=True))
    rows = first.take([told_at[key] for key in again["sample_id"].to_pylist()])
    same = ["path", "given_label", "status"]
    assert again.select(same).equals(rows.select(same))
    p = [t["p_clean"].drop_null().to_numpy() for t in (again, rows)]
    assert np.corrcoef(*p)[0, 1] > 0.9
    assert pq.read_table(tmp_path / "new" / "scores.parquet").equals(again)
    assert {f: f.stat().st_mtime_ns for f in scanned.folder.rglob("*")} == before, (
        "judging changes nothing in the run"
    )


def test_an_image_is_judged_alone_as_among_others(
    scanned: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images, truth = digits
    rows = [int(np.flatnonzero(truth == k)[30]) for k in range(4)]
    names = np.array(["zero", "one", "two", "three"])
    together = score(scanned.folder, (images[rows], names))
    by_row = {
        r["sample_id"].partition("#")[0]: r["p_clean"] for r in together.to_pylist()
    }
    for number, row in enumerate(rows):
        (alone,) = score(scanned.folder, (images[[row]], names[[number]])).to_pylist()
        assert alone["p_clean"] == pytest.approx(by_row[f"row{number}"], abs=1e-4)


def test_labels_that_the_detector_never_saw_are_refused(
    scanned: Any, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(
        DataError, match=r"'thre' is unknown; .* Did you mean 'three'\?"
    ):
        score(scanned.folder, (digits[0][:2], ["one", "thre"]))


def test_a_run_without_a_detector_says_so(tmp_path: Path, digit_table: Path) -> None:
    run_folder(tmp_path / "run").begin({})
    with pytest.raises(RunError, match="has no detector"):
        score(tmp_path / "run", load(digit_table, **SPEC))


def test_a_target_is_checked_before_the_work(scanned: Any, digit_table: Path) -> None:
    with pytest.raises(OptionError, match=r"must end in \.parquet or \.csv"):
        score(scanned.folder, digit_table, output="scores.xlsx")


def test_scores_are_written_as_csv_too(
    scanned: Any, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    images = digits[0][:3]
    table = score(
        scanned.folder, (images, ["one", "two", "zero"]), output=tmp_path / "scores.csv"
    )
    written = pacsv.read_csv(tmp_path / "scores.csv")
    assert written["sample_id"].to_pylist() == table["sample_id"].to_pylist()


def test_the_data_are_not_written_over(scanned: Any, digit_table: Path) -> None:
    before = digit_table.read_bytes()
    with pytest.raises(OptionError, match="holds the data"):
        score(scanned.folder, load(digit_table, **SPEC), output=digit_table)
    assert digit_table.read_bytes() == before


def test_pictures_without_labels_are_for_predict(
    scanned: Any, tmp_path: Path, encode: Any, digits: Any, monkeypatch: Any
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(encode(digits[0][0]))
    # what would take time is not begun
    monkeypatch.delattr("labelsieve.pipeline.score.load_encoder")
    with pytest.raises(DataError, match="pictures without labels") as refused:
        score(scanned.folder, tmp_path / "new")
    assert f"labelsieve predict CLASSIFIER {tmp_path / 'new'}" in refused.value.do


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("transition", lambda t: t * np.nan, "'transition' is not of finite numbers"),
        ("temperature", lambda t: t + np.inf, "'temperature' is not of finite"),
        ("transition", lambda t: t[:1], "numbers do not fit"),
        ("contexts", lambda t: t.ravel(), "numbers do not fit"),
        ("transition", None, "numbers do not fit"),
    ],
)
def test_a_detector_of_a_stranger_with_other_numbers_is_named(
    name: str,
    change: Any,
    said: str,
    scanned: Any,
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    """Its checksums are right, as anybody can write them."""
    run = tmp_path / "run"
    shutil.copytree(scanned.folder, run)
    path = run / "detector" / "detector.safetensors"
    learned = load_file(path)
    old = learned.pop(name)
    if change is not None:
        learned[name] = np.ascontiguousarray(change(old))
    save_file(learned, path)
    record = read_record(run / "run.json")
    record[DIGESTS]["detector/detector.safetensors"] = sha256(path)
    record[SIZES] = sizes_of(run, record[DIGESTS])
    write_record(run / "run.json", record)
    with pytest.raises(RunError, match=said):
        score(run, (digits[0][:4], np.array(["zero", "one", "two", "three"])))
