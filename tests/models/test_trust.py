"""What a model's files must satisfy: numbers, names of files, shapes."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.errors import ModelError
from labelsieve.models import trust

PLAIN = Preprocess(16, 16, 16, 3, CLIP_MEAN, CLIP_STD)


class TestConfig:
    @pytest.mark.parametrize(
        "entry",
        [
            {"hidden_size": -5},
            {"hidden_size": 10**9},
            {"num_hidden_layers": 10**9},
            {"depths": [2, 10**6]},
            {"layers": 10**6},
            {"depth": 10**6},
            {"width": 10**9},
            {"num_labels": 10**9},
            {"layer_norm_eps": -1e-5},
            {"dropout": float("nan")},
            {"initializer_range": float("inf")},
            {"text_config": {"vocab_size": -1}},
            {"quantization_config": {"quant_method": "gptq"}},
            {"transformers_weights": "../elsewhere.bin"},
        ],
    )
    def test_refused(self, entry: dict[str, Any]) -> None:
        with pytest.raises(
            ModelError, match=r"Model 'm' cannot be loaded: .*config\.json"
        ):
            trust.check_config("m", {"model_type": "clip", **entry})

    @pytest.mark.parametrize(
        "entry",
        [
            {"no_repeat_ngram_size": 0},
            {"quantization_config": None},
            {"image_size": [224, 224]},
            {"vocab_size": 256_000},
            {"hidden_sizes": [64, 128]},
            {"pad_token_id": -1},
            {"output_attentions": False},
        ],
    )
    def test_what_real_models_have(self, entry: dict[str, Any]) -> None:
        trust.check_config("m", entry)


class TestFiles:
    def test_a_pickle_is_never_opened(self, tmp_path: Path) -> None:
        torch.save({}, tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match=r"is a pickle, .*save_pretrained"):
            trust.weight_files("m", tmp_path)

    def test_no_weights(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"has no model\.safetensors"):
            trust.weight_files("m", tmp_path)

    def test_an_adapter_would_load_another_model(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        (tmp_path / "model.safetensors").touch()
        with pytest.raises(ModelError, match="adapter"):
            trust.weight_files("m", tmp_path)

    @pytest.mark.parametrize(
        "part",
        ["../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "x.bin", "..", 5],
    )
    def test_an_index_stays_in_the_folder(self, tmp_path: Path, part: Any) -> None:
        index = {"metadata": {}, "weight_map": {"w": part}}
        (tmp_path / trust.INDEX).write_text(json.dumps(index))
        with pytest.raises(ModelError, match="names the file"):
            trust.weight_files("m", tmp_path)

    def test_parts_of_an_index(self, tmp_path: Path) -> None:
        name = "model-00001-of-00001.safetensors"
        index = {"metadata": {}, "weight_map": {"w": name, "v": name}}
        (tmp_path / trust.INDEX).write_text(json.dumps(index))
        assert trust.weight_files("m", tmp_path) == [tmp_path / name]

    def test_numbers_are_counted_by_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, path)
        assert trust.count_numbers("m", [path]) == 17

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff" * 8,
            struct.pack("<Q", 2**60) + b"{}",
            struct.pack("<Q", 2) + b"[]",
        ],
    )
    def test_headers_that_cannot_be(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelError, match="is damaged"):
            trust.count_numbers("m", [path])


class TestWeights:
    def test_a_model_larger_than_its_files(self) -> None:
        with torch.device("meta"):
            model = nn.Linear(100_000, 100_000)
        with pytest.raises(ModelError, match=r"describes 10,000,100,000 weights"):
            trust.check_size("m", model, 1000)
        trust.check_size("m", nn.Linear(10, 10), 110)

    @pytest.mark.parametrize(
        ("tensors", "what"),
        [
            ({"bias": torch.zeros(2)}, "lack 'weight'"),
            ({"weight": torch.zeros(2, 9), "bias": torch.zeros(2)}, "another shape"),
            ({**nn.Linear(3, 2).state_dict(), "x": torch.zeros(1)}, "also have 'x'"),
        ],
    )
    def test_weights_of_another_model(
        self, tensors: dict[str, torch.Tensor], what: str
    ) -> None:
        report = trust.differences(nn.Linear(3, 2), tensors)
        with pytest.raises(ModelError, match=what):
            trust.check_loaded("m", report)

    def test_only_the_body_counts_under_a_new_head(self) -> None:
        report = trust.differences(nn.ModuleDict({"head": nn.Linear(3, 2)}), {})
        trust.check_loaded("m", report, ["body."])

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
    def test_one_wrong_number(self, value: float) -> None:
        weights = torch.zeros(50)
        weights[33] = value
        with pytest.raises(ModelError, match="'w' are not finite"):
            trust.check_weights("m", {"v": torch.ones(3), "w": weights})

    def test_whole_and_empty_tensors(self) -> None:
        trust.check_weights("m", {"steps": torch.tensor(7), "none": torch.zeros(0)})


@pytest.mark.parametrize(
    "change",
    [
        {"height": 0},
        {"width": 10**6},
        {"shortest_edge": -3},
        {"height": "16"},
        {"resample": 99},
        {"resample": -1},
        {"mean": (0.5,)},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (float("nan"), 0.0, 0.0)},
    ],
)
def test_preparations_that_cannot_be(change: dict[str, Any]) -> None:
    trust.check_preprocess("m", PLAIN)
    with pytest.raises(ModelError, match="cannot be loaded"):
        trust.check_preprocess("m", replace(PLAIN, **change))
