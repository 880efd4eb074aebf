"""Make the embedded model: a small CLIP of our own, from image-text pairs.

    python tools/pretrain_tiny.py --pairs pairs-*.parquet --out src-of-weights/ --steps 12000
    python tools/pretrain_tiny.py ... --install          # replaces labelsieve/assets/tiny
    python tools/pretrain_tiny.py ... --leave-out airplane,cat,...   # a bench tower that never saw these classes

Pairs: Parquet with `image` (encoded bytes), `caption` (a noun) and `label` (its class name). Digits and letters are
rendered by glyphs.py. Loss: InfoNCE (Radford et al. 2021) in which every image that shares a name with a text is a
positive of it (UniCL, Yang et al. 2022), because names repeat in a batch. Half of the patches are left out of most
steps (FLIP, Li et al. 2023); attention starts near the identity (mimetic initialisation, Trockman & Kolter 2023);
matrices are trained by Muon, the rest by AdamW. Interrupted, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import captions
import glyphs
import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
POSITIONS = 64
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass
class Pairs:
    """images [n, 32, 32, 3] uint8; `names[i]` are the keys of image i; `texts[key]` its (spellings, own templates)."""

    images: Tensor
    names: list[tuple[str, ...]]
    texts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    natural: Tensor  # [n] bool: pictures that may be mirrored


def _noun(caption: str, label: str) -> str:
    """File-name remains ("manual-skunk003.png") are no captions: the class name stands in."""
    return label if re.search(r"[0-9_.]|\bmanual\b", caption) else caption


def read_pairs(paths: list[Path], left_out: set[str], num_glyphs: int, seed: int) -> Pairs:
    images, names = [], []
    for path in paths:
        for row in pq.read_table(path, columns=["image", "caption", "label"]).to_pylist():
            label = row["label"].replace("_", " ")
            if label in left_out:
                continue
            picture = Image.open(io.BytesIO(row["image"])).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
            images.append(np.asarray(picture))
            names.append(tuple(dict.fromkeys((_noun(row["caption"], label), label))))
    texts = {key: ((key,), captions.SHORT) for keys in names for key in keys}
    natural = torch.ones(len(images) + num_glyphs, dtype=torch.bool)
    natural[len(images) :] = False
    if num_glyphs:
        drawn, symbols = glyphs.sheet(num_glyphs, seed)
        images.extend(drawn)
        for symbol in symbols:
            words, own = glyphs.names(symbol)
            names.append((f"glyph {symbol}",))
            texts[f"glyph {symbol}"] = (tuple(words), (*own, *own, *captions.SHORT[:12]))
    return Pairs(torch.from_numpy(np.stack(images)), names, texts, natural)


def make_tokenizer(
    texts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]], vocab_size: int = 2048
) -> PreTrainedTokenizerFast:
    """CLIP's kind of tokenizer (lower case, byte-level BPE, start and end tokens) with a small vocabulary of our own."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(r" +", " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(_regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
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
    """The trained BPE plus all 256 bytes, inside and at the end of a word: no name is ever unknown."""
    trained = json.loads(tokenizer.to_str())["model"]
    vocab = trained["vocab"]
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        for token in (symbol, symbol + "</w>"):
            vocab.setdefault(token, len(vocab))
    merges = [tuple(pair) for pair in trained["merges"]]
    return models.BPE(vocab, merges, end_of_word_suffix="</w>")


def _regex(pattern: str):  # type: ignore[no-untyped-def]
    from tokenizers import Regex

    return Regex(pattern)


