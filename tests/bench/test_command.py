"""The verb from end to end: a real bench that was filtered, killed and continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from labelsieve import registry
from labelsieve.bench import command
from labelsieve.bench.results import RESULTS
from labelsieve.bench.steps import Workspace
from labelsieve.errors import MissingExtra, OptionError, RunError
from labelsieve.runs.run import Run


def test_every_cell_has_a_row(ran: Any) -> None:
    assert ran.results.schema.names == RESULTS.names
    states = {(r["data"], r["method"]): r["state"] for r in ran.results.to_pylist()}
    assert states == {
        ("digits", "zero-shot"): "done",
        ("digits", "deft, quick"): "done",
        ("digits", "refused"): "failed",
        **{
            ("nobody has it", m): "skipped"
            for m in ("zero-shot", "deft, quick", "refused")
        },
    }
    assert [r["method"] for r in ran.results.to_pylist()] == [
        "zero-shot",
        "deft, quick",
        "refused",
    ] * 2
    assert (
        ran.answer["cells"] == 6
        and ran.answer["done"] == 2
        and len(ran.answer["not_run"]) == 4
    )


def test_what_was_finished_before_the_kill_did_not_run_again(ran: Any) -> None:
    file, changed = ran.first
    assert file.stat().st_mtime_ns == changed
    assert ran.row("zero-shot")["attempts"] == 1


def test_the_cell_that_was_killed_went_on(ran: Any) -> None:
    row = ran.row("deft, quick")
    assert row["attempts"] == 2
    opened = Run(ran.output / row["folder"] / "run")
    assert opened.finished and row["seconds"] >= opened.record["seconds"]["detect"]
    assert not list(ran.output.rglob("attempts.json")) and not list(
        ran.output.glob("cells/*/cache")
    )


def test_no_process_is_left(ran: Any) -> None:
    for lock in ran.output.glob("*/*/lock"):
        FileLock(lock).acquire(timeout=0).lock.release()


@pytest.mark.parametrize("method", ["zero-shot", "deft, quick"])
def test_figures_are_those_of_scikit_learn_on_the_cells_scores(
    ran: Any, method: str
) -> None:
    row = ran.row(method)
    folder = ran.output / row["folder"] / "run"
    truth = {
        r["sample_id"]: r["true_label"]
        for r in pq.read_table(folder / "truth.parquet").to_pylist()
    }
    scores = pq.read_table(folder / "scores.parquet").to_pylist()
    wrong = [r["given_label"] != truth[r["sample_id"]] for r in scores]
    flagged, suspicion = (
        [r["is_label_issue"] for r in scores],
        [-r["p_clean"] for r in scores],
    )
    assert (
        row["images"] == 60
        and row["realised_rate"] == 12 / 60 == sum(wrong) / 60
        and row["nominal_rate"] is None
    )
    assert row["f1"] == pytest.approx(f1_score(wrong, flagged, zero_division=0.0))
    assert row["auroc"] == pytest.approx(roc_auc_score(wrong, suspicion))
    assert row["ap"] == pytest.approx(average_precision_score(wrong, suspicion))
    assert row["clean_f1"] == pytest.approx(
        f1_score([not w for w in wrong], [not f for f in flagged])
    )
    assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]


def test_rows_say_what_a_figure_depends_on(ran: Any) -> None:
    row = ran.row("deft, quick")
    assert (
        json.loads(row["settings"])["batch_size"] == 4
        and row["detector"] == "deft"
        and row["seed"] == 3
    )
    assert (
        json.loads(row["environment"])["torch"]
        and row["host"]
        and row["device"]
        and row["threads"] >= 1
    )
    assert (
        row["peak_mib"] > 100
        and row["seconds"] > 0
        and row["features_seconds"] > 0
        and row["cpu_seconds"] > 0
    )


def test_a_refusal_is_told_in_one_line(ran: Any) -> None:
    refused = ran.row("refused")
    assert (
        refused["f1"] is None
        and refused["message"]
        and "Traceback" not in refused["message"]
    )
    assert (
        "Get cifar-100-binary.tar.gz"
        in ran.row("zero-shot", "nobody has it")["message"]
    )


def test_headroom_is_measured_once_for_tower_and_data(ran: Any) -> None:
    (row,) = pq.read_table(ran.output / "headroom.parquet").to_pylist()
    assert 0 <= row["zero_shot"] <= 1 and row["gap"] == pytest.approx(
        row["probe"] - row["zero_shot"]
    )
    lead = ran.row("deft, quick")["f1"] - ran.row("zero-shot")["f1"]
    assert row["lead"] == pytest.approx(lead)


def test_tables_and_plots_are_written(ran: Any) -> None:
    page, paper = (
        (ran.output / f).read_text(encoding="utf-8") for f in ("table.md", "table.tex")
    )
    for text in (page, paper):
        assert (
            "digits, person" in text and "tower tiny" in text and "deft, quick" in text
        )
    assert r"20.0 \% wrong" in paper and "20.0 % wrong" in page
    plots = {f for f in ran.answer["files"] if f.endswith(".svg")}
    assert plots == {"pr-tiny-digits-person.svg", "f1-seconds-tiny-digits.svg"}
    assert all(Path(f).is_file() for f in ran.answer["files"].values())


def test_the_same_command_again_runs_nothing_that_is_done(
    ran: Any, tmp_path: Path
) -> None:
    before = {
        p: p.stat().st_mtime_ns
        for p in ran.output.glob("cells/*/result.json")
        if json.loads(p.read_text())["state"] == "done"
    }
    answer = command.run(
        str(ran.config),
        Workspace(ran.output, ran.data_root),
        only=["method=zero-shot,data=digits"],
    )
    assert answer["done"] == 2 and all(
        p.stat().st_mtime_ns == t for p, t in before.items()
    )
    states = {r["method"]: r["state"] for r in ran.results.to_pylist()}
    assert states["refused"] == "failed", (
        "what an earlier call was refused is still told"
    )


def test_mistakes_write_nothing(digit_data: Path, tmp_path: Path) -> None:
    for words in ({"only": ["method=nope"]}, {"jobs": "many"}, {"towers": ["x"]}):
        with pytest.raises(OptionError):
            # type: ignore[arg-type]
            command.run("smoke", Workspace(tmp_path / "out", digit_data), **words)
        assert not (tmp_path / "out").exists()


def test_where_nothing_could_run_that_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        'tower = [{ name = "tiny" }]\nmethod = [{ name = "knn" }]\n'
        '[[data]]\nname = "d"\npath = "nowhere.parquet"\n'
        'noise = [{ kind = "pair", rate = 0.1 }]\n'
    )
    with pytest.raises(
        RunError,
        match=r"None of 1 cells could run. The first one: .*nowhere.parquet' does not exist",
    ):
        command.run(str(config), Workspace(tmp_path / "out", tmp_path))
    assert "nowhere.parquet" in (tmp_path / "out" / "table.md").read_text()


def test_without_matplotlib_there_are_tables_and_a_word(
    ran: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    need: Callable[[str], Any] = registry.need

    def lacking(module: str) -> Any:
        if module.endswith("plots"):
            raise MissingExtra("matplotlib", "bench")
        return need(module)

    monkeypatch.setattr(registry, "need", lacking)
    answer = command.run(
        str(ran.config),
        Workspace(ran.output, ran.data_root),
        only=["method=zero-shot,data=digits"],
    )
    assert answer["warnings"] == [
        "There are no plots: matplotlib is not installed. "
        "Install it with: pip install 'labelsieve[bench]'."
    ]
    assert not any(f.endswith(".svg") for f in answer["files"])
