"""Which checkpoints are encoders of texts."""

from __future__ import annotations

from labelsieve.models.families import text_transformers


def test_the_embedded_model_of_pictures_is_none() -> None:
    assert not text_transformers.claims("tiny")
    assert text_transformers.MODALITY == "texts"
