"""Plots: which there are, what is in them, and that the same results give the same bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

plots = pytest.importorskip("labelsieve.bench.plots", exc_type=ImportError)
CURVE = {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.8, 0.3]}
METHODS = [f"method {k} & <co>" for k in range(17)]


@pytest.fixture
def table(results: Callable[..., pa.Table]) -> pa.Table:
    rows = [
        {
            "method": m,
            "noise": noise,
            "realised_rate": rate,
            "f1": 0.4 + k / 100,
            "seconds": 2.0**k,
            "folder": f"cells/{m}-{noise}",
        }
        for k, m in enumerate(METHODS)
        for noise, rate in (("a", 0.2), ("b", 0.4))
    ]
    return results(
        *rows, {"method": "none", "f1": None}, {"method": "no", "state": "failed"}
    )


def texts(path: Path) -> set[str]:
    return {
        "".join(e.itertext()).strip()
        for e in ElementTree.parse(path).iter()
        if e.tag.endswith("}text")
    }


def test_plots_show_every_method_and_the_same_bytes_again(
    table: pa.Table, tmp_path: Path
) -> None:
    curves: dict[str, Any] = {
        f: CURVE for f in table["folder"].to_pylist() if f and f.endswith("-a")
    }
    found = plots.write(table, curves, tmp_path)
    assert [p.name for p in found] == [
        "pr-tiny-digits-a.svg",
        "f1-noise-tiny-digits.svg",
        "f1-seconds-tiny-digits.svg",
    ]
    for path in found:
        assert set(METHODS) <= texts(path), path.name
        assert any("tower tiny" in t for t in texts(path))
    before = [p.read_bytes() for p in found]
    assert [p.read_bytes() for p in plots.write(table, curves, tmp_path)] == before


def test_methods_do_not_look_alike() -> None:
    rows = [{"method": f"m{i}", "detector": "knn"} for i in range(24)]
    styles = [tuple(style.items()) for style in plots._styles(rows).values()]
    assert len(set(styles)) == 24


def test_one_noise_has_no_plot_against_the_rate(
    results: Callable[..., pa.Table], tmp_path: Path
) -> None:
    assert [p.name for p in plots.write(results({}), {}, tmp_path)] == [
        "f1-seconds-tiny-digits.svg"
    ]
    assert plots.write(results({"f1": None}), {}, tmp_path) == []
