"""Encoders that read, with a head: what it is given, what is saved, the whole way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.readers import LONG, save_bert, save_table
from torch.testing import assert_close

import labelsieve
from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.backbone import logits_of
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.onnx import export_model
from labelsieve.classifiers.recipe import recipe_name
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.load import load_encoder
from labelsieve.pipeline import demo
from labelsieve.training import loop

CPU = torch.device("cpu")
CLASSES = ["x", "y", "z"]
TEXTS = ["a b c", LONG, "j", "c c d"]
MAKE: dict[str, Callable[[Path], str]] = {
    "bert": lambda folder: str(save_bert(folder / "bert")),
    "table": lambda folder: str(save_table(folder / "table")),
    "hashing": lambda folder: "hashing",
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A scan of notes with planted errors."""
    rows = demo.texts().slice(0, 150).to_pydict()
    columns = {"text": rows["text"], "label": rows["planted_label"]}
    folder = tmp_path_factory.mktemp("scan")
    run = labelsieve.scan(columns, output=folder / "run", model="hashing")
    return run, columns, rows


@pytest.mark.parametrize("kind", MAKE)
def test_the_head_is_given_the_encoders_vector_and_is_saved(
    kind: str, tmp_path: Path
) -> None:
    name = MAKE[kind](tmp_path)
    built = backbone.build(name, CLASSES, seed=1, device=CPU)
    model = built.model.eval()
    inputs = built.inputs.ready(TEXTS, CPU)
    with torch.no_grad():
        features = load_encoder(name).text_features(TEXTS)
        wanted = features @ model.classifier.weight.T + model.classifier.bias
        assert_close(logits_of(model, inputs), wanted)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    opened = Classifier.from_pretrained(
        tmp_path / "saved", device="cpu", precision="float32"
    )
    assert opened.classes == CLASSES
    probs = torch.from_numpy(opened.predict_proba(TEXTS))
    assert_close(probs, wanted.softmax(1))
    size = sum(f.stat().st_size for f in (tmp_path / "saved").glob("*.safetensors"))
    assert size < 200_000, "hashed words are made, not stored"
    # and it is a student again
    again = backbone.build(str(tmp_path / "saved"), ["p", "q"], seed=0, device=CPU)
    with torch.no_grad():
        pooled = again.model.eval().encoder.text_features(TEXTS)
    assert_close(pooled, features)


def test_transformers_opens_the_encoder(tmp_path: Path) -> None:
    from transformers import AutoModel

    built = backbone.build(MAKE["bert"](tmp_path), CLASSES, seed=1, device=CPU)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    tower = AutoModel.from_pretrained(tmp_path / "saved", add_pooling_layer=False)
    own = built.model.encoder.tower.state_dict()
    for key, tensor in tower.state_dict().items():
        assert torch.equal(tensor, own[key]), key


def test_recipes(tmp_path: Path) -> None:
    names = {kind: recipe_name(make(tmp_path)) for kind, make in MAKE.items()}
    assert names == {"bert": "text", "table": "probe", "hashing": "probe"}


@pytest.mark.parametrize(
    "change",
    [
        {"reading": {"window": 10**9, "windows": 1, "prefix": ""}},
        {"reading": None},
        {"pooling": ["sum"]},
        {"dense": [[16, 16, True, "Exec"]]},
        {"id2label": {"0": "x"}},
        {"num_hidden_layers": 3},
    ],
)
def test_hostile_configurations_are_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    built = backbone.build(MAKE["bert"](tmp_path), CLASSES, seed=1, device=CPU)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError):
        Classifier.from_pretrained(tmp_path / "saved", device="cpu")


def test_an_encoder_without_head_classifies_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no head that classifies"):
        Classifier.from_pretrained(MAKE["bert"](tmp_path), device="cpu")


