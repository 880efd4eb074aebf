"""What every encoder must give, whatever its family."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from labelsieve.models import encoder as models_encoder
from labelsieve.models.load import load_encoder

FAMILIES = ("clip", "siglip")


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be broken."""
    return shutil.copytree(
        request.getfixturevalue(f"random_{request.param}")(), tmp_path / "checkpoint"
    )


class TestEncoder:
    def test_knows_itself(self, folder: Path) -> None:
        encoder = load_encoder(str(folder))
        config = json.loads((folder / "config.json").read_text())
        assert encoder.name == str(folder)
        assert encoder.text_width == config["text_config"]["hidden_size"]
        assert encoder.max_text == config["text_config"]["max_position_embeddings"]
        assert (
            encoder.image_width == config["vision_config"]["hidden_size"]
            and encoder.patch_size == 4
        )
        assert encoder.image_tokens == 16 + encoder.causal  # CLIP has a class token
        assert encoder.logit_scale == pytest.approx(torch.tensor(3.0).exp().item())
        assert not encoder.model.training and not any(
            p.requires_grad for p in encoder.model.parameters()
        )

    def test_features_have_length_one(self, folder: Path) -> None:
        encoder = load_encoder(str(folder))
        contexts = torch.randn(
            2, 3, encoder.text_width, generator=torch.Generator().manual_seed(0)
        )
        for features in (
            encoder.image_features(
                torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
            ),
            encoder.text_features(["cat", "dog"]),
            encoder.prompt_features(contexts, encoder.class_tokens(["cat", "dog"], 3)),
        ):
            assert torch.allclose(
                features.norm(dim=-1), torch.ones(features.shape[:-1]), atol=1e-5
            )

    def test_normalise(self, folder: Path, distance: Any) -> None:
        encoder = load_encoder(str(folder))
        pixels = torch.randint(
            0,
            256,
            (2, 3, 16, 16),
            dtype=torch.uint8,
            generator=torch.Generator().manual_seed(0),
        )
        wanted = pixels.float() / 255
        for channel in range(3):
            wanted[:, channel] = (
                wanted[:, channel] - encoder.preprocess.mean[channel]
            ) / encoder.preprocess.std[channel]
        assert distance(encoder.normalise(pixels), wanted) < 1e-5
        assert distance(encoder.normalise(pixels.float()), wanted) < 1e-5

    def test_a_few_pictures_at_a_time_give_what_all_at_once_give(
        self, folder: Path, distance: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = load_encoder(str(folder))
        pixels = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        prompts = [torch.zeros(1, encoder.image_width)] * len(encoder.image_layers)
        # of three pictures
        numbers = 3 * 4 * encoder.image_width * encoder.image_tokens
        monkeypatch.setattr(models_encoder, "ACTIVATION", numbers * 4 + 1)
        seen: list[int] = []
        encoder.image_layers[0].layer_norm1.register_forward_pre_hook(
            lambda module, inputs, kept=seen: kept.append(len(inputs[0])),
        )
        # with a gradient there is nothing to be gained, and it needs the whole batch
        whole = encoder.image_features(pixels, prompts)
        assert max(seen) == 7
        seen.clear()
        with torch.no_grad():
            parts = encoder.image_features(pixels, prompts)
        assert max(seen) == 3
        assert parts.shape == whole.shape and distance(parts, whole) < 1e-5

    def test_texts_are_encoded_alone_as_in_company(
        self, folder: Path, distance: Any
    ) -> None:
        """Padding says nothing, and more texts than one batch takes stay in order."""
        encoder = load_encoder(str(folder))
        texts = [f"{'ab'[i % 2] * (i % 7)}{i}" for i in range(260)]
        whole = encoder.text_features(texts)
        for i in (0, 6, 255, 256, 259):
            assert distance(whole[i : i + 1], encoder.text_features([texts[i]])) < 1e-5

    def test_a_checkpoint_saved_again_gives_the_same_bits(
        self, folder: Path, tmp_path: Path
    ) -> None:
        encoder = load_encoder(str(folder))
        encoder.model.save_pretrained(tmp_path / "again")
        again = load_encoder(str(tmp_path / "again"))
        pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert torch.equal(encoder.image_features(pixels), again.image_features(pixels))

    def test_a_lower_one_gives_nearly_the_same(
        self, folder: Path, distance: Any
    ) -> None:
        pixels = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        encoders = [
            load_encoder(str(folder), dtype=d) for d in (torch.float32, torch.bfloat16)
        ]
        for features in (
            lambda e: e.image_features(pixels.to(e.dtype)),
            lambda e: e.text_features(["cat", "a dog"]),
        ):
            exact, rough = (features(e) for e in encoders)
            assert rough.dtype == torch.float32 and 0 < distance(rough, exact) < 0.05
