"""Sequence classifiers of transformers: their head is replaced, long texts are windows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from fixtures.readers import LONG, save_bert
from torch.testing import assert_close

from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.backbone import logits_of
from labelsieve.classifiers.classifier import Classifier
from labelsieve.errors import ModelError

CPU = torch.device("cpu")
CLASSES = ["x", "y"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert", classes=2)


def test_any_of_them_is_opened_and_answers_as_transformers_does(bert: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    opened = Classifier.from_pretrained(bert, device="cpu", precision="float32")
    assert opened.classes == ["LABEL_0", "LABEL_1"]
    model = AutoModelForSequenceClassification.from_pretrained(bert).eval()
    words = AutoTokenizer.from_pretrained(bert)
    with torch.no_grad():
        given = words(["a b", "c"], padding=True, return_tensors="pt")
        kinds = {k: given[k] for k in ("input_ids", "attention_mask")}
        short = model(**kinds).logits
        # the two windows of the long one, by hand: 12 and 7 tokens
        letters = LONG.split()
        halves = [" ".join(letters[:10]), " ".join(letters[10:])]
        each = [model(**words(h, return_tensors="pt")).logits[0] for h in halves]
    probs = torch.from_numpy(opened.predict_proba(["a b", "c", LONG]))
    assert_close(probs[:2], short.softmax(1))
    assert_close(probs[2], ((12 * each[0] + 7 * each[1]) / 19).softmax(0))


def test_the_head_is_new_and_the_body_is_kept(bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    old = AutoModelForSequenceClassification.from_pretrained(bert)
    first = backbone.build(str(bert), CLASSES, seed=1, device=CPU)
    assert first.head == {"model.classifier.weight", "model.classifier.bias"}
    assert not torch.equal(first.linear.weight, old.classifier.weight)
    body = first.model.model.bert.state_dict()
    for key, tensor in old.bert.state_dict().items():
        assert torch.equal(body[key], tensor)
    pretrained.save(first, CLASSES, tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert list(again.config.id2label.values()) == CLASSES
    opened = Classifier.from_pretrained(
        tmp_path / "saved", device="cpu", precision="float32"
    )
    with torch.no_grad():
        wanted = logits_of(first.model.eval(), first.inputs.ready(["a", LONG], CPU))
    assert_close(torch.from_numpy(opened.predict_proba(["a", LONG])), wanted.softmax(1))


def test_what_gives_no_class_is_refused(bert: Path, tmp_path: Path) -> None:
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((bert / "config.json").read_text())
    config["problem_type"] = "multi_label_classification"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="made for multi_label_classification"):
        Classifier.from_pretrained(tmp_path, device="cpu")


def test_tokens_without_a_vector_are_refused(bert: Path, tmp_path: Path) -> None:
    """Harmless words passed, and the first text with the other one ended in an IndexError."""
    folder = shutil.copytree(bert, tmp_path / "bert")
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["e"] = 5000
    path.write_text(json.dumps(content))
    said = r"has token 5000, its weights have 15 tokens.*tokenizer.json"
    with pytest.raises(ModelError, match=said):
        pretrained.open_saved(str(folder), device=CPU)
    with pytest.raises(ModelError, match=said):
        backbone.build(str(folder), CLASSES, seed=1, device=CPU)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_the_place_of_a_configuration_is_not_waited_for(
    bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "bert")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    for call in (
        lambda: pretrained.open_saved(str(folder), device=CPU),
        lambda: backbone.build(str(folder), CLASSES, seed=1, device=CPU),
    ):
        with pytest.raises(ModelError, match=r"bert"):
            call()
