"""A scan of sets from a table to the corrected table and back, and all that reads the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.sets import WORDS, mosaics_of_digits
from PIL import Image

import labelsieve as ls
from labelsieve.corrections import write_back
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.labels import read_set, write_set
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.estimation.sets.judging import p_right
from labelsieve.exports import export
from labelsieve.files import write_json
from labelsieve.report.page import make
from labelsieve.runs import standing
from labelsieve.runs.decisions import Decisions, open_decisions
from labelsieve.runs.run import Run

COUNT = 80


def table(folder: Path, digits: Any) -> Path:
    """A table of pictures with sets of labels; one set is empty."""
    images, true, given = mosaics_of_digits(digits, COUNT)
    given[5] = set()
    lines = ["image,label,truth"]
    for number in range(COUNT):
        pixels = np.kron(images[number], np.ones((2, 2))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        cells = ["|".join(sorted(labels)) for labels in (given[number], true[number])]
        lines.append(f"{number}.png,{','.join(cells)}")
    path = folder / "photos.csv"
    path.write_text("\r\n".join(lines) + "\r\n", newline="")
    return path


def scanned(path: Path, run: Path, **more: Any) -> Run:
    spec = ls.load(
        path,
        label_separator="|",
        truth_column="truth",
        template="a handwritten digit {}.",
    )
    more.setdefault("settings", {"texts": 300, "epochs": 3})
    return ls.scan(spec, output=run, **more)


@pytest.fixture(scope="module")
def made(
    digits: Any, tmp_path_factory: pytest.TempPathFactory, own_cache: Path
) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("sets")
    path = table(folder, digits)
    return path, scanned(path, folder / "run")


def test_the_default_method_of_sets_is_taken_and_everything_is_scored(
    made: tuple[Path, Run],
) -> None:
    _, run = made
    assert run.record["command"]["method"] == "tai-adapter"
    assert run.kind == "set" and run.record["labels"] == "set"
    assert run.record["scored"] == COUNT and run.classes == sorted(WORDS)
    assert run.preflight["unlabelled"] == 0
    assert any("2 images have no label" in w for w in run.record["warnings"])
    assert set(run.noise["missing_of"]) == set(WORDS)
    assert run.record["quality"]["auroc"] > 0.8
    assert 0 < run.record["set_quality"]["map"] <= 1
    assert "sets of labels" in repr(run)


def test_scores_are_those_of_the_probabilities(made: tuple[Path, Run]) -> None:
    _, run = made
    probs = dict(
        zip(*(run.probs()[n].to_pylist() for n in ("sample_id", "probs")), strict=True)
    )
    for row in run.scores.to_pylist():
        given, suggested = (
            read_set(row["given_label"]),
            read_set(row["suggested_label"]),
        )
        posterior = np.array([probs[row["sample_id"]]])
        chosen = np.array([[name in given for name in run.classes]])
        assert np.isclose(row["p_clean"], p_right(posterior, chosen)[0], atol=1e-5)
        missing, extra = read_set(row["missing"]), read_set(row["extra"])
        assert sorted(set(given) - set(suggested)) == extra
        assert sorted(set(suggested) - set(given)) == missing
        assert row["is_label_issue"] == bool(missing or extra)
    assert run.scores["rank"].to_pylist() == list(range(1, COUNT + 1))


def test_changes_go_into_the_table_and_back_to_the_byte(
    made: tuple[Path, Run],
) -> None:
    path, run = made
    before = path.read_bytes()
    spec = DataSpec(str(path), label_separator="|")
    patch = plan(run, None, Policy("auto", min_confidence=0.8))
    assert len(patch)
    write_back.in_place(spec, patch)
    lines = path.read_text().splitlines()
    changed = dict(
        zip(patch["path"].to_pylist(), patch["new_label"].to_pylist(), strict=True)
    )
    for line, old in zip(lines[1:], before.decode().splitlines()[1:], strict=True):
        image, label, truth = line.split(",")
        if image in changed:
            assert sorted(label.split("|")) == (read_set(changed[image]) or [""])
        else:
            assert line == old
        assert truth == old.split(",")[2]
    write_back.reverse(spec, patch)
    assert path.read_bytes() == before
    # every single change is as probable as was asked for
    strict = plan(run, None, Policy("auto", min_confidence=0.999))
    assert len(strict) < len(patch)


def test_decisions_are_sets(made: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = made
    decisions = Decisions(tmp_path)
    ids = run.scores["sample_id"].to_pylist()
    given = run.scores["given_label"].to_pylist()
    decisions.add(ids[0], "other", write_set(["one", "two"]))
    decisions.add(ids[1], "none")
    decisions.add(ids[2], "keep")
    now = standing.of_run(run, decisions)
    assert now.labels[:3].tolist() == ['["one", "two"]', "[]", given[2]]
    assert now.p_clean[:3].tolist() == [0.0, 0.0, 1.0]
    assert now.issue[:3].tolist() == [True, True, False]
    patch = plan(run, decisions, Policy())
    new = dict(
        zip(*(patch[n].to_pylist() for n in ("sample_id", "new_label")), strict=True)
    )
    expected = {ids[0]: '["one", "two"]', ids[1]: "[]"}
    assert new == {
        i: label for i, label in expected.items() if label != given[ids.index(i)]
    }
    decisions.close()


def test_exports_hold_sets_or_say_what_does(
    made: tuple[Path, Run], tmp_path: Path
) -> None:
    _, run = made
    export(run, "coco", tmp_path / "coco")
    coco = json.loads((tmp_path / "coco/annotations/labels_default.json").read_text())
    names = {c["id"]: c["name"] for c in coco["categories"]}
    found: dict[str, set[str]] = {}
    for annotation in coco["annotations"]:
        key = annotation["attributes"]["sample_id"]
        found.setdefault(key, set()).add(names[annotation["category_id"]])
    for row in run.scores.to_pylist():
        assert found.get(row["sample_id"], set()) == set(read_set(row["given_label"]))
    export(run, "parquet", tmp_path / "a.parquet")
    labels = pq.read_table(tmp_path / "a.parquet")["label"].to_pylist()
    assert labels == run.scores["given_label"].to_pylist()
    with pytest.raises(OptionError, match="one of: coco, csv, hf, jsonl, label-studio"):
        export(run, "imagefolder", tmp_path / "folders")
    export(run, "label-studio", tmp_path / "ls")
    tasks = json.loads((tmp_path / "ls/tasks.json").read_text())
    choices = [t["predictions"][0]["result"][0]["value"]["choices"] for t in tasks]
    assert choices == [read_set(t) for t in run.scores["suggested_label"].to_pylist()]
    assert 'choice="multiple"' in (tmp_path / "ls/label_config.xml").read_text()


def test_the_report_shows_sets_by_their_classes(made: tuple[Path, Run]) -> None:
    _, run = made
    page = make(run).read_text()
    assert "sets of labels" in page and "Labels per class" in page
    assert 'id="matrix"' not in page
    rows = json.loads(page.split('id="rows">')[1].split("</script>")[0])
    suspects = run.scores.filter(run.scores["is_label_issue"])
    assert len(rows["path"]) == len(suspects)
    first = read_set(suspects["given_label"][0].as_py())
    shown = rows["classes"][rows["given"][0]]
    assert shown == (", ".join(first) or "(no class)")


def test_a_run_whose_sets_are_damaged_is_named(
    made: tuple[Path, Run], tmp_path: Path
) -> None:
    _, run = made
    record = {**run.record, "labels": "lists"}
    write_json(tmp_path / "run.json", record)
    with pytest.raises(RunError, match="damaged"):
        _ = Run(tmp_path).kind


def test_python_collections_are_sets(digits: Any, tmp_path: Path) -> None:
    images, _, given = mosaics_of_digits(digits, 40)
    given[2] = set()
    run = ls.scan(
        list(images), labels=given, output=tmp_path / "run", method="zero-shot"
    )
    labels = {
        row["path"]: set(read_set(row["given_label"])) for row in run.scores.to_pylist()
    }
    assert labels == {f"row {n}": set(given[n]) for n in range(40)}
    with pytest.raises(DataError, match="others are sets"):
        ls.scan(list(images), labels=[*given[:-1], "one"], output=tmp_path / "x")


def test_methods_that_judge_single_labels_refuse_sets(
    made: tuple[Path, Run], tmp_path: Path
) -> None:
    path, _ = made
    with pytest.raises(OptionError, match=r"^The data have a set of labels per image"):
        scanned(path, tmp_path / "run", method="deft", settings={})
    assert not (tmp_path / "run").exists()
    assert open_decisions(made[1]) is None


def test_training_refuses_sets_with_what_takes_them(made: tuple[Path, Run]) -> None:
    # no student is looked for: nothing is opened or computed before
    with pytest.raises(OptionError, match="this run has sets of labels") as refused:
        ls.train(made[1], student="nowhere/at-all")
    assert "labelsieve score" in refused.value.do and "--method" not in refused.value.do
