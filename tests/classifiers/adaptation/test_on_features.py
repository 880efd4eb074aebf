"""Examples of a step on features: trusted pictures, and never the one that is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve.classifiers.adaptation.on_features import OnFeatures
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.train import train
from labelsieve.features.in_context import Settings
from labelsieve.runs.run import Run

CPU = {"device": "cpu", "precision": "float32"}


@pytest.fixture(scope="module")
def trained(
    planted_base: Path, random_clip: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run and a classifier of its classes."""
    folder = tmp_path_factory.mktemp("features") / "model"
    how = {"epochs": 0, "batch_size": 16}
    student = str(random_clip())
    train(planted_base / "run", student=student, output=folder, settings=how, **CPU)
    return planted_base / "run", folder


def test_examples_are_trusted_and_never_the_picture_itself(
    trained: tuple[Path, Path], planted_base: Path
) -> None:
    run = Run(trained[0])
    opened = Classifier.from_pretrained(trained[1], **CPU)
    asked = OnFeatures(opened, opened.backbone.linear, run, Settings(shots=3))
    pool = asked.examples
    rows = {r["sample_id"]: r for r in run.judged.to_pylist()}
    assert pool.ids and not any(rows[i]["is_label_issue"] for i in pool.ids)
    for number, own in pool.rows.items():
        given = {rows[pool.ids[row]]["given_label"] for row in own}
        assert given == {opened.classes[number]}
    # asked about an example, it is left out
    key, number = pool.ids[0], opened.classes.index(rows[pool.ids[0]]["given_label"])
    seen = []
    pool.shots = len(pool.rows[number])  # all of them, were it not for itself
    features, labels = asked.of(key.rpartition("#")[2], [number])
    assert labels.tolist() == [[number] * pool.shots]
    seen.append(features[0])
    own = asked._features[0]
    assert not any((features == own).all(1).any() for features in seen)
    # for another picture it is drawn
    drawn = [asked.of("another", [number])[0][0]]
    assert any((features == own).all(1).any() for features in drawn)
