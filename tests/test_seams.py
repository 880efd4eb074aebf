"""What another package can add without a change here: a storage, a kind of items, a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import toys.family
import toys.item
import toys.modality
import toys.source
import toys.writer

import labelsieve
from labelsieve import registry
from labelsieve.corrections import write_back
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.dataset import prepare
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError
from labelsieve.runs.decisions import open_decisions

TOYS: dict[tuple[str, str], ModuleType] = {
    ("data/sources", "notes"): toys.source,
    ("data/modalities", "words"): toys.modality,
    ("runs/items", "words"): toys.item,
    ("models/families", "toy"): toys.family,
    ("corrections/writers", "notes"): toys.writer,
}
WORDS = {
    "bird": "wing beak feather nest song egg",
    "boat": "sail mast hull anchor harbour oar",
    "bread": "flour oven crust yeast dough salt",
}
WRONG = (3, 25)  # lines that carry the label of another class


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toys, for one test."""
    monkeypatch.setattr(registry, "_registered", {})
    for (room, name), module in TOYS.items():
        registry.register(room, name, module)
    yield


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Sixty lines about three things, two of them with a wrong label."""
    rng = np.random.default_rng(0)
    labels = list(WORDS)
    lines = []
    for number in range(60):
        about = labels[number % 3]
        text = " ".join(rng.permutation(WORDS[about].split())[:4])
        wrong = number in WRONG
        lines.append(f"{labels[(number + wrong) % 3]}\t{text} {number}\n")
    path = tmp_path / "things.notes"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_a_storage_and_a_modality_from_outside_are_read(
    registered: None, notes: Path
) -> None:
    with notes.open("a") as file:
        file.write("bird\t\n\tno label\n")
    prepared = prepare(DataSpec(notes), toys.modality.Hashing(64))
    rows = {row["path"]: row for row in prepared.manifest.table.to_pylist()}
    assert len(rows) == 62
    assert rows["line 61"]["reason"] == "an empty text"
    assert rows["line 62"]["status"] == "unlabelled"
    assert prepared.manifest.notes == ["60 texts are read word by word"]
    dataset = prepared.dataset
    assert dataset.classes == ("bird", "boat", "bread") and len(dataset) == 60
    inputs = dataset.inputs(np.arange(60))
    assert inputs.shape == (60, 64) and (inputs.sum(1) == 5).all()
    for row, sample_id in enumerate(dataset.ids.to_pylist()):
        number = int(sample_id.partition("#")[0].removeprefix("line"))
        text = notes.read_text().splitlines()[number].partition("\t")[2]
        assert np.array_equal(inputs[row], toys.modality.Hashing(64)(text))
        label = rows[f"line {number + 1}"]["given_label"]
        assert dataset.classes[dataset.labels[row]] == label


def test_texts_are_scanned_listed_and_corrected(
    registered: None, notes: Path, tmp_path: Path
) -> None:
    choices: dict[str, Any] = {
        "method": "knn",
        "model": toys.family.NAME,
        "settings": {"neighbours": 9},
    }
    run = labelsieve.scan(notes, output=tmp_path / "run", **choices)
    suspects = run.scores.filter(run.scores["is_label_issue"])["path"].to_pylist()
    assert set(suspects) == {f"line {n + 1}" for n in WRONG}
    html = run.report.read_text(encoding="utf-8")
    assert "Suspicious sayings" in html and '"kind": "texts"' in html
    said = run._repr_html_()
    assert any(word in said for word in " ".join(WORDS.values()).split())
    # a finished run knows the same data again
    again = labelsieve.scan(str(notes), output=tmp_path / "run", **choices)
    assert again.folder == run.folder

    patch = plan(run, open_decisions(run), Policy("auto", min_confidence=0.0))
    assert patch["path"].to_pylist() == suspects
    spec = DataSpec(str(notes))
    listed = write_back.check(spec, patch)
    assert len(listed) == 2 and listed[0].startswith(f"{suspects[0]}: ")
    before = notes.read_text()
    write_back.copy(spec, patch, tmp_path / "copy.notes")
    assert notes.read_text() == before
    write_back.in_place(spec, patch)
    lines = notes.read_text().splitlines()
    for number in range(60):
        assert lines[number].partition("\t")[0] == list(WORDS)[number % 3]
    assert (tmp_path / "copy.notes").read_text() == notes.read_text()
    write_back.reverse(spec, patch)
    assert notes.read_text() == before


SINGLE_ALONE = [
    name
    for name in registry.names("methods")
    if registry.constants("methods", name, ("JUDGES",))["judges"] == (SINGLE,)
]


@pytest.mark.parametrize("method", SINGLE_ALONE)
def test_sets_of_labels_are_refused_by_what_judges_single_ones(
    method: str,
    registered: None,
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is written, in one sentence; a method that judges sets says so."""
    monkeypatch.setattr(toys.source.NotesSource, "labels_are", SET, raising=False)
    with pytest.raises(OptionError, match=r"^The data have a set of labels per image"):
        labelsieve.scan(
            notes, output=tmp_path / "run", method=method, model=toys.family.NAME
        )
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_taken_or_a_room_that_is_not_there_is_refused(
    registered: None,
) -> None:
    with pytest.raises(OptionError, match=r"^Modality 'images' exists already"):
        registry.register("data/modalities", "images", toys.modality)
    with pytest.raises(OptionError, match=r"^Room 'data/moods' is unknown"):
        registry.register("data/moods", "words", toys.modality)