@pytest.mark.parametrize("tune", ["all", "lora", "head", "blocks"])
def test_a_bert_is_fine_tuned(tune: str, notes: Any, tmp_path: Path) -> None:
    run, columns, _ = notes
    student = MAKE["bert"](tmp_path)
    wanted: dict[str, Any] = {"student": student, "device": "cpu", "data": columns}
    wanted["settings"] = {"epochs": 2, "tune": tune, "keep": "last", "lr": 1e-2}
    trained = labelsieve.train(run, output=tmp_path / "model", **wanted)
    before = load_encoder(student).tower.state_dict()
    after = trained.backbone.model.encoder.tower.state_dict()
    assert before.keys() == after.keys(), "an ordinary BERT is left"
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    part = {"all": "embeddings", "blocks": "intermediate", "lora": "query", "head": ""}
    assert bool(changed) == (tune != "head")
    assert tune == "head" or any(part[tune] in key for key in changed)
    if tune == "lora":
        assert {key.split(".")[-2] for key in changed} == {"query", "value"}
    opened = Classifier.from_pretrained(tmp_path / "model", device="cpu")
    opened.dtype = trained.dtype
    texts = columns["text"][:9]
    np.testing.assert_allclose(
        opened.predict_proba(texts), trained.predict_proba(texts), atol=1e-6
    )


def test_the_whole_way_of_the_embedded_one(
    notes: Any, call: Any, tmp_path: Path
) -> None:
    """The probe of the run's own model: trained, asked, judged, exported."""
    run, columns, rows = notes
    labelsieve.train(run, output=tmp_path / "m", data=columns, device="cpu")
    table = tmp_path / "notes.csv"
    import pyarrow as pa
    import pyarrow.csv as pacsv

    pacsv.write_csv(
        pa.table({"text": rows["text"], "label": rows["true_label"]}), table
    )
    told = ["--text-column", "text", "--device", "cpu"]
    truth = ["--truth-column", "label"]
    done = call("evaluate", tmp_path / "m", table, *told, *truth, "--json")
    assert done.code == 0, done.err
    # errors of a fifth were planted, and few are left in what it says
    assert done.json()["accuracy"] > 0.85
    done = call("evaluate", tmp_path / "m", table, *told, *truth)
    assert "on 150 texts" in done.out, done.out
    out = tmp_path / "answers.csv"
    done = call("predict", tmp_path / "m", table, "-o", out, *told)
    assert done.code == 0 and "150 texts classified" in done.out, done.out + done.err
    card = (tmp_path / "m" / "README.md").read_text()
    assert "text-classification" in card and "A text classifier" in card
    assert " image" not in card


@pytest.mark.parametrize("kind", ["bert", "table"])
def test_onnx_gives_the_same(kind: str, tmp_path: Path) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra onnx)")
    built = backbone.build(MAKE[kind](tmp_path), CLASSES, seed=1, device=CPU)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    lines = {"text": TEXTS, "label": ["x"] * 4}
    told = export_model(tmp_path / "saved", data=labelsieve.load(lines))
    assert told["checked"] == 4 and told["difference"] < 1e-4


def test_pictures_and_texts_are_not_mixed_up(notes: Any, tmp_path: Path) -> None:
    run, columns, _ = notes
    with pytest.raises(labelsieve.LabelsieveError, match="texts, and the model takes"):
        labelsieve.train(run, output=tmp_path / "m", data=columns, student="tiny")


def test_a_regulariser_needs_one_head(notes: Any, tmp_path: Path) -> None:
    run, columns, _ = notes
    wanted: dict[str, Any] = {"regulariser": "context-vat", "data": columns}
    wanted["settings"] = {"epochs": 2}
    trained = labelsieve.train(run, output=tmp_path / "vat", **wanted)
    plain = labelsieve.train(
        run, output=tmp_path / "m", data=columns, settings={"epochs": 2, "keep": "last"}
    )
    assert trained.classes == plain.classes
    with pytest.raises(OptionError, match="regulariser"):
        labelsieve.train(run, output=tmp_path / "n", regulariser="vat", data=columns)


def test_killed_and_continued_is_uninterrupted(
    notes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and LoRA included: the second call ends with the very same weights."""
    run, columns, _ = notes
    wanted: dict[str, Any] = {"student": MAKE["bert"](tmp_path), "data": columns}
    wanted["settings"] = {"epochs": 3, "tune": "lora", "keep": "last", "lr": 1e-2}
    whole = labelsieve.train(run, output=tmp_path / "whole", **wanted)
    steps = 0
    step = loop._step

    def killed(*given: Any) -> float:
        nonlocal steps
        steps += 1
        if steps == 8:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(*given)

    monkeypatch.setattr(loop, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        labelsieve.train(run, output=tmp_path / "killed", **wanted)
    monkeypatch.undo()
    again = labelsieve.train(run, output=tmp_path / "killed", **wanted)
    one, two = (m.backbone.model.state_dict() for m in (whole, again))
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        assert torch.equal(tensor, two[key]), key
