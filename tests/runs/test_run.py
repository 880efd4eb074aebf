"""A run opened again: what is in it, what is missing, what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labelsieve import tables
from labelsieve.errors import RunError
from labelsieve.files import fingerprint, read_json, write_json
from labelsieve.runs.digests import read_record, write_record
from labelsieve.runs.run import RECORD, Run, run_folder


def test_fingerprints() -> None:
    assert (
        fingerprint({"a": 1, "b": [2]})
        == fingerprint({"b": [2], "a": 1})
        == "ae8a9a5052464275"
    )
    assert fingerprint({"a": 1, "b": [3]}) != fingerprint({"a": 1, "b": [2]})


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder") as caught:
        Run(tmp_path)
    assert "scan" in caught.value.do


def test_missing_and_damaged_tables_are_named(tmp_path: Path) -> None:
    run_folder(tmp_path / "run").begin({})
    opened = Run(tmp_path / "run")
    with pytest.raises(RunError, match=r"scores\.parquet' is missing"):
        _ = opened.scores
    (opened.folder / "manifest.parquet").write_text("no parquet")
    with pytest.raises(RunError, match=r"manifest\.parquet' is not readable"):
        _ = opened.manifest
    tables.write_parquet(
        pa.table({"sample_id": ["a"], "path": ["a"]}), opened.folder / "scores.parquet"
    )
    with pytest.raises(RunError, match="not have one column 'given_label'"):
        _ = opened.scores
    with pytest.raises(RunError, match=r"noise\.json' is missing"):
        _ = opened.noise
    assert opened.truth() is None


def test_noise_rate_is_estimate_low_high(tmp_path: Path) -> None:
    run_folder(tmp_path / "run").begin({})
    opened = Run(tmp_path / "run")
    write_json(
        opened.folder / "noise.json",
        {
            **{"rate": 0.2, "low": 0.1, "high": 0.4, "pairs": []},
            "per_class": {"a": 0.2, "b": 0.1},
            "matrix": {"given": [0], "true": [1], "share": [0.1]},
        },
    )
    assert opened.noise_rate == (0.2, 0.1, 0.4)
    assert opened.classes == ["a", "b"]


def test_json_is_whole_or_old(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"name": "grün", "at": Path("a/b")})
    assert read_json(path) == {"name": "grün", "at": "a/b"}
    assert "grün" in path.read_text(encoding="utf-8")
    endless: dict[str, object] = {}
    endless["self"] = endless
    with pytest.raises(ValueError):
        write_json(path, endless)
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "grün"


@pytest.mark.parametrize("field", ["command", "sha256", "classes", "working_folder"])
@pytest.mark.parametrize("value", [None, 5, [[]], {"a": 5}])
def test_a_sealed_record_of_wrong_kinds_is_damaged(
    planted: Any, field: str, value: Any
) -> None:
    path = planted.folder / RECORD
    write_record(path, {**read_record(path), field: value})
    with pytest.raises(RunError, match=r"run\.json' is damaged"):
        _ = Run(planted.folder).record


@pytest.mark.parametrize("field", ["data", "model", "method", "root", "class_names"])
@pytest.mark.parametrize("value", [5, [], {"a": 5}])
def test_a_sealed_command_of_wrong_kinds_is_damaged(
    planted: Any, field: str, value: Any
) -> None:
    path = planted.folder / RECORD
    record = read_record(path)
    record["command"][field] = value
    write_record(path, record)
    with pytest.raises(RunError, match=rf"run\.json' is damaged: 'command\.{field}'"):
        _ = Run(planted.folder).record


def test_a_finished_run_has_a_whole_command_and_all_classes(planted: Any) -> None:
    path = planted.folder / RECORD
    record = read_record(path)
    write_record(path, {**record, "classes": ["x"]})
    with pytest.raises(RunError, match="its classes are not those of the labels"):
        _ = Run(planted.folder).all_classes
    write_record(path, {**record, "command": {}})
    with pytest.raises(RunError, match=r"'command\.data' is missing"):
        _ = Run(planted.folder).record
    # of versions that did not write these yet
    newer = ("working_folder", "features", "classes", "method_facts", "sha256")
    for name in newer:
        record.pop(name, None)
    write_record(path, record)
    assert Run(planted.folder).finished
    assert Run(planted.folder).all_classes == Run(planted.folder).classes


def test_a_run_shows_itself_in_a_notebook(planted: Any) -> None:
    html = planted.run._repr_html_()
    assert repr(planted.run).startswith("Run('") and planted.run.headline in repr(
        planted.run
    )
    # pictures of suspects, and a hostile class name as text
    assert html.count('src="data:image/webp;base64,') == 12
    assert "image-rendering:pixelated" in html
    assert html.count("likely to be wrong") == 12 and "100 %" not in html
    assert "<script" not in html and "&lt;img src=x onerror" in html


def test_suspects_are_those_nobody_has_decided(planted: Any) -> None:
    from labelsieve.runs.decisions import Decisions

    found = planted.run.suspects(5)
    flagged = planted.run.scores.filter(planted.run.scores["is_label_issue"])
    assert found["sample_id"].to_pylist() == flagged["sample_id"].to_pylist()[:5]
    for row in found.to_pylist():
        assert row["suggested_label"] == planted.truth[row["sample_id"]]
        assert row["p_wrong"] >= row["suggested_prob"] > 0
    first = found["sample_id"][0].as_py()
    Decisions(planted.folder).add(first, "keep")
    assert first not in planted.run.suspects(100)["sample_id"].to_pylist()
    assert len(planted.run.suspects(100)) == len(planted.wrong) - 1


def test_scores_as_a_data_frame(planted: Any) -> None:
    pytest.importorskip("pandas")
    frame = planted.run.to_pandas()
    assert len(frame) == len(planted.given)
    assert (frame.index == [i.rpartition("#")[0] for i in frame["sample_id"]]).all()


def test_review_from_python_is_the_command(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pytest.importorskip("labelsieve.review.server")
    served = []

    def serve(review: Any, listening: Any, **options: Any) -> None:
        served.append((review.opened.folder, listening.port, options["launch"]))
        review.decisions.close()

    monkeypatch.setattr(server, "serve", serve)
    planted.run.review(port=7000, browser=False)
    assert served == [(planted.folder, 7000, None)]
