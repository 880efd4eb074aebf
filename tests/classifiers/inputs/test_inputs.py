"""Both kinds offer what training asks for."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from labelsieve.classifiers.backbone import Inputs
from labelsieve.classifiers.inputs.images import Pictures
from labelsieve.classifiers.inputs.texts import Texts
from labelsieve.data.images import Preprocess
from labelsieve.models.families import hashing
from labelsieve.models.text_encoder import windows_of


def kinds() -> list[Inputs]:
    words = hashing.HashedWords()
    return [
        Pictures(Preprocess(8, 8, None, 3, (0.5,) * 3, (0.5,) * 3)),
        Texts(
            hashing.READING,
            lambda texts: windows_of(words, hashing.READING, texts, False),
            0,
        ),
    ]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.modality)
def test_what_is_made_up_can_be_read(kind: Inputs) -> None:
    device = torch.device("cpu")
    item = Image.new("RGB", (9, 9)) if kind.modality == "images" else "two words"
    read = kind.read(item)
    assert read is not None
    for given, count in (
        (kind.blank(), 1),
        (kind.noise(), 3),
        (kind.together([read, read]), 2),
    ):
        ready = kind.ready(given, device)
        assert len(ready) == count and len(ready[0:1]) == 1
        tensors = kind.tensors(ready)
        assert len(tensors) == len(kind.names) == len(kind.example(device))
        assert all(len(tensor) == count for tensor in tensors)
    assert kind.read(7 if kind.modality == "images" else "  \n ") is None
    assert set(kind.axes()) == set(kind.names)
