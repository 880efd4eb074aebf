"""Checkpoints from strangers: safetensors only, no foreign code, one line for everything else."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageClassification

from labelsieve.errors import ModelError
from labelsieve.models import hugging_face

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(random_clip: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint, to be broken."""
    return shutil.copytree(random_clip(), tmp_path / "checkpoint")


def open_all(folder: Path) -> Any:
    """Everything that is read of an image-text model."""
    name = str(folder)
    config = hugging_face.read_config(name)
    hugging_face.image_processor(name)
    hugging_face.tokenizer(name)
    return hugging_face.read_model(name, AutoModel, config)


def refused(folder: Path) -> str:
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        open_all(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def configure(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_sound_one(folder: Path) -> None:
    model = open_all(folder)
    tensors = load_file(folder / WEIGHTS)
    assert model.state_dict().keys() == tensors.keys()
    assert all(torch.equal(t, tensors[n]) for n, t in model.state_dict().items())


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_json_that_is_no_object(folder: Path, file: str) -> None:
    (folder / file).write_text("null")
    assert "its files says is of another kind" in refused(folder)


def test_a_size_in_words_is_said_in_full(folder: Path) -> None:
    configure(folder, projection_dim="wide")
    assert "'wide'" in refused(folder)


def test_pictures_prepared_by_assumption_are_said_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(folder)
    said: list[str] = []
    monkeypatch.setattr(hugging_face.progress, "note", said.append)
    for file in hugging_face.PROCESSORS:
        (folder / file).unlink(missing_ok=True)
    processor = hugging_face.image_processor(name)
    for _ in range(2):
        hugging_face.preprocess_with(name, processor, 16)
    assert len(said) == 1 and "does not say how" in said[0]


class TestForeignCode:
    @pytest.fixture(autouse=True)
    def yes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A terminal that would answer y."""
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))

    @pytest.mark.parametrize(
        ("file", "entries"),
        [
            (
                "config.json",
                {
                    "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"},
                    "model_type": "evil",
                },
            ),
            (
                "tokenizer_config.json",
                {
                    "auto_map": {"AutoTokenizer": ["evil.T", None]},
                    "tokenizer_class": "T",
                },
            ),
            (
                "preprocessor_config.json",
                {
                    "auto_map": {"AutoImageProcessor": "evil.P"},
                    "image_processor_type": "P",
                },
            ),
        ],
    )
    def test_is_not_run(
        self, folder: Path, file: str, entries: dict[str, Any], tmp_path: Path
    ) -> None:
        ran = tmp_path / "ran"
        code = f"open({str(ran)!r}, 'w')\nfrom transformers import CLIPConfig as C\n"
        (folder / "evil.py").write_text(code)
        path = folder / file
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **entries}))
        with contextlib.suppress(
            ModelError
        ):  # transformers may have an own class for it
            open_all(folder)
        assert not ran.exists()


class TestWeights:
    def test_pickles_are_refused(self, folder: Path) -> None:
        torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
        (folder / WEIGHTS).unlink()
        assert "is a pickle" in refused(folder)

    def test_missing_ones_are_not_drawn_at_random(self, folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        del tensors["visual_projection.weight"]
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        assert "lack 'visual_projection.weight'" in refused(folder)

    def test_layers_that_the_configuration_drops(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        configure(
            folder, vision_config={**config["vision_config"], "num_hidden_layers": 1}
        )
        assert "also have 'vision_model.encoder.layers.1" in refused(folder)

    def test_other_shapes(self, folder: Path) -> None:
        configure(folder, projection_dim=20)
        assert "have in another shape 'text_projection.weight'" in refused(folder)

    def test_numbers_that_are_none(self, folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        tensors["logit_scale"] = tensors["logit_scale"] * float("nan")
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        assert "'logit_scale' are not finite" in refused(folder)

    def test_a_model_larger_than_the_memory(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        text = {**config["text_config"], "vocab_size": 900_000, "hidden_size": 900_000}
        configure(folder, text_config=text)
        assert "its files hold" in refused(folder)

    def test_several_files(self, folder: Path, tmp_path: Path) -> None:
        model = AutoModel.from_pretrained(folder)
        parts = tmp_path / "parts"
        model.save_pretrained(parts, max_shard_size="20KB")
        assert len(list(parts.glob("*.safetensors"))) > 1
        assert open_all(parts).logit_scale == model.logit_scale

    def test_an_index_that_leads_out_of_the_folder(self, folder: Path) -> None:
        outside = folder.parent / "outside.safetensors"
        (folder / WEIGHTS).rename(outside)
        index = {"metadata": {}, "weight_map": {"logit_scale": f"../{outside.name}"}}
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
        assert "names the file '../outside.safetensors'" in refused(folder)


class TestOtherFiles:
    @pytest.mark.parametrize(
        "content",
        ["", "{", "[]", "5", "null", '"clip"', "{}", '{"model_type": 5}', "[" * 10_000],
    )
    def test_a_config_that_is_none(self, folder: Path, content: str) -> None:
        (folder / "config.json").write_text(content)
        refused(folder)

    @pytest.mark.parametrize(
        "entries",
        [
            {"vision_config": []},
            {"vision_config": {"hidden_size": "big"}},
            {"vision_config": {"num_attention_heads": 0, "hidden_size": 32}},
            {"text_config": {"hidden_act": "system"}},
            {"projection_dim": -5},
            {"projection_dim": float("nan")},
        ],
    )
    def test_entries_of_wrong_types(
        self, folder: Path, entries: dict[str, Any]
    ) -> None:
        configure(folder, **entries)
        refused(folder)

    @pytest.mark.parametrize("content", ["{", "[]", '{"size": -5}', "null"])
    def test_a_processor_that_is_damaged(self, folder: Path, content: str) -> None:
        (folder / "preprocessor_config.json").write_text(content)
        with pytest.raises(ModelError):
            processor = hugging_face.image_processor(str(folder))
            hugging_face.preprocess_with(str(folder), processor, 16)

    @pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}'])
    def test_a_tokenizer_that_is_damaged(self, folder: Path, content: str) -> None:
        (folder / "tokenizer.json").write_text(content)
        refused(folder)

    def test_a_name_that_is_a_file(self, folder: Path) -> None:
        refused(folder / WEIGHTS)


class TestNewHead:
    def test_the_head_may_be_new(self, random_classifier: Callable[..., Path]) -> None:
        name = str(random_classifier("vit"))
        config = hugging_face.read_config(name)
        config.id2label = dict(enumerate("abcde"))
        kind = AutoModelForImageClassification
        model = hugging_face.read_model(name, kind, config, new_head=True)
        assert model.classifier.out_features == 5

    def test_the_body_may_not(
        self, random_classifier: Callable[..., Path], tmp_path: Path
    ) -> None:
        folder = shutil.copytree(random_classifier("vit"), tmp_path / "vit")
        tensors = load_file(folder / WEIGHTS)
        del tensors["vit.layernorm.weight"]
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        config = hugging_face.read_config(str(folder))
        kind = AutoModelForImageClassification
        with pytest.raises(ModelError, match=r"lack 'vit\.layernorm\.weight'"):
            hugging_face.read_model(str(folder), kind, config, new_head=True)
