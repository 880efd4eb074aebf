"""Loading a model: what is supported, what the errors say, on which device and in which precision."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from labelsieve import registry
from labelsieve.errors import ModelError, OptionError
from labelsieve.models import device
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.load import load_encoder

FAMILIES = ("clip", "siglip")


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be broken."""
    return shutil.copytree(
        request.getfixturevalue(f"random_{request.param}")(), tmp_path / "checkpoint"
    )


class TestErrors:
    def test_not_found(self) -> None:
        with pytest.raises(
            ModelError,
            match=r"Model 'no/such-model' cannot be loaded: .*Use tiny, a Hugging Face directory",
        ):
            load_encoder("no/such-model")

    def test_an_empty_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_encoder(str(tmp_path))

    @pytest.mark.parametrize(
        "config", ["BertConfig", "Siglip2Config", "CLIPVisionConfig"]
    )
    def test_a_family_that_is_not_supported_lists_those_that_are(
        self, tmp_path: Path, config: str
    ) -> None:
        import transformers

        made = getattr(transformers, config)()
        made.save_pretrained(tmp_path)
        with pytest.raises(
            ModelError,
            match=f"is of family '{made.model_type}', which is not supported",
        ) as caught:
            load_encoder(str(tmp_path))
        supported = [
            registry.load("models/families", name).FAMILY
            for name in registry.names("models/families")
        ]
        assert (
            len(supported) >= 2
            and caught.value.do == f"Supported: {', '.join(supported)}."
        )

    def test_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(
            ModelError, match=r"cannot be loaded: .*Is the directory complete\?"
        ):
            load_encoder(str(folder))

    def test_damaged_weights(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_encoder(str(folder))

    def test_a_damaged_configuration(self, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_encoder(str(folder))

    def test_errors_are_one_line(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        for name in ("no/such-model", str(folder)):
            with pytest.raises(ModelError) as caught:
                load_encoder(name)
            assert "\n" not in str(caught.value)

    def test_no_tokenizer(self, folder: Path) -> None:
        """Pictures can be encoded without one; words cannot, and the error says what is missing."""
        for file in folder.glob("token*"):
            file.unlink()
        encoder = load_encoder(str(folder))
        assert encoder.image_features(torch.zeros(1, 3, 16, 16)).shape[0] == 1
        words: list[Callable[[], Any]] = [
            lambda: encoder.text_features(["cat"]),
            lambda: encoder.class_tokens(["cat"], 4),
            lambda: encoder.word_ids("a"),
        ]
        for use in words:
            with pytest.raises(
                ModelError, match=r"has no tokenizer files.*tokenizer\.json"
            ):
                use()

    def test_a_class_name_that_is_too_long(self, folder: Path) -> None:
        """The longest that fits does; with one character more the error names it and what would help."""
        encoder = load_encoder(str(folder))
        extra = len(encoder.tokenizer(".").input_ids)
        fits = "x" * (encoder.max_text - 8 - extra)
        tokens = encoder.class_tokens(["cat", fits], 8)
        contexts = torch.randn(
            2, 8, encoder.text_width, generator=torch.Generator().manual_seed(0)
        )
        assert torch.isfinite(encoder.prompt_features(contexts, tokens)).all()
        with pytest.raises(
            ModelError,
            match=f"'{fits}x' makes a prompt of {encoder.max_text + 1} tokens.*--class-names",
        ):
            encoder.class_tokens(["cat", f"{fits}x"], 8)


class TestDevice:
    def test_auto_is_one_that_is_there(self) -> None:
        device = choose_device()
        assert float(torch.ones(1, device=device).sum()) == 1
        if not torch.cuda.is_available() and not torch.backends.mps.is_available():
            assert device.type == "cpu"

    def test_the_one_wanted(self) -> None:
        assert choose_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("wanted", ["abacus", "cuda:99", "cpu:x", ""])
    def test_one_that_is_not_there(self, wanted: str) -> None:
        with pytest.raises(
            OptionError,
            match=f"--device '{wanted}' is not available here. Use cpu, cuda",
        ):
            choose_device(wanted)


class TestPrecision:
    @pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
    def test_the_one_wanted(self, name: str) -> None:
        assert choose_precision(name, torch.device("cpu")) == getattr(torch, name)

    def test_one_that_is_unknown(self) -> None:
        with pytest.raises(
            OptionError,
            match=r"--precision 'double' is unknown. Use auto, float32, bfloat16, float16",
        ):
            choose_precision("double", torch.device("cpu"))

    @pytest.mark.parametrize(
        ("avx", "amx", "maker", "wanted"),
        [
            (False, False, "AuthenticAMD", "float32"),
            (True, False, "AuthenticAMD", "bfloat16"),
            (True, False, "GenuineIntel", "float32"),
            (True, True, "GenuineIntel", "bfloat16"),
        ],
    )
    def test_auto_on_a_processor(
        self,
        monkeypatch: pytest.MonkeyPatch,
        avx: bool,
        amx: bool,
        maker: str,
        wanted: str,
    ) -> None:
        monkeypatch.setattr(device, "_cpu_maker", lambda: f"vendor_id : {maker}")
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        assert choose_precision("auto", torch.device("cpu")) == getattr(torch, wanted)

    @pytest.mark.parametrize(
        ("native", "wanted"), [(True, "bfloat16"), (False, "float32")]
    )
    def test_auto_on_a_card(
        self, monkeypatch: pytest.MonkeyPatch, native: bool, wanted: str
    ) -> None:
        """A card that only emulates bfloat16 gets float32."""
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native or including_emulation,
        )
        assert choose_precision("auto", torch.device("cuda")) == getattr(torch, wanted)

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


def test_the_embedded_model_loads_without_a_network() -> None:
    encoder = load_encoder("tiny")
    assert encoder.name == "tiny" and encoder.preprocess.height == 32
    assert torch.isfinite(encoder.text_features(["a photo of a cat."])).all()
