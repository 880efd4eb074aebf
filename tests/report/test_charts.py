"""The numbers behind the charts against slow counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.estimation.noise_rate import as_triplets, noise_matrix
from labelsieve.report import charts
from labelsieve.runs import standing


def test_histogram_counts_everything_and_finds_the_threshold() -> None:
    p = np.array([0.01, 0.2, 0.3, 0.51, 0.9, 1.0])
    flagged = [True, True, True, False, False, False]
    found = charts.histogram(
        pa.table({"p_clean": [*p, None], "is_label_issue": [*flagged, None]})
    )
    assert sum(b["flagged"] for b in found["bins"]) == 3
    assert sum(b["kept"] for b in found["bins"]) == 3
    assert found["bins"][-1]["kept"] == 1 and found["threshold"] == pytest.approx(0.405)
    mixed = charts.histogram(pa.table({"p_clean": p, "is_label_issue": flagged[::-1]}))
    assert mixed["threshold"] is None


def test_the_matrix_shows_row_shares_of_the_noisiest_classes(planted: Any) -> None:
    matrix = noise_matrix(planted.run.noise).toarray()
    found = charts.matrix(planted.run.noise, planted.run.classes)
    assert found["classes"] == planted.run.classes
    shares = {(c["given"], c["suggested"]): c["share"] for c in found["cells"]}
    for i, given in enumerate(found["classes"]):
        row = sum(shares[given, s] for s in found["classes"])
        assert row == pytest.approx(1, abs=1e-3)
        assert shares[given, found["classes"][0]] == pytest.approx(
            matrix[i, 0] / matrix[i].sum(), abs=1e-3
        )
    many = np.eye(100) + 0.0
    many[7, 9] = many[50, 3] = 0.5
    names = [f"c{k}" for k in range(100)]
    cut = charts.matrix(
        {"matrix": as_triplets(many), "per_class": dict.fromkeys(names, 0.5)}, names
    )
    assert len(cut["classes"]) == charts.CELLS
    assert {"c7", "c9", "c50", "c3"} <= set(cut["classes"])


def test_the_map_has_every_suspect_and_its_label(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = standing.of_run(planted.run)
    found = charts.points(planted.run, now)
    assert found is not None and len(found["x"]) == found["all"] == 48
    given = [now.classes[k] for k in found["given"]]
    label = {r["path"]: r["given_label"] for r in planted.run.scores.to_pylist()}
    assert [label[p] for p in found["path"]] == given
    assert sum(found["issue"]) == len(planted.wrong)
    assert all(0 <= v <= 1 for v in found["x"] + found["y"])
    # with too little room, half of it is kept for the suspects
    monkeypatch.setattr(charts, "POINTS", 20)
    cut = charts.points(planted.run, now)
    assert cut is not None and len(cut["x"]) == 20 and sum(cut["issue"]) >= 10


def test_main_directions_are_those_of_the_largest_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 5)) * np.array([1, 9, 1, 4, 1])
    places = charts._main_directions(features)
    for column, axis in ((0, 1), (1, 3)):
        assert abs(np.corrcoef(places[:, column], features[:, axis])[0, 1]) > 0.95
    assert charts._main_directions(features[:, :1]).shape == (200, 2)


def test_classes_are_in_the_order_of_what_is_shown(planted: Any) -> None:
    noise = planted.run.noise
    names = list(noise["per_class"])
    noise["per_class"] = dict(zip(names, (0.1, 0.4, 0.3, 0.2), strict=True))
    noise.update(low=0.1, high=0.2)
    # of the second too little is known to name its number, which is the largest
    spans = ((0.05, 0.2), (0.0, 1.0), (0.2, 0.4), (0.1, 0.3))
    noise["class_intervals"] = dict(zip(names, spans, strict=True))
    rows = charts.classes(planted.run)
    assert [row["name"] for row in rows] == [names[k] for k in (2, 3, 0, 1)]
    assert rows[-1]["rate"] is None and rows[-1]["wrong"] is None
