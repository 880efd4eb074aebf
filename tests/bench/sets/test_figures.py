"""Figures of sets in the bench are those of a run, with intervals around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from fixtures.sets import mosaics_of_digits

import labelsieve as ls
from labelsieve.bench import plan
from labelsieve.bench.material import material
from labelsieve.bench.plan import Data, Noise
from labelsieve.bench.results import RESULTS
from labelsieve.bench.sets import figures


def test_a_run_gives_a_row_of_the_results(digits: Any, tmp_path: Path) -> None:
    images, true, given = mosaics_of_digits(digits, 40)
    columns = {
        "image": list(images),
        "label": [sorted(labels) for labels in given],
        "truth": [sorted(labels) for labels in true],
    }
    run = ls.scan(
        ls.load(columns, truth_column="truth"),
        output=tmp_path / "run",
        method="zero-shot",
    )
    row = figures.of(run, 0)
    assert set(row) == set(figures.COLUMNS) <= set(RESULTS.names)
    for name in figures.NAMES.values():
        assert row[name] is None or 0 <= row[name] <= 1
    assert row["map_low"] <= row["map"] <= row["map_high"]
    assert row["map"] == run.record["set_quality"]["map"]


def test_material_makes_mosaics_of_embedded_pictures(tmp_path: Path) -> None:
    job = {
        "data": {"name": "digits", "embedded": "digits", "mosaics": 12},
        "noise": vars(Noise("sets", 0.2, added=0.1)),
        "seed": 0,
        "data_root": str(tmp_path),
    }
    made = material(job, tmp_path, None)["spec"]
    table = pq.read_table(made["data"])
    assert len(table) == 12 and made["label_column"] == "given_label"
    assert Data(**job["data"]).mosaics == 12


def test_mosaics_have_errors_of_sets_alone(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        'tower = [{ name = "tiny" }]\nmethod = [{ name = "knn" }]\n'
        '[[data]]\nname = "d"\nembedded = "digits"\nmosaics = 5\n'
        'noise = [{ kind = "sets", rate = 0.1, added = 0.05 }]\n'
    )
    (data,) = plan.read(str(config)).data
    assert data.noise[0].added == 0.05
    for wrong in ('kind = "symmetric", rate = 0.1', 'kind = "sets"'):
        text = config.read_text().replace(
            'kind = "sets", rate = 0.1, added = 0.05', wrong
        )
        other = tmp_path / "other.toml"
        other.write_text(text)
        try:
            plan.read(str(other))
        except ls.LabelsieveError as error:
            assert "sets" in str(error)
        else:
            raise AssertionError(wrong)
