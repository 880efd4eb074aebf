"""Texts as models are given them: windows, and the graph that takes the first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from fixtures.readers import LONG, WINDOW, save_words
from transformers import AutoTokenizer

from labelsieve.classifiers.inputs.texts import Texts
from labelsieve.data.text.reading import TextPreprocess
from labelsieve.models.text_encoder import windows_of

READING = TextPreprocess(WINDOW, 2)


@pytest.fixture(scope="module")
def kind(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    folder = tmp_path_factory.mktemp("words")
    save_words(folder)
    words = AutoTokenizer.from_pretrained(folder)
    return Texts(READING, partial(windows_of, words, READING), 0)


def test_long_texts_are_windows_and_rows_are_texts(kind: Texts) -> None:
    windows = kind.ready([LONG, "a", LONG], torch.device("cpu"))
    assert len(windows) == 3 and windows.owner.tolist() == [0, 0, 1, 2, 2]
    part = windows[1:3]
    assert part.owner.tolist() == [0, 1, 1] and part.ids == windows.ids[2:]
    ids, mask = kind.tensors(windows)
    assert ids.shape == (3, WINDOW) and mask.sum(1).tolist() == [12, 3, 12]
    assert ids[0].tolist() == windows.ids[0] and ids[1, 3:].eq(0).all()


def test_what_a_person_names(kind: Texts, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    assert kind.read(tmp_path / "a.txt") == "café"
    assert kind.read("a.txt") == "a.txt", "a text is no path"
    assert kind.read(b"a\x00b") == "a\x00b"
    assert kind.read(["a"]) is None and kind.read(tmp_path / "none") is None
    longest = READING.characters
    assert kind.read("a" * (longest + 5)) == "a" * longest
