"""Tables of predictions and figures of a trained classifier on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.predict import evaluate, predict
from labelsieve.errors import DataError, OptionError

CLASSES = ["zero", "one", "two", "three"]


def test_every_row_of_a_table_gets_an_answer(
    opened: Classifier, saved: Path, digit_table: Path, call: Any, tmp_path: Path
) -> None:
    """Joined by id; what cannot be read says why; labels are not looked at."""
    source = {row["id"]: row["image"] for row in pq.read_table(digit_table).to_pylist()}
    words = [
        "--id-column",
        "id",
        "--top-k",
        3,
        "--batch-size",
        7,
        "--device",
        "cpu",
        "--precision",
        "float32",
        "--json",
        "-q",
    ]
    done = call("predict", saved, digit_table, "-o", tmp_path / "p.parquet", *words)
    assert done.code == 0, done.err
    rows = {
        r["sample_id"].rpartition("#")[0]: r
        for r in pq.read_table(tmp_path / "p.parquet").to_pylist()
    }
    # in the order of the data, by the names that the data have for them
    assert [r["id"] for r in rows.values()] == list(rows) == list(source)
    assert done.json() == {
        "images": len(source),
        "classified": len(source) - 2,
        "unreadable": 2,
        "noun": "image",
        "file": str(tmp_path / "p.parquet"),
    }
    for key, row in rows.items():
        if key in ("broken", "empty"):
            assert row["label"] is None and row["probability_3"] is None
            assert row["status"] == "corrupt" and row["reason"]
            continue
        wanted = opened.predict_proba([source[key]])[0]
        order = np.argsort(-wanted)
        assert [row["label"], row["label_2"], row["label_3"]] == [
            CLASSES[k] for k in order[:3]
        ]
        assert [
            row["probability"],
            row["probability_2"],
            row["probability_3"],
        ] == pytest.approx(wanted[order[:3]], abs=1e-5)
        assert row["status"] == "ok" and row["reason"] == "" and "label_4" not in row
    assert (
        call("predict", saved, digit_table, "-o", tmp_path / "p.csv", *words).code == 0
    )
    table = pacsv.read_csv(tmp_path / "p.csv")
    assert table.column_names == list(next(iter(rows.values()))) and len(table) == len(
        rows
    )


def test_pictures_without_classes(
    opened: Classifier, digits: Any, encode: Any, tmp_path: Path
) -> None:
    """A flat folder, a folder of folders, a table without labels, and a list."""
    for number, name in enumerate(("b.png", "deep/er/a.png", ".hidden.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encode(digits[0][number]))
    wanted = opened.predict(list(digits[0][:2]))
    table = predict(opened, tmp_path / "in", top_k=9)
    assert dict(
        zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)
    ) == {
        "b.png": wanted[0],
        "deep/er/a.png": wanted[1],
    }
    assert sum(
        table[c][0].as_py() for c in table.column_names if c.startswith("probability")
    ) == pytest.approx(1, abs=1e-5)
    (tmp_path / "list.csv").write_text("file\nin/b.png\nin/deep/er/a.png\n")
    assert predict(opened, tmp_path / "list.csv")["label"].to_pylist() == wanted
    assert predict(opened, list(digits[0][:2]))["label"].to_pylist() == wanted
    # the same picture again waits for the first one, and keeps its place all the same
    twice = [digits[0][n] for n in (1, 0, 1, 0, 0, 1)]
    again = predict(opened, twice)
    assert again["id"].to_pylist() == [f"row{n}" for n in range(6)]
    assert again["label"].to_pylist() == opened.predict(twice)


def test_evaluate(
    opened: Classifier, saved: Path, digit_table: Path, call: Any
) -> None:
    rows = [
        r
        for r in pq.read_table(digit_table).to_pylist()
        if r["id"] not in ("broken", "empty")
    ]
    probs = opened.predict_proba([r["image"] for r in rows]).astype(np.float64)
    truth = np.array([CLASSES.index(r["truth"]) for r in rows])
    answers, confidence = probs.argmax(1), probs.max(1)
    words = [
        "--truth-column",
        "truth",
        "--id-column",
        "id",
        "--device",
        "cpu",
        "--precision",
        "float32",
        "-q",
    ]
    done = call("evaluate", saved, digit_table, *words, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert (found["images"], found["unreadable"], found["classes"]) == (
        len(rows),
        2,
        CLASSES,
    )
    assert found["accuracy"] == pytest.approx((answers == truth).mean())
    assert found["per_class"] == pytest.approx(
        [(answers == k)[truth == k].mean() for k in range(4)]
    )
    assert found["confusion"] == [
        [int(((truth == i) & (answers == j)).sum()) for j in range(4)] for i in range(4)
    ]
    gap = 0.0
    for j in range(15):
        box = (confidence >= j / 15) & (
            confidence < (j + 1) / 15 if j < 14 else confidence <= 1
        )
        gap += abs((answers == truth)[box].sum() - confidence[box].sum()) / len(rows)
    assert found["calibration_error"] == pytest.approx(gap, abs=1e-6)
    shown = call("evaluate", saved, digit_table, *words).out
    assert f"Accuracy {found['accuracy']:.4f}" in shown and "three" in shown


def test_labels_the_model_does_not_know(opened: Classifier, digit_folder: Path) -> None:
    (digit_folder / "zero").rename(digit_folder / "zeroo")
    with pytest.raises(
        DataError,
        match=r"Label 'zeroo' is unknown.*Did you mean 'zero'\? The model knows only",
    ):
        evaluate(opened, digit_folder)


def test_a_missing_column_of_truth_is_called_so(
    saved: Path, opened: Classifier, digit_table: Path, call: Any
) -> None:
    done = call("evaluate", saved, digit_table, "--truth-column", "trust", "-q")
    assert done.code == 2 and "--truth-column" in done.err
    assert "--label-column" not in done.err
    frame = {"image": [b"1"], "label": ["zero"]}
    with pytest.raises(DataError, match="truth_column") as caught:
        evaluate(opened, frame, truth_column="trust")
    assert "label_column" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "nowhere", "{data}"], "Model 'nowhere' is not on this machine"),
        (["predict", "{model}", "nowhere"], "'nowhere' does not exist"),
        (
            ["predict", "{model}", "{data}", "-o", "p.txt"],
            "must end in .parquet or .csv",
        ),
        (["predict", "{model}", "{data}", "--top-k", "0"], "--top-k 0"),
        (
            ["predict", "{model}", "{data}", "--device", "abacus"],
            "--device 'abacus' is not available",
        ),
        (
            ["predict", "{model}", "{data}", "--image-column", "x"],
            "--image-column does not apply to a folder",
        ),
        (
            ["evaluate", "{model}", "{data}", "--precision", "half"],
            "--precision 'half' is unknown",
        ),
        (["evaluate", "{model}", "{empty}"], "no class folders"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    message: str,
    saved: Path,
    digit_folder: Path,
    tmp_path: Path,
    call: Any,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    found = call(
        *(
            w.format(model=saved, data=digit_folder, empty=tmp_path / "empty")
            for w in words
        )
    )
    assert found.code == 2 and message in found.err and found.err.count("\n") == 1, (
        found.err
    )


def test_the_data_are_not_written_over(opened: Classifier, digit_table: Path) -> None:
    before = digit_table.read_bytes()
    with pytest.raises(OptionError, match="holds the data"):
        predict(opened, digit_table, output=digit_table)
    assert digit_table.read_bytes() == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_same_command_again_replaces_its_own_table(
    opened: Classifier, digit_table: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"answers{suffix}"
    predict(opened, digit_table, output=output)
    first = output.read_bytes()
    predict(opened, digit_table, output=output)
    assert output.read_bytes() == first
    # also where fewer classes are named
    predict(opened, digit_table, output=output, top_k=1)
    assert output.read_bytes() != first
