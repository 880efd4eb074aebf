"""What belongs to no class by a scan: a status everywhere, left out on demand, and put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from labelsieve import tables
from labelsieve.classifiers import training_set
from labelsieve.corrections.policy import Policy, plan
from labelsieve.exports import collect
from labelsieve.pipeline.demo import digits as demo
from labelsieve.review.columns import Columns
from labelsieve.review.filters import STATUSES
from labelsieve.runs import standing
from labelsieve.runs.decisions import Decisions
from labelsieve.runs.run import Run


@pytest.fixture(scope="module")
def web(
    tmp_path_factory: pytest.TempPathFactory, call: Callable[..., Any], own_cache: Path
) -> tuple[Path, Path]:
    """A table of digits, some of them of no class, and the run of a scan."""
    folder = tmp_path_factory.mktemp("web")
    table = demo(0.0)
    truth = np.array(table["true_label"].to_pylist())
    names = sorted(set(truth))
    inside = np.isin(truth, names[:6])
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(inside), 360, replace=False),
            rng.choice(np.flatnonzero(~inside), 60, replace=False),
        ]
    )
    drawn = rng.integers(0, 6, len(truth))
    label = np.where(inside, truth, np.array(names)[drawn])
    chosen = table.select(["id", "image"]).append_column("label", [label.tolist()])
    path = folder / "web.parquet"
    tables.write_parquet(chosen.take(np.sort(rows)), path)
    words = "--method capro --set flags=own --id-column id --label-column label -q"
    called = call("scan", path, *words.split(), "-o", folder / "run")
    assert called.code == 0, called.err
    return path, folder / "run"


def outside(opened: Run) -> list[str]:
    scores = opened.scores
    return scores.filter(pc.equal(scores["status"], "outsider"))[
        "sample_id"
    ].to_pylist()


def test_the_verdict_is_a_status_everywhere(web: tuple[Path, Path]) -> None:
    opened = Run(web[1])
    ids = outside(opened)
    assert ids and opened.record["outsiders"] == len(ids)
    rows = opened.scores.filter(
        pc.is_in(opened.scores["sample_id"], pc.cast(ids, "string"))
    )
    assert rows["suggested_label"].null_count == len(ids)
    assert pc.all(rows["is_label_issue"]).as_py()
    now = standing.of_run(opened)
    told = now.ids.filter(now.suggested == -1).to_pylist()
    assert sorted(told) == sorted(ids)
    assert np.allclose(
        now.suggested_prob[now.suggested == -1], now.p_wrong[now.suggested == -1]
    )
    columns = Columns(opened)
    assert STATUSES["outsiders"].holds(columns).sum() == len(ids)
    exported = collect(opened).table
    statuses = dict(
        zip(
            exported["sample_id"].to_pylist(),
            exported["status"].to_pylist(),
            strict=True,
        )
    )
    assert {statuses[i] for i in ids} == {"outsider"}
    for name in ("outsider_score", "outsider_distance", "outsider_energy"):
        assert name in opened.scores.column_names


def test_they_are_dropped_on_demand_alone(web: tuple[Path, Path]) -> None:
    opened = Run(web[1])
    without = plan(opened, None, Policy("auto", 0.3))
    assert "drop" not in without["action"].to_pylist()
    found = plan(opened, None, Policy("auto", 0.3, drop_outsiders=True))
    dropped = found.filter(pc.equal(found["action"], "drop"))
    p_clean = dict(
        zip(
            opened.scores["sample_id"].to_pylist(),
            opened.scores["p_clean"].to_pylist(),
            strict=True,
        )
    )
    sure = [i for i in outside(opened) if 1 - p_clean[i] >= 0.3]
    assert sure and dropped["sample_id"].to_pylist() == sorted(sure)
    # people's decisions alone, where nobody decided
    assert len(plan(opened, None, Policy(drop_outsiders=True))) == 0


def test_a_person_has_the_last_word(web: tuple[Path, Path], tmp_path: Path) -> None:
    opened = Run(web[1])
    first, second, *_ = outside(opened)
    inside = opened.scores.filter(pc.equal(opened.scores["status"], "ok"))
    decisions = Decisions(tmp_path)
    decisions.add(first, "keep")
    third = inside["sample_id"][0].as_py()
    decisions.add(third, "none")
    policy = Policy("auto", 0.0, drop_outsiders=True)
    found = plan(opened, decisions, policy)
    dropped = found.filter(pc.equal(found["action"], "drop"))["sample_id"].to_pylist()
    assert first not in dropped and {second, third} <= set(dropped)
    reviewed = plan(opened, decisions, Policy(drop_outsiders=True))
    assert reviewed["sample_id"].to_pylist() == [third]
    decisions.close()


def test_nothing_is_learned_from_them(web: tuple[Path, Path]) -> None:
    opened = Run(web[1])
    rows = training_set.choose(
        opened.scores, {}, opened.classes, "clean+relabelled", 0.0
    )
    weights = dict(
        zip(rows["sample_id"].to_pylist(), rows["weight"].to_pylist(), strict=True)
    )
    assert {weights[i] for i in outside(opened)} == {0.0}
    assert rows["label"].null_count == 0


def test_data_without_them_and_the_way_back(
    web: tuple[Path, Path], call: Callable[..., Any]
) -> None:
    path, run = web
    before = pq.read_table(path)
    words = [
        "apply",
        run,
        "--policy",
        "auto",
        "--min-confidence",
        "0.3",
        "--drop-outsiders",
    ]
    assert call(*words, "--in-place").code == 0
    done = call(*words, "--in-place", "--yes", "--json")
    assert done.code == 0, done.err
    left = len(pq.read_table(path))
    assert left == len(before) - done.json()["dropped"] < len(before)
    back = call("apply", run, "--reverse")
    assert back.code == 0, back.err
    assert pq.read_table(path).equals(before)
