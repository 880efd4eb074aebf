"""A small CLIP in transformers' layout: its tokenizer, its towers before training, and how it
is measured and saved."""

from __future__ import annotations

import json
from pathlib import Path

import captions
import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
)

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
POSITIONS = 64
HEAD = 32  # width of an attention head


def make_tokenizer(
    texts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]], vocab_size: int = 2048
) -> PreTrainedTokenizerFast:
    """CLIP's kind of tokenizer (lower case, byte-level BPE, start and end tokens) with a small
    vocabulary of our own."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(r" +", " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(
                Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    words = [w for spellings, own in texts.values() for w in spellings * 3]
    sentences = [*captions.SHORT, *captions.LEAD, *captions.LINK, *captions.TAIL]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[start, end],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator([*words, *sentences * 3], trainer)
    tokenizer.model = _with_every_byte(tokenizer)
    ids = {t: tokenizer.token_to_id(t) for t in (start, end)}
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, ids[end]), (start, ids[start]), add_prefix_space=False, trim_offsets=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=start,
        eos_token=end,
        pad_token=end,
        unk_token=end,
        model_max_length=POSITIONS,
    )


def _with_every_byte(tokenizer: Tokenizer) -> models.BPE:
    """The trained BPE plus all 256 bytes, inside and at the end of a word: no name is ever
    unknown."""
    trained = json.loads(tokenizer.to_str())["model"]
    vocab = trained["vocab"]
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        for token in (symbol, symbol + "</w>"):
            vocab.setdefault(token, len(vocab))
    merges = [tuple(pair) for pair in trained["merges"]]
    return models.BPE(vocab, merges, end_of_word_suffix="</w>")


def build(
    tokenizer: PreTrainedTokenizerFast,
    width: int,
    blocks: int,
    text_width: int,
    text_blocks: int,
    scale: float,
) -> CLIPModel:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = CLIPConfig(
        vision_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": blocks,
            "num_attention_heads": width // HEAD,
            "image_size": 32,
            "patch_size": 4,
            "hidden_act": "gelu",
            "projection_dim": width,
        },
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": text_blocks,
            "num_attention_heads": text_width // HEAD,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": POSITIONS,
            "hidden_act": "gelu",
            "projection_dim": width,
            **ids,
        },
        projection_dim=width,
        logit_scale_init_value=float(np.log(scale)),
    )
    model = CLIPModel(config)
    for tower in (model.vision_model, model.text_model):
        for block in tower.encoder.layers:
            _mimetic(block.self_attn)
    _sinusoidal(model.vision_model.embeddings.position_embedding.weight, 8)
    return model


@torch.no_grad()
def _mimetic(attention: nn.Module, alpha: float = 0.7, beta: float = 0.4) -> None:
    """Query·key starts near the identity, value·output near minus the identity, per head
    (Trockman & Kolter 2023)."""
    width, head = attention.embed_dim, attention.head_dim
    for h in range(attention.num_heads):
        rows = slice(h * head, (h + 1) * head)
        u, s, v = torch.linalg.svd(
            alpha * torch.randn(width, width) / width**0.5 + alpha * torch.eye(width)
        )
        attention.q_proj.weight[rows] = (u[:, :head] * s[:head].sqrt()).T
        attention.k_proj.weight[rows] = (v[:head].T * s[:head].sqrt()).T
    u, s, v = torch.linalg.svd(
        beta * torch.randn(width, width) / width**0.5 - beta * torch.eye(width)
    )
    attention.out_proj.weight.copy_(u * s.sqrt())
    attention.v_proj.weight.copy_((v.T * s.sqrt()).T)


@torch.no_grad()
def _sinusoidal(table: Tensor, side: int) -> None:
    quarter = table.shape[1] // 4
    frequencies = 10 ** -torch.linspace(0, 2, quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [
        f(axis.flatten()[:, None] * frequencies)
        for axis in (y, x)
        for f in (torch.sin, torch.cos)
    ]
    table[1:, : 4 * quarter] = 0.3 * torch.cat(waves, dim=1)


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the processor or card computes with it natively; emulated it is many times
    slower than float32."""
    native = (
        device.type == "cuda"
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


def image_features(
    model: CLIPModel, pixels: Tensor, keep: int | None, generator: torch.Generator
) -> Tensor:
    """The image tower on a random `keep` of the 64 patches (all of them when None)."""
    tower = model.vision_model
    tokens = tower.embeddings(pixels)
    if keep is not None:
        order = (
            torch.rand(len(tokens), tokens.shape[1] - 1, generator=generator)
            .argsort(1)[:, :keep]
            .to(tokens.device)
            + 1
        )
        chosen = torch.cat([torch.zeros_like(order[:, :1]), order], 1)
        tokens = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state
    return F.normalize(
        model.visual_projection(tower.post_layernorm(hidden[:, 0])).float(), dim=-1
    )


def text_features(
    model: CLIPModel, tokenizer: PreTrainedTokenizerFast, sentences: list[str]
) -> Tensor:
    batch = tokenizer(
        sentences,
        padding=True,
        truncation=True,
        max_length=POSITIONS,
        return_tensors="pt",
    ).to(model.device)
    return F.normalize(model.get_text_features(**batch).pooler_output.float(), dim=-1)


def channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[None, :, None, None]


@torch.no_grad()
def zero_shot(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    images: np.ndarray,
    truth: np.ndarray,
    names: list[str],
    template: str,
) -> dict[str, float]:
    """Accuracy overall and per class of argmax cosine with `template`."""
    model.eval()
    text = text_features(model, tokenizer, [template.format(n) for n in names])
    answers = []
    for part in torch.from_numpy(images).split(500):
        pixels = part.to(model.device).permute(0, 3, 1, 2).float() / 255
        pixels = (pixels - channel(MEAN, model.device)) / channel(STD, model.device)
        with precision(model.device):
            answers.append(
                (image_features(model, pixels, None, torch.Generator()) @ text.T)
                .argmax(1)
                .cpu()
                .numpy()
            )
    model.train()
    right = np.concatenate(answers) == truth
    return {
        "all": float(right.mean()),
        **{n: float(right[truth == k].mean()) for k, n in enumerate(names)},
    }


def save(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    marks: dict[str, dict[str, float]],
    recipe: dict[str, object],
) -> None:
    """A plain Hugging Face directory, weights in half precision, with figures.json and a model
    card of what was measured."""
    scale = model.logit_scale.exp().item()
    model.half().save_pretrained(out)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    for name in (
        "is_local",
        "local_files_only",
    ):  # how it was opened here is nobody's business
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(out)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32},
        crop_size={"height": 32, "width": 32},
        image_mean=list(MEAN),
        image_std=list(STD),
    ).save_pretrained(out)
    figures = {"zero_shot": marks, "logit_scale": scale, "recipe": recipe}
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    count = sum(p.numel() for p in model.parameters()) / 1e6
    card = (Path(__file__).parent / "tiny_card.md").read_text()
    tables = "\n\n".join(_table(name, mark) for name, mark in marks.items())
    fields = {
        "parameters": f"{count:.1f}",
        "scale": f"{scale:.0f}",
        "tables": tables,
        "settings": _settings(recipe),
    }
    (out / "README.md").write_text(card.format(glyphs=recipe["glyphs"], **fields))


def _settings(recipe: dict[str, object]) -> str:
    """In words; weights that were gone on from come first."""
    before = recipe.get("went on from")
    text = ", ".join(f"{k} {v}" for k, v in recipe.items() if k != "went on from")
    return (
        f"{_settings(before)}; then, from these weights: {text}"
        if isinstance(before, dict)
        else text
    )


def _table(name: str, mark: dict[str, float]) -> str:
    """A Markdown table of zero-shot accuracy, overall and per class."""
    rows = [
        f"| {'**all**' if key == 'all' else key} | {100 * value:.1f} % |"
        for key, value in mark.items()
    ]
    return "\n".join([f"| {name} | zero-shot accuracy |", "| --- | --- |", *rows])
