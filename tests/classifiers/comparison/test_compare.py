from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.comparison.compare import compare, in_words
from labelsieve.classifiers.predict import evaluate
from labelsieve.errors import DataError, OptionError
from labelsieve.tables import SAMPLES

CLASSES = ["zero", "one", "two", "three"]


@pytest.fixture(scope="module")
def rivals(
    random_clip: Any, digit_table: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Path]:
    """Two classifiers that never learned anything, and a table of labels that one of them gives."""
    from labelsieve.classifiers import backbone

    folder = tmp_path_factory.mktemp("rivals")
    paths = []
    for seed in (3, 4):
        built = backbone.build(
            str(random_clip()), CLASSES, seed=seed, device=torch.device("cpu")
        )
        with torch.no_grad():
            built.model.classifier.weight.mul_(20)
        model = Classifier(built, CLASSES, "# a card\n")
        model.save_pretrained(folder / str(seed))
        paths.append(folder / str(seed))
    table = pq.read_table(digit_table)
    rows = [r for r in table.to_pylist() if r["id"] not in ("broken", "empty")]
    first = Classifier.from_pretrained(paths[0], device="cpu", precision="float32")
    probs = first.predict_proba([r["image"] for r in rows])
    said = [CLASSES[k] for k in probs.argmax(1)]
    # one label in five is another one, spread evenly
    rng = np.random.default_rng(0)
    for i in range(0, len(said), 5):
        said[i] = CLASSES[(CLASSES.index(said[i]) + int(rng.integers(1, 4))) % 4]
    labelled = pa.table(
        {
            "id": [r["id"] for r in rows],
            "image": pa.array([r["image"] for r in rows], pa.binary()),
            "label": said,
        }
    )
    pq.write_table(labelled, folder / "labels.parquet")
    return paths[0], paths[1], folder / "labels.parquet"


WORDS = ["--id-column", "id", "--device", "cpu", "--precision", "float32"]


def test_the_better_one_is_named_and_the_difference_is_real(
    rivals: tuple[Path, Path, Path], call: Any
) -> None:
    good, bad, data = rivals
    done = call("compare", good, bad, data, *WORDS, "--noise-rate", 0.2, "--json")
    assert done.code == 0, done.err
    facts = done.json()
    n = len(pq.read_table(data))
    share = 1 - -(-n // 5) / n
    first, second = facts["models"]
    assert facts["images"] == n and facts["best"] == str(good)
    assert first["noisy_accuracy"] == pytest.approx(share)
    assert first["clean_low"] <= first["clean"] <= first["clean_high"] == 1
    assert first["clean"] > 0.95 > second["clean_high"]
    (pair,) = facts["differences"]
    wanted = first["noisy_accuracy"] - second["noisy_accuracy"]
    assert pair["real"] and pair["difference"] == pytest.approx(wanted)
    told = call("compare", good, bad, data, *WORDS)
    assert "a real difference" in told.out and "--noise-rate" in told.out


def test_one_that_agrees_with_more_than_can_be_right_is_named(
    rivals: tuple[Path, Path, Path],
) -> None:
    good, bad, data = rivals
    facts = compare([good, bad], data, noise_rate=0.6, device="cpu")
    assert any("repeats errors" in w and str(good) in w for w in facts["warnings"])
    facts = compare([good, bad], data, noise_rate=0.75, device="cpu")
    assert facts["models"][0]["clean"] is None
    assert any("as likely as the right one" in w for w in facts["warnings"])


def test_what_a_model_was_trained_on_says_nothing_about_it(
    rivals: tuple[Path, Path, Path], call: Any
) -> None:
    good, bad, data = rivals
    everything = compare([good, bad], data, device="cpu")["images"]
    ids = compare_ids(good, data)
    for count in (5, everything):
        rows = [
            {"sample_id": f"other{i[i.index('#') :]}", "part": "train"} for i in ids
        ]
        samples = pa.Table.from_pylist(rows[:count], schema=SAMPLES)
        pq.write_table(samples, bad / "samples.parquet")
        try:
            if count < everything:
                facts = compare([good, bad], data, device="cpu")
                assert facts["images"] == everything - count
                assert facts["trained_on"] == count and facts["noun"] == "image"
                assert f"{count} more were trained on" in " ".join(in_words(facts))
                told = call("evaluate", bad, data, *WORDS, "-q").out
                assert f"! {count} of these were trained on" in told
                assert evaluate(good, data, device="cpu")["trained_on"] == 0
            else:
                with pytest.raises(DataError, match="trained on all"):
                    compare([good, bad], data, device="cpu")
        finally:
            (bad / "samples.parquet").unlink()


def compare_ids(model: Path, data: Path) -> list[str]:
    from labelsieve.classifiers.predict import predict

    return predict(model, data, device="cpu")["sample_id"].to_pylist()


def test_what_cannot_be_compared_is_refused(
    rivals: tuple[Path, Path, Path], call: Any
) -> None:
    good, bad, data = rivals
    with pytest.raises(OptionError, match="One model"):
        compare([good], data)
    with pytest.raises(OptionError, match="is no share"):
        compare([good, bad], data, noise_rate=1.5, device="cpu")
    done = call("compare", good, data)
    assert done.code != 0 and "Two models and the data" in done.err
