"""Pooling, windows and prompts, on a table of token vectors and on a small BERT."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.readers import save_bert
from torch.testing import assert_close

from labelsieve.errors import ModelError
from labelsieve.models.load import family_of, load_encoder, preprocess_of
from labelsieve.models.text_encoder import POOLINGS, TextEncoder
from labelsieve.models.trust import WEIGHTS


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def encoder(bert: Path) -> Any:
    return load_encoder(str(bert))


def test_a_plain_checkpoint_is_opened(bert: Path, encoder: Any) -> None:
    assert isinstance(encoder, TextEncoder)
    assert family_of(str(bert)).MODALITY == "texts"
    assert preprocess_of(str(bert)).window == 12
    features = encoder.text_features(["a b c", "d"])
    assert_close(features.norm(dim=1), torch.ones(2))
    # the same weights again: nothing was drawn at random
    assert_close(load_encoder(str(bert)).text_features(["a b c", "d"]), features)


def test_mean_pooling_is_that_of_the_tower(encoder: Any) -> None:
    ids = encoder.tokenizer("a b c", return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = encoder.tower(input_ids=ids).last_hidden_state[0]
    expected = torch.nn.functional.normalize(hidden.mean(0), dim=0)
    # together with a longer text: padding changes nothing
    both = encoder.text_features(["a b c", "d e f g h i"])
    assert_close(both[0], expected, atol=1e-5, rtol=1e-5)


def test_long_texts_are_means_of_windows_by_length(encoder: Any) -> None:
    text = " ".join("abcdefghij" * 2)
    windows = encoder.normalise([text])
    # ten words fit beside the two special tokens
    assert [len(ids) for ids in windows.ids] == [12, 12]
    text = " ".join("abcdefghijabc")
    parts = [" ".join("abcdefghij"), "a b c"]
    first, second = (encoder.pooled(encoder.normalise([p])) for p in parts)
    whole = encoder.pooled(encoder.normalise([text]))
    assert_close(whole, (12 * first + 5 * second) / 17, atol=1e-5, rtol=1e-5)


def test_a_text_without_end_is_read_in_part(encoder: Any) -> None:
    longest = encoder.preprocess.windows
    assert len(encoder.normalise(["a " * 100_000, "b"]).ids) == longest + 1


def test_prompts_of_words_are_texts_of_words(encoder: Any) -> None:
    names = ["c", "d e"]
    tokens = encoder.class_tokens(names, 2)
    contexts = encoder.embed_tokens(encoder.word_ids("a b"))[None]
    contexts = contexts.clone().requires_grad_()
    features = encoder.prompt_features(contexts, tokens)
    expected = encoder.text_features([f"a b {name}." for name in names])
    assert_close(features[0], expected, atol=1e-5, rtol=1e-5)
    # a start that a class at random tells apart, so that there is a gradient
    features[0, 0, 0].backward()
    assert contexts.grad is not None and contexts.grad.abs().sum() > 0
    with pytest.raises(ModelError, match="takes 12"):
        encoder.class_tokens(["a b c d e f g h i j"], 2)


def test_poolings() -> None:
    hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    values = {name: float(pool(hidden, mask)) for name, pool in POOLINGS.items()}
    assert values["mean"] == 2 and values["max"] == 3
    assert values["cls"] == 1 and values["lasttoken"] == 3
    assert values["mean_sqrt_len_tokens"] == pytest.approx(4 / 2**0.5)
    assert WEIGHTS.endswith(".safetensors")


def test_added_marks_without_a_vector_are_no_words(bert: Path, tmp_path: Path) -> None:
    """Spelt out in a text, one ended in an IndexError."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(bert, tmp_path / "bert")
    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens(["<mark>"], special_tokens=True)
    words.save_pretrained(folder)
    encoder = load_encoder(str(folder))
    assert encoder.word_ids("a <mark>").tolist()[-1] == 15 == len(encoder._weight)
    marked, empty = encoder.text_features(["a <mark> b", "a [PAD] b"])
    assert_close(marked, empty)
