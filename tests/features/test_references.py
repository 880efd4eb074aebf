"""Agreement on pictures: whatever the tower is worth, the truth gives the same verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape
from sklearn.metrics import cohen_kappa_score

from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.spec import DataSpec
from labelsieve.estimation import agreement
from labelsieve.estimation.agreement import FITS, LITTLE, NOTHING, PARTLY, Agreement
from labelsieve.features import references
from labelsieve.features.task import Task
from labelsieve.models.load import preprocess_of
from labelsieve.pipeline.demo import WORDS
from labelsieve.pipeline.results import text_warnings


@pytest.fixture(scope="module")
def seen(own_cache: Path) -> Iterator[Callable[..., Dataset]]:
    preprocess = preprocess_of("tiny")

    def make(data: Any) -> Dataset:
        return prepare(DataSpec(data), preprocess).dataset

    yield make


def planted(
    digits: Any, names: list[str], rate: float = 0.2
) -> tuple[list[Any], list[str], dict[int, str]]:
    """Every third digit, a share with another name, and the true name of each row."""
    images, truth = digits[0][::3], digits[1][::3]
    rng = np.random.default_rng(0)
    given = np.where(
        rng.random(len(truth)) < rate,
        (truth + rng.integers(1, 10, len(truth))) % 10,
        truth,
    )
    return (
        list(images),
        [names[k] for k in given],
        {i: names[k] for i, k in enumerate(truth)},
    )


CASES = {
    "words": list(WORDS),
    "codes that say the digit": [f"c{k}" for k in range(10)],
    "codes": [f"c{(k + 3) % 10}" for k in range(10)],
}


@pytest.mark.parametrize("case", CASES)
def test_digits(
    case: str, digits: Any, seen: Callable[..., Dataset], tiny: Any
) -> None:
    images, labels, true_of = planted(digits, CASES[case])
    data = seen((images, labels))
    found = Task(data, tiny).agreement
    rows = [int(i.partition("#")[0].removeprefix("row")) for i in data.ids.to_pylist()]
    truth = np.array([data.classes.index(true_of[r]) for r in rows])
    text = Task(data, tiny).zero_shot().cosines.argmax(1)
    assert found.text_share == pytest.approx((text == data.labels).mean())
    known = {
        c: agreement.kappa((text == j) * 1, (truth == j) * 1, 2)[0]
        for j, c in enumerate(data.classes)
    }
    overall = agreement.kappa(text, truth, 10)[
        0
    ]  # neighbours know digits well, so half of theirs is about 0.45
    assert found.pictures_tell
    if case == "codes":  # a model that can read digits is misled by them
        assert found.verdict in (NOTHING, LITTLE)
        assert text_warnings(found, "deft")
    elif found.verdict in (FITS, PARTLY):
        assert overall > 0.3
        assert all(known[c] < 0.6 for c in found.unknown)
        assert all(known[c] > 0.15 for c in data.classes if c not in found.unknown)
    else:
        assert overall < 0.6


def test_measuring_is_bounded_and_seeded(
    digits: Any,
    seen: Callable[..., Dataset],
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels, _ = planted(digits, list(WORDS))
    data = seen((images, labels))
    monkeypatch.setattr(references, "SAMPLE", 100)
    first, again, other = (Task(data, tiny, seed).agreement for seed in (0, 0, 1))
    assert first.images == 100 and first == again != other


def test_a_probe_votes_where_text_does_not_fit(
    digits: Any,
    seen: Callable[..., Dataset],
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels, _ = planted(digits, CASES["codes"])
    data = seen((images, labels))
    votes = Task(data, tiny).reference_votes()
    assert list(votes) == ["text", "pictures"]
    assert all(
        p.shape == (len(images), 10) and np.allclose(p.sum(1), 1, atol=1e-4)
        for p in votes.values()
    )
    fits = Agreement(9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, True, FITS, (), {})
    monkeypatch.setattr(references, "measure", lambda *a: fits)
    assert list(Task(data, tiny).reference_votes()) == ["text"]


# --- in a scan


@pytest.mark.parametrize("method", ["zero-shot", "knn"])
def test_a_scan_tells(
    method: str, digits: Any, encode: Any, call: Callable[..., Any], tmp_path: Path
) -> None:
    images, labels, _ = planted(digits, CASES["codes"])
    for number, (image, label) in enumerate(zip(images[:240], labels, strict=False)):
        target = tmp_path / "data" / label / f"{number:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(image))
    words = (
        "scan",
        tmp_path / "data",
        "--method",
        method,
        "-o",
        tmp_path / "run",
        "-q",
    )
    called = call(*words, "--json")
    assert called.code == 0, called.err
    record = called.json()
    told = record["agreement"]
    assert told["verdict"] in (NOTHING, LITTLE) and told["images"] == 240
    assert any("needs no text: " in w for w in record["warnings"]) == (
        method == "zero-shot"
    )
    assert escape(told["sentence"]) in (tmp_path / "run" / "report.html").read_text(
        encoding="utf-8"
    )
    shown = call(*words).out
    assert told["sentence"] in shown and ("Text is the wrong tool" in shown) == (
        method == "zero-shot"
    )


def photos() -> Path:
    folder = Path(
        os.environ.get("LABELSIEVE_PHOTOS")
        or Path(__file__).parents[2] / "shared" / "data" / "photos"
    )
    if not folder.is_dir():
        pytest.skip(
            f"no photos at '{folder}'; set LABELSIEVE_PHOTOS to a folder with one folder per class"
        )
    return folder


def test_photos(seen: Callable[..., Dataset], tiny: Any) -> None:
    """Labels of a real folder: the verdict follows from how many text and neighbours share."""
    data = seen(photos())
    found = Task(data, tiny).agreement
    text = Task(data, tiny).zero_shot().cosines.argmax(1)
    value, error = (
        cohen_kappa_score(text, data.labels),
        0.03,
    )  # of kappa, with some hundred images
    assert found.text == pytest.approx(value) and found.images == len(data)
    if value < error:
        assert found.verdict == NOTHING and found.unknown == data.classes
        assert "Text is the wrong tool" in text_warnings(found, "deft")[0]
    elif value > found.pictures + error:
        assert found.verdict in (FITS, PARTLY)
