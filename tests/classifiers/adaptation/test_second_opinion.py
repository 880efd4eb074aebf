"""Second opinions of a classifier: the same for each picture alone, from trusted examples only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelsieve.classifiers.adaptation import second_opinion
from labelsieve.classifiers.predict import predict
from labelsieve.classifiers.train import train
from labelsieve.errors import OptionError
from labelsieve.features.in_context import Settings

CPU = {"device": "cpu", "precision": "float32"}
SETTINGS = {"views": 5, "shots": 2, "lr": 0.01}


@pytest.fixture(scope="module")
def trained(
    planted_base: Path, random_clip: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A run and a classifier of its classes."""
    folder = tmp_path_factory.mktemp("second") / "model"
    how = {"epochs": 0, "batch_size": 16}
    student = str(random_clip())
    train(planted_base / "run", student=student, output=folder, settings=how, **CPU)
    return planted_base / "run", folder


def test_answers_do_not_depend_on_other_pictures(
    trained: tuple[Path, Path], digits: Any, tmp_path: Path
) -> None:
    run, model = trained
    pictures = list(digits[0][:6])
    words = {"adapt": "in-context", "context": run, "settings": SETTINGS, **CPU}
    found = predict(model, pictures, **words)
    plain = predict(model, pictures, **CPU)
    assert found["before"].to_pylist() == plain["label"].to_pylist()
    assert not np.allclose(found["probability"], plain["probability"])
    for row in found.to_pylist():
        number = int(row["sample_id"].partition("#")[0].removeprefix("row"))
        alone = predict(model, [pictures[number]], **words)
        assert alone["label"][0].as_py() == row["label"]
        assert alone["probability"][0].as_py() == pytest.approx(row["probability"])
    again = predict(model, pictures, **words)
    assert again.equals(found)


def test_with_nothing_to_learn_it_is_the_mean_of_views_and_one_view_is_the_picture(
    trained: tuple[Path, Path], digits: Any
) -> None:
    run, model = trained
    pictures = list(digits[0][:4])
    still = {"views": 1, "lr": 0.0, "shots": 0}
    words = {"adapt": "in-context", "context": run, "settings": still, **CPU}
    found = predict(model, pictures, **words)
    plain = predict(model, pictures, **CPU)
    assert found["label"].equals(plain["label"])
    np.testing.assert_allclose(found["probability"], plain["probability"], atol=1e-6)


def test_the_cost_is_said_before_the_rest_is_computed(
    trained: tuple[Path, Path],
    digits: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    real = second_opinion._one

    def counted(*words: Any) -> Any:
        done.append("picture")
        return real(*words)

    monkeypatch.setattr(second_opinion, "_one", counted)
    monkeypatch.setattr(second_opinion.progress, "note", done.append)
    words = {"adapt": "in-context", "context": trained[0], "settings": SETTINGS}
    predict(trained[1], list(digits[0][:3]), **words, **CPU)
    assert done[0] == "picture" and "s a picture (5 views): 3 pictures" in done[1]
    assert done[2:] == ["picture", "picture"]


def test_what_cannot_be_is_refused_in_one_line(
    trained: tuple[Path, Path], digits: Any, tmp_path: Path, call: Any
) -> None:
    run, model = trained
    pictures = list(digits[0][:2])
    for words, told in (
        ({"adapt": "in-context"}, "needs examples"),
        ({"adapt": "in-context-tokens"}, "needs examples"),
        ({"adapt": "tpt", "context": run}, "in-context"),
        ({"context": run}, "are settings of"),
        ({"adapt": "in-context", "context": run, "settings": {"view": 3}}, "view"),
    ):
        with pytest.raises(OptionError, match=told):
            predict(model, pictures, **words, **CPU)
    out = tmp_path / "p.parquet"
    data = next(p for p in (run.parent / "data").rglob("*.png")).parent
    done = call(
        *("predict", model, data, "-o", out, "--adapt", "in-context"),
        *("--context", run, "--set", "views=3", "--set", "shots=1", "--device", "cpu"),
    )
    assert done.code == 0, done.err
    assert "before" in pq.read_table(out).column_names
    assert Settings().views == 64