def build(
    tokenizer: PreTrainedTokenizerFast, width: int, blocks: int, text_width: int, text_blocks: int, scale: float
) -> CLIPModel:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = CLIPConfig(
        vision_config={
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": blocks, "num_attention_heads": width // 64,
            "image_size": 32, "patch_size": 4, "hidden_act": "gelu", "projection_dim": width,
        },
        text_config={
            "hidden_size": text_width, "intermediate_size": 4 * text_width, "num_hidden_layers": text_blocks,
            "num_attention_heads": text_width // 64, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS,
            "hidden_act": "gelu", "projection_dim": width, **ids,
        },
        projection_dim=width, logit_scale_init_value=float(np.log(scale)),
    )  # fmt: skip
    model = CLIPModel(config)
    model.config._attn_implementation = "eager"  # the faster one at 65 tokens on a CPU
    for tower in (model.vision_model, model.text_model):
        tower.config._attn_implementation = "eager"
        for block in tower.encoder.layers:
            _mimetic(block.self_attn)
    _sinusoidal(model.vision_model.embeddings.position_embedding.weight, 8)
    return model


@torch.no_grad()
def _mimetic(attention: nn.Module, alpha: float = 0.7, beta: float = 0.4) -> None:
    """Query·key starts near the identity, value·output near minus the identity, per head (Trockman & Kolter 2023)."""
    width, head = attention.embed_dim, attention.head_dim
    for h in range(attention.num_heads):
        rows = slice(h * head, (h + 1) * head)
        u, s, v = torch.linalg.svd(alpha * torch.randn(width, width) / width**0.5 + alpha * torch.eye(width))
        attention.q_proj.weight[rows] = (u[:, :head] * s[:head].sqrt()).T
        attention.k_proj.weight[rows] = (v[:head].T * s[:head].sqrt()).T
    u, s, v = torch.linalg.svd(beta * torch.randn(width, width) / width**0.5 - beta * torch.eye(width))
    attention.out_proj.weight.copy_(u * s.sqrt())
    attention.v_proj.weight.copy_((v.T * s.sqrt()).T)


@torch.no_grad()
def _sinusoidal(table: Tensor, side: int) -> None:
    quarter = table.shape[1] // 4
    frequencies = 10 ** -torch.linspace(0, 2, quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [f(axis.flatten()[:, None] * frequencies) for axis in (y, x) for f in (torch.sin, torch.cos)]
    table[1:, : 4 * quarter] = 0.3 * torch.cat(waves, dim=1)


def augment(images: Tensor, natural: Tensor, generator: torch.Generator) -> Tensor:
    """[b, 32, 32, 3] uint8 -> [b, 3, 32, 32] normalised: one random affine (crop, zoom, mirror), light, one erased square."""
    b, device = len(images), images.device
    rand = lambda *shape: torch.rand(*shape, generator=generator).to(device)  # noqa: E731
    pixels = images.permute(0, 3, 1, 2).float() / 255
    zoom = torch.where(natural, 0.65 + 0.45 * rand(b), 0.85 + 0.25 * rand(b))
    aspect = (0.4 * (rand(b) - 0.5)).exp()
    mirror = torch.where((rand(b) < 0.5) & natural, -1.0, 1.0)
    angle = 0.35 * (rand(b) - 0.5)
    room = (1 - zoom).abs().clamp(min=0.12)
    theta = torch.stack(
        [
            torch.stack([zoom * aspect * mirror * angle.cos(), -zoom * angle.sin(), room * (2 * rand(b) - 1)], 1),
            torch.stack([zoom * mirror * angle.sin(), zoom / aspect * angle.cos(), room * (2 * rand(b) - 1)], 1),
        ],
        1,
    )
    pixels = F.grid_sample(
        pixels, F.affine_grid(theta, list(pixels.shape), False), padding_mode="reflection", align_corners=False
    )
    level, contrast, colour = (s * (rand(b, 1, 1, 1) - 0.5) for s in (0.4, 0.7, 0.8))
    mean = pixels.mean((1, 2, 3), keepdim=True)
    grey = pixels.mean(1, keepdim=True)
    pixels = (pixels - mean) * (1 + contrast) + mean + level + (pixels - grey) * colour
    return _erase((pixels.clamp(0, 1) - _channel(MEAN, device)) / _channel(STD, device), natural, rand)


def _erase(pixels: Tensor, natural: Tensor, rand) -> Tensor:  # type: ignore[no-untyped-def]
    b = len(pixels)
    centre, half = 32 * rand(b, 2), 3 + 5 * rand(b, 1)
    axis = torch.arange(32, device=pixels.device)[None]
    inside = [(axis - centre[:, i : i + 1]).abs() < half for i in (0, 1)]
    hole = inside[0][:, :, None] & inside[1][:, None, :] & (natural & (rand(b) < 0.5))[:, None, None]
    return pixels.masked_fill(hole[:, None], 0.0)


def _channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[None, :, None, None]


def image_features(model: CLIPModel, pixels: Tensor, keep: int | None, generator: torch.Generator) -> Tensor:
    """The image tower on a random `keep` of the 64 patches (all of them when None)."""
    tower = model.vision_model
    tokens = tower.embeddings(pixels)
    if keep is not None:
        order = (
            torch.rand(len(tokens), tokens.shape[1] - 1, generator=generator).argsort(1)[:, :keep].to(tokens.device) + 1
        )
        chosen = torch.cat([torch.zeros_like(order[:, :1]), order], 1)
        tokens = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state
    return F.normalize(model.visual_projection(tower.post_layernorm(hidden[:, 0])).float(), dim=-1)


def text_features(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, sentences: list[str]) -> Tensor:
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=POSITIONS, return_tensors="pt").to(
        model.device
    )
    return F.normalize(model.get_text_features(**batch).pooler_output.float(), dim=-1)


