"""Loading a model: what is supported, and what the errors say."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fixtures.readers import save_bert, save_table
from safetensors.torch import load_file, save_file
from transformers import ViTImageProcessor

from labelsieve import registry
from labelsieve.errors import ModelError
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import is_encoder, load_encoder, preprocess_of

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
            match=r"Model 'no/such-model' is not on this machine.*hf download no/such-model",
        ):
            load_encoder("no/such-model")

    def test_a_slip_of_the_pen(self) -> None:
        with pytest.raises(
            ModelError, match=r"'tinny' is unknown. Did you mean 'tiny'"
        ):
            load_encoder("tinny")

    def test_an_empty_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_encoder(str(tmp_path))

    @pytest.mark.parametrize(
        "config", ["ViTConfig", "Siglip2Config", "CLIPVisionConfig"]
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
        """The longest that fits does; with one character more the error names it and what
        would help.
        """
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


def test_the_embedded_model_loads_without_a_network() -> None:
    encoder = load_encoder("tiny")
    assert encoder.name == "tiny" and encoder.preprocess.height == 32
    assert torch.isfinite(encoder.text_features(["a photo of a cat."])).all()


class TestFamilies:
    """A family from another library is one module in the room."""

    def test_a_family_from_outside(
        self, tiny: DualEncoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = ModuleType("toy")
        toy.FAMILY = "Toy"  # type: ignore[attr-defined]
        toy.claims = lambda name: name.startswith("toy:")  # type: ignore[attr-defined]
        toy.preprocess_of = lambda name: tiny.preprocess  # type: ignore[attr-defined]
        toy.load = lambda name, device, dtype: copy.copy(tiny)  # type: ignore[attr-defined]
        monkeypatch.setattr(registry, "_registered", {})
        registry.register("models/families", "toy", toy)
        assert load_encoder("toy:1").name == "toy:1"
        assert preprocess_of("toy:1") == tiny.preprocess
        assert is_encoder("toy:1") and is_encoder("tiny")
        assert load_encoder("tiny").name == "tiny"

    def test_claims_reads_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"")
        assert is_encoder(str(folder))
        assert preprocess_of(str(folder)).height == 16

    def test_a_folder_that_changes_is_read_again(self, folder: Path) -> None:
        assert is_encoder(str(folder))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
        assert not is_encoder(str(folder))


class TestTrial:
    """One picture and one text are computed before a model counts as loaded."""

    def test_numbers_that_overflow(self, folder: Path) -> None:
        change(folder, lambda name, t: t * 1e11 if "layers.0.mlp" in name else t)
        with pytest.raises(ModelError, match="finite numbers"):
            load_encoder(str(folder))

    def test_pictures_of_another_size(self, folder: Path) -> None:
        sides = {"height": 20, "width": 20}
        ViTImageProcessor(size=sides).save_pretrained(folder)
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_encoder(str(folder))


def change(folder: Path, edit: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    changed = {name: edit(name, tensor) for name, tensor in tensors.items()}
    save_file(changed, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("kind", ["bert", "table", "clip"])
def test_tokens_without_a_vector_are_refused(
    kind: str, random_clip: Callable[..., Path], tmp_path: Path
) -> None:
    """Also of words that no trial text has: a text with one ended in an IndexError."""
    folder = tmp_path / kind
    if kind == "clip":
        shutil.copytree(random_clip(), folder)
    else:
        {"bert": save_bert, "table": save_table}[kind](folder)
    load_encoder(str(folder))
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["e"] = 5000
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"has token 5000, its weights have \d+ tok"):
        load_encoder(str(folder))
