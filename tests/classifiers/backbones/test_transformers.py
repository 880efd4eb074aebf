"""Image classifiers of transformers as backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fixtures.backbones import CLASSES, CPU, built, pictures

from labelsieve.classifiers import pretrained
from labelsieve.models.encoder import normalise


def test_a_masked_autoencoder_lends_its_encoder(
    random_classifier: Callable[..., Path],
) -> None:
    from transformers import ViTMAEForPreTraining

    folder = random_classifier("vit_mae")
    theirs = dict(ViTMAEForPreTraining.from_pretrained(folder).named_parameters())
    ours = dict(built(folder).model.named_parameters())
    shared = [name for name in ours if name.startswith("vit.")]
    assert len(shared) > 10 and all(
        torch.equal(ours[name], theirs[name]) for name in shared
    )


def test_transformers_opens_what_is_its_own(
    random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    saved = built(random_classifier())
    pretrained.save(saved, CLASSES, tmp_path)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    with torch.no_grad():
        assert torch.equal(
            theirs(pictures()).logits, saved.model.eval()(pictures()).logits
        )
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    prepared = AutoImageProcessor.from_pretrained(tmp_path)(
        picture, return_tensors="pt"
    ).pixel_values
    ours = normalise(
        torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()),
        saved.preprocess,
        CPU,
    )
    assert torch.allclose(prepared, ours, atol=1e-5)
