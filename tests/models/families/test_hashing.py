"""The embedded model for texts: the same numbers everywhere, near where words are shared."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from labelsieve.models.families import hashing
from labelsieve.models.load import family_of, load_encoder, preprocess_of


def test_it_is_opened_by_name_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a configuration was looked for")

    monkeypatch.setattr("labelsieve.models.hugging_face.read_config", refuse)
    assert family_of("hashing") is hashing
    assert preprocess_of("hashing") == hashing.READING
    assert load_encoder("hashing").name == "hashing"


def test_rows_are_the_same_in_every_version() -> None:
    rows = hashing._rows().numpy()
    assert rows.shape == (sum(n for n, _ in hashing.KINDS.values()), hashing.WIDTH)
    # a recording: other numbers would make every detector that was written useless
    digest = hashlib.sha256(np.sign(rows).astype(np.int8).tobytes()).hexdigest()
    assert digest[:16] == "758579dc1ea03529"
    for name, (count, weight) in hashing.KINDS.items():
        part = rows[hashing.FIRST[name] :][:count]
        assert (np.abs(part) == np.float32(weight)).all()


def test_texts_are_near_where_they_share_words() -> None:
    encoder = load_encoder("hashing")
    told = ["The striker scored twice", "Striker scores again", "The soup needs salt"]
    first, near, far = encoder.text_features(told)
    assert first @ near > first @ far + 0.2
    # case, width and repetition say nothing
    same = encoder.text_features(["ｓｏｕｐ SOUP soup", "soup"])
    torch.testing.assert_close(same[0], same[1])


@pytest.mark.parametrize(
    "texts",
    [
        ("東京で試合", "試合は東京", "金利が上がる"),
        ("שלום עולם", "עולם", "כסף"),
        ("🙂🙂", "🙂!", "😡"),
    ],
)
def test_every_script_has_words(texts: tuple[str, str, str]) -> None:
    first, near, far = load_encoder("hashing").text_features(list(texts))
    assert first @ near > first @ far + 0.2


def test_a_text_without_words_is_no_direction() -> None:
    features = load_encoder("hashing").text_features(["\u200b\ud800", " ", "word"])
    assert bool(features.isfinite().all())
    assert float(features[1].norm()) == 0.0


def test_windows_hold_every_token_once() -> None:
    encoder = load_encoder("hashing")
    text = " ".join(f"word{number:04d}" for number in range(1_500))
    windows = encoder.normalise([text, "a"])
    ids = [
        i for w, o in zip(windows.ids, windows.owner, strict=True) if not o for i in w
    ]
    assert ids == hashing.ids_of(text)
    assert max(map(len, windows.ids)) <= hashing.READING.window
