"""Features of a run in the cache: whose they are, and what is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve.runs import pictures
from labelsieve.runs.reading import features


def test_cached_features_belong_to_their_ids(planted: Any) -> None:
    from labelsieve.models.load import load_encoder

    found = features.cached_features(planted.run)
    assert found is not None
    ids, values = found
    encoder = load_encoder("tiny")
    opened = pictures.open_pictures(planted.run)
    for row in (0, 17, 40):
        pixels = encoder.preprocess(
            Image.open(opened.read(str(ids[row]))).convert("RGB")
        )
        import torch

        batch = encoder.normalise(
            torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        )
        again = encoder.image_features(batch).detach().numpy()[0]
        alike = np.asarray(values, dtype=np.float32) @ again
        assert (
            alike.argmax() == row and alike[row] > 0.999
        )  # whatever precision the scan chose
    planted.run.record["features"] = None
    assert features.cached_features(planted.run) is None


@pytest.mark.parametrize("named", ["/etc/passwd", 5, [1], "a\0b", "..", "x.npy"])
def test_features_are_read_from_the_cache_alone(planted: Any, named: Any) -> None:
    planted.run.record["features"] = named
    assert features.cached_features(planted.run) is None


def test_damaged_features_are_missing_and_one_line_says_so(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(features, "note", lines.append)
    path = Path(planted.run.record["features"])
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    try:
        for content in (b"", b"no array" * 9, bytes(flipped)):
            # a new file: a mapped one must not be cut under its readers
            path.unlink()
            path.write_bytes(content)
            assert features.cached_features(planted.run) is None
    finally:
        path.unlink()
        path.write_bytes(whole)
    assert len(lines) == 1
    assert str(planted.folder) in lines[0]
    assert features.cached_features(planted.run) is not None