def draw_texts(pairs: Pairs, rows: np.ndarray, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """One sentence per name met in the batch, and which image [b] has which sentence [t] as a positive, bool [b, t]."""
    long = rng.random() < 0.35
    keys = list(dict.fromkeys(pairs.names[i][rng.integers(len(pairs.names[i]))] for i in rows))
    sentences = []
    for key in keys:
        spellings, own = pairs.texts[key]
        sentences.append(captions.write(spellings[rng.integers(len(spellings))], rng, long=long, templates=own))
    column = {key: k for k, key in enumerate(keys)}
    positive = torch.zeros(len(rows), len(keys), dtype=torch.bool)
    for r, i in enumerate(rows):
        positive[r, [column[key] for key in pairs.names[i] if key in column]] = True
    return sentences, positive


def contrastive_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Both directions of InfoNCE [b, t], averaged over the positives of each row (every row and column has one)."""
    weight = positive.float()
    to_text = -(weight / weight.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    to_image = -(weight / weight.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (to_text + to_image) / 2


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
        pixels = (pixels - _channel(MEAN, model.device)) / _channel(STD, model.device)
        with torch.autocast(model.device.type, torch.bfloat16):
            answers.append((image_features(model, pixels, None, torch.Generator()) @ text.T).argmax(1).cpu().numpy())
    model.train()
    right = np.concatenate(answers) == truth
    return {"all": float(right.mean()), **{n: float(right[truth == k].mean()) for k, n in enumerate(names)}}


def exams(test: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray, list[str], str]]:
    """What zero-shot accuracy is reported on; never trained on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    grow = lambda x: Image.fromarray((x * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)  # noqa: E731
    digits = np.stack([np.asarray(grow(x).convert("RGB")) for x in data.images])
    found = {"digits": (digits, data.target, list(glyphs.DIGITS), "a handwritten digit {}.")}
    if test is not None:
        table = pq.read_table(test, columns=["image", "label"]).to_pydict()
        images = np.stack([np.asarray(Image.open(io.BytesIO(b)).convert("RGB")) for b in table["image"]])
        truth = np.array([CIFAR10.index(label) for label in table["label"]])
        found["cifar10"] = (images, truth, list(CIFAR10), "a photo of a {}.")
    return found


def optimizers(model: CLIPModel, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms, biases and projections."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    chosen = {id(p) for p in inside}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    decayed, plain = [p for p in rest if p.ndim >= 2], [p for p in rest if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return [
        torch.optim.Muon(inside, lr=lr, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, lr=lr / 2, betas=(0.9, 0.98)),
    ]


def schedule(step: int, steps: int, warmup: int = 200, decay: float = 0.6) -> float:
    """Up, flat, then straight down to zero over the last `decay` of the steps."""
    return min(1.0, (step + 1) / warmup, max(steps - step, 1) / (decay * steps))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(args.pairs, set(args.leave_out), args.glyphs, args.seed)
    tokenizer = make_tokenizer(pairs.texts)
    model = build(tokenizer, args.width, args.blocks, args.text_width, args.text_blocks, args.scale).to(device)
    opts = optimizers(model, args.lr)
    start, checkpoint = 0, out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        start = state["step"]
    images, natural, tests = pairs.images.to(device), pairs.natural.to(device), exams(args.test)
    print(
        f"{len(images)} images, {len(pairs.texts)} names, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {start}",
        flush=True,
    )
    clock, running = time.time(), 0.0
    for step in range(start, args.steps):
        rng = np.random.default_rng(
            (args.seed, step)
        )  # each step draws from its own seed: a resumed run is the same run
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * schedule(step, args.steps)
        rows = _rows(len(images), args.batch, step, args.seed)
        sentences, positive = draw_texts(pairs, rows, rng)
        keep = args.keep if step < args.whole_from * args.steps else None
        index = torch.from_numpy(rows).to(device)
        pixels = augment(images[index], natural[index], generator)
        with torch.autocast(device.type, torch.bfloat16):
            vision, text = image_features(model, pixels, keep, generator), text_features(model, tokenizer, sentences)
        loss = contrastive_loss(model.logit_scale.exp() * vision @ text.T, positive.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        running = loss.item() if not running else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % args.log == 0 or step + 1 == args.steps:
            marks = {n: zero_shot(model, tokenizer, *exam)["all"] for n, exam in tests.items()}
            rate = args.batch * (step + 1 - start) / (time.time() - clock)
            print(
                f"step {step + 1} loss {running:.3f} scale {model.logit_scale.exp():.1f} {rate:.0f} images/s {marks}",
                flush=True,
            )
            state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in opts], "step": step + 1}
            torch.save(state, out / "checkpoint.tmp")
            (out / "checkpoint.tmp").replace(checkpoint)
    save(
        model,
        tokenizer,
        out / "model",
        {n: zero_shot(model, tokenizer, *exam) for n, exam in tests.items()},
        vars(args),
    )


def _rows(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Row numbers of a step: consecutive slices of one permutation per epoch."""
    per_epoch = n // batch
    order = np.random.default_rng((seed, 7, step // per_epoch)).permutation(n)
    return order[(step % per_epoch) * batch :][:batch]


def save(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    marks: dict[str, dict[str, float]],
    recipe: dict[str, object],
) -> None:
    """A plain Hugging Face directory, weights in half precision, and figures.json with what was measured."""
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=list(MEAN), image_std=list(STD)
    ).save_pretrained(out)
    plain = {k: v for k, v in recipe.items() if isinstance(v, int | float) or k == "leave_out"}
    (out / "figures.json").write_text(json.dumps({"zero_shot": marks, "recipe": plain}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, help="CIFAR-10 test split with `image` and `label`, for reporting only")
    parser.add_argument("--out", required=True)
    parser.add_argument("--leave-out", type=lambda s: s.split(","), default=[])
    parser.add_argument("--glyphs", type=int, default=12000)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--scale", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--text-width", type=int, default=128)
    parser.add_argument("--text-blocks", type=int, default=4)
    parser.add_argument("--keep", type=int, default=32, help="patches kept in most steps")
    parser.add_argument(
        "--whole-from", type=float, default=0.8, help="share of the steps after which all patches are used"
    )
    parser.add_argument("--log", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--install", type=Path, help="copy the finished model here, e.g. labelsieve/assets/tiny")
    args = parser.parse_args()
    train(args)
    if args.install:
        shutil.copytree(Path(args.out) / "model", args.install, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
