"""Every method on texts: it judges them, or says in one line that it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve import registry
from labelsieve.errors import OptionError
from labelsieve.pipeline import demo
from labelsieve.pipeline.scan import scan

# these set the pace of others and are tested with them
METHODS = [
    name
    for name in registry.names("methods")
    if "single" in registry.constants("methods", name, ("JUDGES",))["judges"]
]
# Those that look at class names, to which the embedded model hardly listens.
BY_NAMES = {"zero-shot", "surrogate", "lemon", "transport", "clip-cleaner", "capro"}


@pytest.fixture(scope="module")
def notes() -> dict[str, Any]:
    return demo.texts().slice(0, 120).to_pydict()


@pytest.mark.parametrize("name", METHODS)
def test_texts_are_judged_or_refused(
    name: str, notes: dict[str, Any], tmp_path: Path
) -> None:
    wanted = {"output": tmp_path / "run", "method": name, "model": "hashing"}
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    offers = registry.constants("methods", name, ("NEEDS", "WITHOUT_PIXELS"))
    if "pixels" in offers["needs"] and "without_pixels" not in offers:
        with pytest.raises(OptionError, match="and the data are texts"):
            scan(columns, **wanted)
        return
    run = scan(columns, **wanted)
    assert run.scores.num_rows == 120
    right = run.scores["p_clean"].drop_null().to_pylist()
    assert all(0 <= p <= 1 for p in right)
    assert name in BY_NAMES or len({round(p, 3) for p in right}) > 10


def test_training_on_pixels_is_refused(notes: dict[str, Any], tmp_path: Path) -> None:
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    wanted = {"output": tmp_path / "run", "method": "deft", "model": "hashing"}
    with pytest.raises(OptionError, match="Preset tuned of method deft trains"):
        scan(columns, preset="tuned", **wanted)
    with pytest.raises(OptionError, match="Setting epochs of method deft"):
        scan(columns, settings={"epochs": 3}, **wanted)


def test_the_default_weighs_votes_by_how_labels_arise(
    notes: dict[str, Any], tmp_path: Path
) -> None:
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    run = scan(columns, output=tmp_path / "run", model="hashing")
    command = run.record["command"]
    assert (command["method"], command["preset"]) == ("knn", "bayes")
    assert command["settings"]["bayes"] is True


def test_lists_of_texts_and_labels(notes: dict[str, Any], tmp_path: Path) -> None:
    labels = notes["planted_label"]
    run = scan(texts=notes["text"], labels=labels, output=tmp_path, model="hashing")
    assert run.scores.num_rows == 120
    with pytest.raises(OptionError, match=r"^texts need labels"):
        scan(texts=["a", "b"], output=tmp_path / "other")
    with pytest.raises(OptionError, match=r"^Give data, or texts"):
        scan(output=tmp_path / "other")
