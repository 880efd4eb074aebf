"""Zero-shot answers: class texts, temperatures, softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.errors import OptionError
from labelsieve.features.zero_shot import (
    ZeroShot,
    class_features,
    cosines,
    softmax,
    temperature_of,
)

NAMES = ["cat", "red panda"]


def test_class_features_are_the_filled_template(
    cache: Path, encoder: Any, distance: Any
) -> None:
    found = class_features(encoder, NAMES, "it is a {}!", "w")
    wanted = encoder.text_features(["it is a cat!", "it is a red panda!"])
    assert distance(np.array(found), wanted) < 1e-6
    assert np.array_equal(found, class_features(encoder, NAMES, "it is a {}!", "w"))
    plain = np.array(class_features(encoder, NAMES, "{}", "w"))
    assert distance(plain, encoder.text_features(NAMES)) < 1e-6


def test_a_damaged_file_of_class_features_is_computed_anew(
    cache: Path, encoder: Any, notes: list[str]
) -> None:
    first = np.array(class_features(encoder, NAMES, "{}", "w"))
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[200] ^= 64
    path.write_bytes(content)
    assert np.array_equal(class_features(encoder, NAMES, "{}", "w"), first)
    assert len(notes) == 1


def test_cosines_are_taken_in_parts(cache: Path, direct: np.ndarray) -> None:
    """Twenty-three pictures, five at a time."""
    text = direct[:3]
    assert np.allclose(cosines(direct, text), direct @ text.T, atol=1e-6)


@pytest.mark.parametrize("wanted", [0.0, -1.0])
def test_temperatures_that_cannot_be(encoder: Any, wanted: float) -> None:
    with pytest.raises(OptionError, match="must be above 0"):
        temperature_of(encoder, wanted)


def test_probabilities_are_a_softmax_at_the_temperature(distance: Any) -> None:
    values = np.array([[0.3, 0.1], [-0.2, 0.4]], dtype=np.float32)
    answer = ZeroShot(values, 0.5, own=False)
    assert distance(answer.probs(), torch.from_numpy(values / 0.5).softmax(1)) < 1e-6
    assert answer.facts() == {"temperature": 0.5, "temperature_from": "setting"}


def test_softmax_does_not_overflow() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]])
    assert softmax(logits) == pytest.approx(torch.from_numpy(logits).softmax(1).numpy())
