"""Models of open_clip with random weights against the library's own forward passes.

The library needs torchvision, which is not there in every environment: `make open-clip` runs
this file in one of its own.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models import shake, write_tokenizer
from safetensors.torch import load_file, save_file

import labelsieve as ls
from labelsieve.errors import ModelError
from labelsieve.models import adapters
from labelsieve.models.families import open_clip as family
from labelsieve.models.load import load_encoder, preprocess_of

try:
    import open_clip
except Exception as error:  # a torchvision that does not fit raises RuntimeError
    pytest.skip(f"open_clip: {error}", allow_module_level=True)

VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
# As published models are made: OpenAI's; CLIPA's, which pool patches and read the last of
# all positions; SigLIP's, with a tower of timm and a tokenizer of transformers; BioCLIP's and
# LAION's with scales behind their layers.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip": {
        "embed_dim": 24,
        "vision_cfg": VISION,
        "text_cfg": TEXT,
        "quick_gelu": True,
    },
    "clipa": {
        "embed_dim": 24,
        "vision_cfg": {
            **VISION,
            "no_ln_pre": True,
            "pool_type": "avg",
            "final_ln_after_pool": True,
        },
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
    },
    "siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **TEXT,
            "vocab_size": 99,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
    "scaled": {
        "embed_dim": 24,
        "vision_cfg": {**VISION, "ls_init_value": 0.1},
        "text_cfg": {**TEXT, "ls_init_value": 0.1, "pool_type": "eos", "eos_id": 49407},
        "custom_text": True,
    },
}
NAMES = ["cat", "a long name", "x"]


@functools.cache
def library_model(kind: str) -> Any:
    settings = json.loads(json.dumps(ARCHITECTURES[kind]))
    custom = settings.pop("custom_text", False)
    made = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    return shake(made(**settings)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @functools.cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        content = {"model_cfg": ARCHITECTURES[kind], "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(content))
        tensors = {
            name: tensor.contiguous()
            for name, tensor in library_model(kind).state_dict().items()
        }
        save_file(tensors, folder / "open_clip_model.safetensors")
        if kind == "siglip":
            write_tokenizer(folder, 40, opening=False)
        return folder

    return make


@pytest.fixture(scope="module", params=ARCHITECTURES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, write: Callable[[str], Path]) -> Path:
    return write(kind)


@pytest.fixture
def encoder(folder: Path) -> Any:
    return load_encoder(str(folder))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(encoder: Any, count: int = 3) -> torch.Tensor:
    return noise(count, 3, encoder.preprocess.height, encoder.preprocess.width)


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def test_claims_its_names_and_folders(folder: Path, tmp_path: Path) -> None:
    assert family.claims(str(folder))
    assert family.claims("open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert family.claims("hf-hub:imageomics/bioclip")
    assert not family.claims("tiny") and not family.claims(str(tmp_path))


def test_counts_its_arithmetic(kind: str, folder: Path) -> None:
    # two blocks of width 32 over 16 patches and a class token
    known = 2 * (24 * 32**2 * 17 + 4 * 32 * 17**2)
    assert family.operations(str(folder)) == (0 if kind == "siglip" else known)


def test_image_features_are_the_library_s(kind: str, encoder: Any) -> None:
    pixels = pictures(encoder)
    expected = unit(library_model(kind).encode_image(pixels))
    assert torch.allclose(encoder.image_features(pixels), expected, atol=1e-5)


def test_text_features_are_the_library_s(kind: str, folder: Path, encoder: Any) -> None:
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(NAMES)
    expected = unit(library_model(kind).encode_text(ids))
    assert torch.allclose(encoder.text_features(NAMES), expected, atol=1e-5)


def test_prompts_are_texts_when_their_contexts_are_words(encoder: Any) -> None:
    context = encoder.embed_tokens(encoder.word_ids("of a"))[None]
    tokens = encoder.class_tokens(NAMES, context.shape[1])
    prompts = encoder.prompt_features(context, tokens)[0]
    texts = encoder.text_features([f"of a {name}." for name in NAMES])
    # the tokenizer of characters has a token for the space between context and name
    if len(encoder.word_ids("of a cat.")) == context.shape[1] + tokens.end[0]:
        assert torch.allclose(prompts, texts, atol=1e-5)
    else:
        assert encoder.word_ids("a b").shape[0] == 3


def test_shared_prefix_equals_whole_prompts(encoder: Any) -> None:
    contexts = noise(2, 4, encoder.text_width).requires_grad_()
    tokens = encoder.class_tokens(NAMES, 4)
    shared = encoder.prompt_features(contexts, tokens)
    plain = encoder.prompt_features(contexts, tokens, plain=True)
    assert torch.allclose(shared, plain, atol=1e-5)
    target = noise(*shared.shape, seed=1)
    (one,) = torch.autograd.grad((shared * target).sum(), contexts)
    (two,) = torch.autograd.grad((plain * target).sum(), contexts)
    assert torch.allclose(one, two, atol=1e-5) and one.abs().max() > 0


@pytest.mark.parametrize("tuning", ["vpt-deep", "vpt-shallow", "lora", "ssf", "bias"])
def test_every_tuning_learns(folder: Path, tuning: str) -> None:
    if tuning == "lora":
        pytest.importorskip("peft")
    encoder = load_encoder(str(folder))
    learned = adapters.build(tuning, encoder, 2, torch.Generator().manual_seed(0))
    pixels = pictures(encoder)
    features = encoder.image_features(pixels, learned.tokens())
    loss = (features * noise(*features.shape, seed=1)).sum()
    gradients = torch.autograd.grad(loss, list(learned.parameters.values()))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0


def test_lora_begins_as_the_plain_path_and_can_be_added_up(folder: Path) -> None:
    pytest.importorskip("peft")
    encoder = load_encoder(str(folder))
    pixels = pictures(encoder)
    with torch.no_grad():
        plain = encoder.image_features(pixels)
        learned = adapters.build("lora", encoder, 2, torch.Generator().manual_seed(0))
        torch.testing.assert_close(encoder.image_features(pixels), plain)
        for number, tensor in enumerate(learned.parameters.values()):
            tensor.copy_(noise(*tensor.shape, seed=number))
        tuned = encoder.image_features(pixels)
        assert float((tuned - plain).abs().max()) > 1e-3
        adapters.take_lora(encoder.image_tower)
        torch.testing.assert_close(encoder.image_features(pixels), tuned)


def test_vpt_sees_prompts_as_further_tokens(write: Callable[[str], Path]) -> None:
    encoder: Any = load_encoder(str(write("clip")))
    pixels, prompt = pictures(encoder), noise(1, 2, 32)
    found = encoder.image_pooled(pixels, list(prompt))
    visual = library_model("clip").visual
    x = visual._embeds(pixels)
    x = torch.cat([x, prompt.expand(len(x), -1, -1)], 1)
    expected = visual.ln_post(visual.transformer(x)[:, 0])
    assert torch.allclose(found, expected, atol=1e-4)


def test_preprocessing_is_the_library_s(folder: Path, encoder: Any) -> None:
    from PIL import Image

    _model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    ours = encoder.normalise(
        torch.from_numpy(encoder.preprocess(picture).copy()).permute(2, 0, 1)[None]
    )
    assert torch.allclose(ours[0], transform(picture), atol=0.02)
    assert preprocess_of(str(folder)) == encoder.preprocess


@pytest.mark.slow
def test_a_scan_from_beginning_to_end(folder: Path, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [np.uint8(15 * image) for image in digits.images[:60]]
    labels = [f"digit {label}" for label in digits.target[:60]]
    for method in ("zero-shot", "deft"):
        data = ls.load((images, labels))
        run = ls.scan(data, model=str(folder), method=method, output=tmp_path / method)
        assert run.scores.num_rows == 60


def test_a_tower_is_fine_tuned_with_lora(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = [np.uint8(15 * image) for image in digits.images[:60]]
    data = ls.load((images, [f"digit {label % 2}" for label in digits.target[:60]]))
    run = ls.scan(data, model=str(folder), method="zero-shot", output=tmp_path / "run")
    settings = {"epochs": 1, "tune": "lora", "keep": "last"}
    wanted: dict[str, Any] = {
        "student": str(folder),
        "settings": settings,
        "data": data,
    }
    trained = ls.train(run, output=tmp_path / "c", **wanted)
    # nothing of what tuned it is left in what was saved
    names = list(trained.backbone.model.state_dict())
    assert not [n for n in names if "lora" in n or "parametrizations" in n]
    answers = trained.predict(images[:4])
    again = ls.Classifier.from_pretrained(tmp_path / "c").predict(images[:4])
    assert answers == again and len(answers) == 4


def change(folder: Path, target: Path, **model: Any) -> str:
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["model_cfg"] |= model
    (target / "open_clip_config.json").write_text(json.dumps(content))
    weights = target / "open_clip_model.safetensors"
    weights.write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    return str(target)


REFUSED = {
    "decoder": ({"multimodal_cfg": {}}, "multimodal_cfg"),
    "text of transformers": (
        {"text_cfg": {"hf_model_name": "roberta-base"}},
        "text tower",
    ),
    "repository": (
        {"vision_cfg": {"timm_model_name": "hf-hub:someone/else"}},
        "repository",
    ),
    "another size": ({"vision_cfg": {**VISION, "width": 48}}, "another shape"),
    "a huge size": ({"vision_cfg": {**VISION, "width": 10**8}}, "gives width as"),
    "many weights": ({"vision_cfg": {**VISION, "width": 10**6}}, "describes"),
    "code": (
        {
            "text_cfg": {
                **TEXT,
                "hf_tokenizer_name": "a/b",
                "tokenizer_kwargs": {"trust_remote_code": True},
            }
        },
        "trust_remote_code",
    ),
    "a tokenizer elsewhere": (
        {"text_cfg": {**TEXT, "hf_tokenizer_name": "../secret"}},
        "tokenizer",
    ),
    "no towers": ({"vision_cfg": None}, "towers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_named(
    case: str, write: Callable[[str], Path], tmp_path: Path
) -> None:
    model, word = REFUSED[case]
    name = change(write("clip"), tmp_path, **model)
    with pytest.raises(ModelError, match=word):
        load_encoder(name)


def test_convolutional_towers_are_refused(tmp_path: Path) -> None:
    vision = {**VISION, "layers": [1, 1, 1, 1], "head_width": 8, "width": 8}
    settings = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}
    save_file(
        open_clip.CLIP(**settings).state_dict(),
        tmp_path / "open_clip_model.safetensors",
    )
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings}))
    with pytest.raises(ModelError, match="ModifiedResNet"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("which", ["clip", "siglip"])
def test_tokens_without_a_vector_are_refused_when_the_model_is_opened(
    which: str, write: Callable[[str], Path], tmp_path: Path
) -> None:
    """The library's own vocabulary and one of transformers; a text would end in a traceback."""
    folder = shutil.copytree(write(which), tmp_path / which)
    config = folder / "open_clip_config.json"
    content = json.loads(config.read_text())
    content["model_cfg"]["text_cfg"]["vocab_size"] = 20
    config.write_text(json.dumps(content))
    weights = folder / "open_clip_model.safetensors"
    tensors = load_file(weights)
    (name,) = [n for n in tensors if n.endswith("token_embedding.weight")]
    tensors[name] = tensors[name][:20].clone()
    save_file(tensors, weights)
    with pytest.raises(
        ModelError, match=r"tokenizer has token \d+, its weights have 20"
    ):
        load_encoder(str(folder))


def test_pickles_are_never_opened(write: Callable[[str], Path], tmp_path: Path) -> None:
    change(write("clip"), tmp_path)
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "model.bin")
    with pytest.raises(ModelError, match="no open_clip_model") as caught:
        load_encoder(str(tmp_path))
    assert "pickle" in str(caught.value)


def test_unknown_tags_are_listed() -> None:
    with pytest.raises(ModelError, match="no model") as caught:
        preprocess_of("open_clip:ViT-B-32/nonsense")
    assert "laion2b_s34b_b79k" in str(caught.value)
