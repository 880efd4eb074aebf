"""Auto takes the method that the measures call for, runs it as it is, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from labelsieve.estimation.agreement import FITS, LITTLE, NOTHING, PARTLY
from labelsieve.methods import aum, auto, deft


@pytest.fixture
def named(plant: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Planted patterns where class name k means the prototype `meanings[k]`, -1 none."""

    def make(meanings: list[int]) -> Any:
        planted = plant(each=40)
        known = planted.encoder.image_tower.words[1:].numpy()
        none = np.random.default_rng(7).standard_normal(known.shape)
        words = np.stack(
            [
                none[k] / np.linalg.norm(none[k]) if m < 0 else known[m]
                for k, m in enumerate(meanings)
            ]
        )
        other = planted.speaking(type(planted.encoder)(words), str(meanings))
        return other.elsewhere(tmp_path / "".join(map(str, meanings)))

    return make


@pytest.mark.parametrize(
    ("meanings", "verdicts", "chosen"),
    [
        ([0, 1, 2, 3], [FITS], "deft"),
        ([1, 2, 3, 0], [NOTHING], "aum"),  # names of other classes
        ([-1, -1, -1, -1], [NOTHING, LITTLE], "aum"),  # codes
        ([0, 1, 2, -1], [PARTLY], "aum"),  # all but one
    ],
)
def test_the_choice_follows_what_names_mean(
    named: Callable[..., Any], meanings: list[int], verdicts: list[str], chosen: str
) -> None:
    planted = named(meanings)
    assert planted.task.agreement.verdict in verdicts
    found = planted.detect(auto)
    assert (
        found.facts["chosen"] == chosen
        and f"Method {chosen} was taken" in found.facts["why"]
    )
    room, settings = {
        "deft": (deft, deft.Settings(**deft.PRESETS["default"])),
        "aum": (aum, aum.Settings(flags="estimated")),
    }[chosen]
    own = room.detect(planted.elsewhere(planted.task.folder / "own").task, settings)
    np.testing.assert_array_equal(found.p_clean, own.p_clean)
    np.testing.assert_array_equal(found.flagged, own.flagged)
    assert own.facts.items() <= found.facts.items()
    assert planted.auroc(found.p_clean) > 0.97, "names that mislead do no harm"


def test_what_deft_learned_judges_other_images(named: Callable[..., Any]) -> None:
    planted = named([0, 1, 2, 3])
    found = planted.detect(auto, preset="fast")
    again = auto.judge(planted.task, auto.Settings(preset="fast"), found.learned)
    # by its probes of all images, where the scan judged each out of fold
    assert np.abs(again.p_clean - found.p_clean).max() < 0.15
    assert (again.flagged == found.flagged).mean() > 0.95
    assert "contexts" not in found.learned, "DeFT's own preset, which trains nothing"


def test_the_better_reference_decides_where_some_classes_are_unknown(
    named: Callable[..., Any],
) -> None:
    planted = named([0, 1, 2, -1])
    found = planted.task.agreement
    assert found.unknown == ("drum",)
    assert auto.choose(found)[0] == "aum"
    assert auto.choose(replace(found, text=found.pictures))[0] == "deft"
    assert auto.choose(replace(found, verdict=LITTLE, text=found.pictures))[0] == "aum"


@pytest.mark.parametrize("names", ["words", "codes"])
def test_scoring_with_a_run_of_auto(
    names: str, digits: Any, encode: Any, call: Callable[..., Any], tmp_path: Path
) -> None:
    """Works where a detector was learned; else says that there is none."""
    images, truth = digits
    for row in np.flatnonzero(truth < 4)[:160]:
        label = str(truth[row]) if names == "words" else f"c{(truth[row] + 1) % 4}"
        target = tmp_path / "data" / label / f"{row:04d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(images[row]))
    run = tmp_path / "run"
    called = call(
        "scan",
        tmp_path / "data",
        "--method",
        "auto",
        "--fast",
        "-o",
        run,
        "--json",
        "-q",
    )
    assert called.code == 0, called.err
    facts = called.json()["method_facts"]
    if names == "codes":  # what limits the verdict stands in the report
        assert escape(facts["why"]) in (run / "report.html").read_text("utf-8")
    assert facts["chosen"] == "aum" or names == "words"
    scored = call("score", run, tmp_path / "data", "-o", tmp_path / "more.csv", "-q")
    if facts["chosen"] == "deft":
        assert scored.code == 0, scored.err
    else:
        assert (
            scored.code == 2
            and "has no detector" in scored.err
            and scored.err.count("\n") == 1
        )
