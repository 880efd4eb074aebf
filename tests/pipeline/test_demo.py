"""The demonstration: real digits, errors planted at the stated rate, and a scan that tells what
was found."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelsieve.methods import deft
from labelsieve.pipeline import demo
from labelsieve.runs.run import Run


def test_digits_are_scikit_learns_with_planted_errors(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    images, truth = digits
    table = demo.digits()
    assert table["true_label"].to_pylist() == [demo.WORDS[k] for k in truth]
    assert len(set(table["id"].to_pylist())) == len(table) == 1797
    for row in range(0, 1797, 100):
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(table["image"][row].as_py()))), images[row]
        )
    wrong = np.array(table["planted_label"].to_pylist()) != np.array(
        table["true_label"].to_pylist()
    )
    assert abs(wrong.sum() - 0.2 * 1797) < 4 * np.sqrt(1797 * 0.2 * 0.8)
    assert set(table["planted_label"].to_pylist()) == set(demo.WORDS)


def test_the_seed_decides_and_the_rate_is_kept() -> None:
    assert demo.digits(seed=1).equals(demo.digits(seed=1))
    assert not demo.digits(seed=1).equals(demo.digits(seed=2))
    clean = demo.digits(rate=0.0)
    assert clean["planted_label"].equals(clean["true_label"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty of the demo's own pictures and one epoch."""
    few = replace(demo.DEMOS["digits"], make=lambda: demo.digits().slice(0, 40))
    monkeypatch.setitem(demo.DEMOS, "digits", few)
    monkeypatch.setitem(deft.PRESETS, "default", {"epochs": 1})


def test_the_demo_from_the_command_line(
    quick: None, call: Callable[..., Any], tmp_path: Path
) -> None:
    called = call("demo", "-o", tmp_path / "demo", "-q")
    assert (called.code, called.err) == (0, "")
    table = pq.read_table(tmp_path / "demo" / "digits.parquet")
    assert table.equals(demo.digits().slice(0, 40))
    wrong = sum(
        a != b
        for a, b in zip(
            table["planted_label"].to_pylist(),
            table["true_label"].to_pylist(),
            strict=True,
        )
    )
    run = Run(tmp_path / "demo" / "run")
    assert (
        run.record["quality"]["wrong"] == wrong > 0
        and run.record["quality"]["images"] == 40
    )
    assert f"{wrong} planted errors among 40 labels" in called.out
    assert (
        f"{round(run.record['quality']['recall'] * wrong)} of {wrong} wrong labels found"
        in called.out
    )
    again = call("demo", "-o", tmp_path / "demo", "-q", "--json")
    assert again.code == 0 and again.json() == run.record


def test_force_starts_anew(
    quick: None, call: Callable[..., Any], tmp_path: Path
) -> None:
    assert call("demo", "-o", tmp_path, "-q").code == 0
    before = (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns
    assert call("demo", "-o", tmp_path, "-q").code == 0
    assert (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns == before
    assert call("demo", "-o", tmp_path, "-q", "--force").code == 0
    assert (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns > before


def test_data_that_need_a_network_say_so(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    called = call("demo", "--data", "cifar10n", "-o", tmp_path / "demo", "-q")
    assert called.code == 2 and called.err.count("\n") == 1
    assert (
        "CIFAR-10N cannot be fetched" in called.err
        and "'labelsieve demo' alone does not" in called.err
    )
    assert not (tmp_path / "demo").exists()


def test_texts_are_made_and_judged_without_a_network(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    assert demo.texts(seed=1).equals(demo.texts(seed=1))
    called = call("demo", "--data", "texts", "-o", tmp_path / "demo")
    assert called.code == 0, called.err
    assert "notes of ours on five topics" in called.out
    assert "hashing" in called.out
    assert called.out.strip().splitlines()[-1].startswith("Next")
    # nothing that a person reads speaks of pictures: progress, verdict, warnings
    assert "Computing features: 1,000 of 1,000 texts" in called.err
    assert not re.search(r"\b(image|picture)s?\b", called.err + called.out)
    quality = Run(tmp_path / "demo" / "run").record["quality"]
    assert quality["f1"] > 0.8
    assert 150 < quality["wrong"] < 250
