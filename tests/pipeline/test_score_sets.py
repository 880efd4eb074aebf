"""Sets of other pictures are judged with what a scan has learned, however few they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.sets import mosaics_of_digits

import labelsieve as ls
from labelsieve.errors import LabelsieveError


@pytest.fixture(scope="module")
def scanned(
    digits: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ls.Run, list[Any], list[Any]]:
    images, _, given = mosaics_of_digits(digits, 80)
    folder = tmp_path_factory.mktemp("sets") / "run"
    words: dict[str, Any] = {"model": "tiny", "settings": {"epochs": 2, "texts": 200}}
    run = ls.scan(list(images), labels=given, output=folder, **words)
    return run, list(images), given


def test_the_scan_is_had_again_and_a_picture_is_judged_alone_as_among_others(
    scanned: Any,
) -> None:
    run, images, given = scanned
    before = {r["sample_id"]: r for r in run.scores.to_pylist()}
    again = ls.score(run, (images, given)).to_pylist()
    assert len(again) == len(before)
    for row in again:
        known = before[row["sample_id"]]
        assert row["p_clean"] == pytest.approx(known["p_clean"], abs=1e-6)
        assert row["given_label"] == known["given_label"]
    # features are kept in half precision, and products of one row round otherwise
    alone = ls.score(run, (images[5:6], given[5:6])).to_pylist()[0]
    (same,) = (r for r in again if r["path"] == "row 5")
    assert alone["p_clean"] == pytest.approx(same["p_clean"], abs=1e-3)


def test_a_class_that_was_not_scanned_is_refused(scanned: Any) -> None:
    run, images, _ = scanned
    with pytest.raises(LabelsieveError, match="nine"):
        ls.score(run, (images[:2], [{"nine"}, {"one"}]))


def test_a_run_of_single_labels_refuses_sets(
    scanned: Any, planted_base: Path, digits: Any, tmp_path: Path
) -> None:
    run, images, given = scanned
    rows = np.flatnonzero(digits[1] < 2)[:40]
    names = [str(k) for k in digits[1][rows]]
    single = ls.scan(
        list(digits[0][rows]),
        labels=names,
        output=tmp_path / "r",
        preset="fast",
        model="tiny",
    )
    with pytest.raises(LabelsieveError):
        ls.score(single, (images[:2], given[:2]))
    assert run.kind == "set"
