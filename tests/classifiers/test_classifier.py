"""Asking a saved model: probabilities, tables, figures, and how it travels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import labelsieve
from labelsieve.classifiers import backbone
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.predict import evaluate, predict
from labelsieve.errors import DataError, LabelsieveError, OptionError
from labelsieve.models import encoder

CLASSES = ["zero", "one", "two", "three"]


@pytest.fixture(scope="module")
def saved(
    random_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    student = backbone.build(
        str(random_clip()), CLASSES, seed=3, device=torch.device("cpu")
    )
    with torch.no_grad():
        student.model.classifier.weight.mul_(20)  # answers that differ
    folder = tmp_path_factory.mktemp("model")
    Classifier(student, CLASSES, "# a card\n").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def opened(saved: Path) -> Classifier:
    return Classifier.from_pretrained(saved, device="cpu", precision="float32")


def naive(opened: Classifier, picture: Image.Image) -> np.ndarray:
    """Softmax of the student's logits of one picture."""
    pixels = torch.from_numpy(opened.preprocess(picture.convert("RGB")).copy()).permute(
        2, 0, 1
    )[None]
    with torch.no_grad():
        logits = backbone.logits_of(
            opened.student.model,
            encoder.normalise(pixels, opened.preprocess, opened.device),
        )
    values = np.exp(logits[0].double().numpy())
    return values / values.sum()


def test_pictures_of_every_kind(
    opened: Classifier, digits: Any, encode: Any, tmp_path: Path
) -> None:
    images = digits[0][:4]
    (tmp_path / "a.png").write_bytes(encode(images[0]))
    given = [
        tmp_path / "a.png",
        encode(images[1]),
        images[2],
        b"no picture",
        Image.fromarray(images[3]),
    ]
    probs = opened.predict_proba(given, batch_size=2)
    for row, number in ((0, 0), (1, 1), (2, 2), (4, 3)):
        assert probs[row] == pytest.approx(
            naive(opened, Image.fromarray(images[number])), abs=1e-5
        )
    assert np.isnan(probs[3]).all() and probs.dtype == np.float32
    labels = opened.predict(given)
    assert labels[3] is None
    assert [labels[i] for i in (0, 1, 2, 4)] == [
        CLASSES[probs[i].argmax()] for i in (0, 1, 2, 4)
    ]
    assert opened.predict([]) == []
    with pytest.raises(OptionError, match=r"takes a list of pictures"):
        opened.predict("a.png")  # type: ignore[arg-type]


def test_saved_and_opened_again_is_the_same(
    opened: Classifier, digits: Any, tmp_path: Path
) -> None:
    opened.save_pretrained(tmp_path)
    again = labelsieve.Classifier.from_pretrained(
        tmp_path, device="cpu", precision="float32"
    )
    assert again.card == "# a card\n" and again.classes == CLASSES
    assert np.array_equal(
        again.predict_proba(digits[0][:8]), opened.predict_proba(digits[0][:8])
    )


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
    assert rows.keys() == source.keys()
    assert done.json() == {
        "images": len(source),
        "classified": len(source) - 2,
        "unreadable": 2,
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "nowhere", "{data}"], "Model 'nowhere' cannot be loaded"),
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


def test_too_little_memory_says_what_helps(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(pixels: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(opened.student.model, "forward", full)
    with pytest.raises(LabelsieveError, match="smaller --batch-size"):
        opened.predict_proba([np.zeros((8, 8), dtype=np.uint8)])


def test_too_little_memory_of_the_machine_says_so_too(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        opened.student.model, "forward", lambda pixels: torch.empty(2**55)
    )
    with pytest.raises(
        LabelsieveError,
        match=r"memory of the device is too small: .*smaller --batch-size",
    ):
        opened.predict_proba([np.zeros((8, 8), dtype=np.uint8)])


def test_only_the_model_is_pushed(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's two calls are taken down; everything before them is real."""
    import huggingface_hub

    asked: dict[str, Any] = {}

    def upload(**options: Any) -> str:
        asked["files"] = sorted(p.name for p in Path(options["folder_path"]).iterdir())
        asked["repo"] = options["repo_id"]
        return "address"

    monkeypatch.setattr(
        huggingface_hub,
        "create_repo",
        lambda repo, **options: asked.update(created=(repo, options)),
    )
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    assert opened.push_to_hub("me/mine", token="secret") == "address"
    assert asked["created"] == (
        "me/mine",
        {"private": True, "token": "secret", "exist_ok": True},
    )
    assert asked["files"] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_a_push_without_network_is_one_line(opened: Classifier) -> None:
    with pytest.raises(LabelsieveError, match="'me/mine' cannot be uploaded") as caught:
        opened.push_to_hub("me/mine")
    assert "\n" not in str(caught.value)
