"""Make the embedded model: a small CLIP of our own, from image-text pairs.

    python tools/pretrain_tiny.py --pairs pairs-*.parquet --out src-of-weights/ --steps 12000
    python tools/pretrain_tiny.py ... --install          # replaces labelsieve/assets/tiny
    python tools/pretrain_tiny.py ... --start DIR        # goes on from finished weights
    python tools/pretrain_tiny.py ... --leave-out airplane,cat,...   # never sees these classes

Pairs: Parquet with `image` (encoded bytes), `caption` (a noun) and `label` (its class name).
Digits and letters are rendered by glyphs.py. Loss: InfoNCE (Radford et al. 2021) in which every
image that shares a name with a text is a positive of it (UniCL, Yang et al. 2022), because
names repeat in a batch. Half of the patches are left out of most steps (FLIP, Li et al. 2023),
of photos only: a glyph with holes is another glyph; attention starts near the identity (mimetic
initialisation, Trockman & Kolter 2023); matrices are trained by Muon, the rest by AdamW.
Interrupted, the same command goes on from the last checkpoint.
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
from muon import Muon
from PIL import Image
from small_clip import (
    MEAN,
    STD,
    build,
    channel,
    image_features,
    make_tokenizer,
    precision,
    save,
    text_features,
    zero_shot,
)
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPModel, PreTrainedTokenizerFast

CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass
class Pairs:
    """images [n, 32, 32, 3] uint8; `names[i]` are the keys of image i; `texts[key]` its
    (spellings, own templates)."""

    images: Tensor
    names: list[tuple[str, ...]]
    texts: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    natural: Tensor  # [n] bool: pictures that may be mirrored
    sources: list[range]  # row numbers of each file, and of the glyphs last


def _noun(caption: str, label: str) -> str:
    """File-name remains ("manual-skunk003.png") are no captions: the class name stands in."""
    return label if re.search(r"[0-9_.]|\bmanual\b", caption) else caption


def read_pairs(
    paths: list[Path], left_out: set[str], num_glyphs: int, seed: int
) -> Pairs:
    images, names, sources = [], [], []
    for path in paths:
        first = len(images)
        for row in pq.read_table(
            path, columns=["image", "caption", "label"]
        ).to_pylist():
            label = row["label"].replace("_", " ")
            if label in left_out:
                continue
            picture = (
                Image.open(io.BytesIO(row["image"]))
                .convert("RGB")
                .resize((32, 32), Image.Resampling.BICUBIC)
            )
            images.append(np.asarray(picture))
            names.append(tuple(dict.fromkeys((_noun(row["caption"], label), label))))
        sources.append(range(first, len(images)))
    texts = {key: ((key,), captions.SHORT) for keys in names for key in keys}
    natural = torch.ones(len(images) + num_glyphs, dtype=torch.bool)
    natural[len(images) :] = False
    if num_glyphs:
        sources.append(range(len(images), len(images) + num_glyphs))
        drawn, symbols = glyphs.sheet(num_glyphs, seed)
        images.extend(drawn)
        for symbol in symbols:
            words, own = glyphs.names(symbol)
            names.append((f"glyph {symbol}",))
            texts[f"glyph {symbol}"] = (
                tuple(words),
                (*own, *own, *captions.SHORT[:12]),
            )
    return Pairs(torch.from_numpy(np.stack(images)), names, texts, natural, sources)


def augment(images: Tensor, natural: Tensor, generator: torch.Generator) -> Tensor:
    """[b, 32, 32, 3] uint8 -> [b, 3, 32, 32] normalised: one random affine (crop, zoom,
    mirror), light, one erased square."""
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
            torch.stack(
                [
                    zoom * aspect * mirror * angle.cos(),
                    -zoom * angle.sin(),
                    room * (2 * rand(b) - 1),
                ],
                1,
            ),
            torch.stack(
                [
                    zoom * mirror * angle.sin(),
                    zoom / aspect * angle.cos(),
                    room * (2 * rand(b) - 1),
                ],
                1,
            ),
        ],
        1,
    )
    pixels = F.grid_sample(
        pixels,
        F.affine_grid(theta, list(pixels.shape), False),
        padding_mode="reflection",
        align_corners=False,
    )
    level, contrast, colour = (s * (rand(b, 1, 1, 1) - 0.5) for s in (0.4, 0.7, 0.8))
    mean = pixels.mean((1, 2, 3), keepdim=True)
    grey = pixels.mean(1, keepdim=True)
    pixels = (pixels - mean) * (1 + contrast) + mean + level + (pixels - grey) * colour
    return _erase(
        (pixels.clamp(0, 1) - channel(MEAN, device)) / channel(STD, device),
        natural,
        rand,
    )


def _erase(pixels: Tensor, natural: Tensor, rand) -> Tensor:  # type: ignore[no-untyped-def]
    b = len(pixels)
    centre, half = 32 * rand(b, 2), 3 + 5 * rand(b, 1)
    axis = torch.arange(32, device=pixels.device)[None]
    inside = [(axis - centre[:, i : i + 1]).abs() < half for i in (0, 1)]
    hole = (
        inside[0][:, :, None]
        & inside[1][:, None, :]
        & (natural & (rand(b) < 0.5))[:, None, None]
    )
    return pixels.masked_fill(hole[:, None], 0.0)


def draw_texts(
    pairs: Pairs, rows: np.ndarray, rng: np.random.Generator, long: bool
) -> tuple[list[str], Tensor]:
    """One sentence per name met in the batch, and which image [b] has which sentence [t] as a
    positive, bool [b, t].

    The noun of the file and the class name (the last one) are drawn equally often.
    """
    keys = list(
        dict.fromkeys(pairs.names[i][rng.integers(len(pairs.names[i]))] for i in rows)
    )
    sentences = []
    for key in keys:
        spellings, own = pairs.texts[key]
        sentences.append(
            captions.write(
                spellings[rng.integers(len(spellings))], rng, long=long, templates=own
            )
        )
    column = {key: k for k, key in enumerate(keys)}
    positive = torch.zeros(len(rows), len(keys), dtype=torch.bool)
    for r, i in enumerate(rows):
        positive[r, [column[key] for key in pairs.names[i] if key in column]] = True
    return sentences, positive


def contrastive_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Both directions of InfoNCE [b, t], averaged over the positives of each row (every row and
    column has one)."""
    weight = positive.float()
    to_text = (
        -(weight / weight.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    )
    to_image = (
        -(weight / weight.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    )
    return (to_text + to_image) / 2


def exams(
    test: Path | None,
) -> dict[str, tuple[np.ndarray, np.ndarray, list[str], str]]:
    """What zero-shot accuracy is reported on; never trained on."""
    from sklearn.datasets import load_digits

    data = load_digits()

    def grow(x: np.ndarray) -> Image.Image:
        small = Image.fromarray((x * 255 / 16).astype(np.uint8))
        return small.resize((32, 32), Image.Resampling.BICUBIC)

    digits = np.stack([np.asarray(grow(x).convert("RGB")) for x in data.images])
    found = {
        "digits": (digits, data.target, list(glyphs.DIGITS), "a handwritten digit {}.")
    }
    if test is not None:
        table = pq.read_table(test, columns=["image", "label"]).to_pydict()
        images = np.stack(
            [
                np.asarray(Image.open(io.BytesIO(b)).convert("RGB"))
                for b in table["image"]
            ]
        )
        truth = np.array([CIFAR10.index(label) for label in table["label"]])
        found["cifar10"] = (images, truth, list(CIFAR10), "a photo of a {}.")
    return found


def optimizers(model: CLIPModel, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms, biases and
    projections."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    chosen = {id(p) for p in inside}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    decayed, plain = [p for p in rest if p.ndim >= 2], [p for p in rest if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": 0.05},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [
        Muon(inside, lr=lr),
        torch.optim.AdamW(groups, lr=lr / 2, betas=(0.9, 0.98)),
    ]


def schedule(step: int, steps: int, warmup: int = 200, decay: float = 0.6) -> float:
    """Up, flat, then straight down to zero over the last `decay` of the steps."""
    return min(1.0, (step + 1) / warmup, max(steps - step, 1) / (decay * steps))


def beginning(
    args: argparse.Namespace, pairs: Pairs
) -> tuple[PreTrainedTokenizerFast, CLIPModel]:
    """New towers, or finished ones with their tokenizer."""
    if args.start is not None:
        return AutoTokenizer.from_pretrained(args.start), CLIPModel.from_pretrained(
            args.start, dtype=torch.float32
        )
    tokenizer = make_tokenizer(pairs.texts)
    return tokenizer, build(
        tokenizer,
        args.width,
        args.blocks,
        args.text_width,
        args.text_blocks,
        args.scale,
    )


def look(
    model: CLIPModel,
    pixels: Tensor,
    natural: Tensor,
    keep: int | None,
    generator: torch.Generator,
) -> Tensor:
    """Features of a batch in its order; patches are left out of natural pictures only."""
    if keep is None or natural.all():
        return image_features(model, pixels, keep, generator)
    parts = [
        image_features(model, pixels[natural], keep, generator),
        image_features(model, pixels[~natural], None, generator),
    ]
    back = torch.cat([natural.nonzero()[:, 0], (~natural).nonzero()[:, 0]]).argsort()
    return torch.cat(parts)[back]


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    pairs = read_pairs(args.pairs, set(args.leave_out), args.glyphs, args.seed)
    tokenizer, model = beginning(args, pairs)
    model.to(device)
    if device.type == "cpu":
        model.set_attn_implementation(
            "eager"
        )  # faster at 65 tokens: 300 images/s against 260, measured
    opts = optimizers(model, args.lr)
    start, checkpoint = 0, out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
        start = state["step"]
    images, natural, tests = (
        pairs.images.to(device),
        pairs.natural.to(device),
        exams(args.test),
    )
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    size = (
        f"{len(images)} images, {len(pairs.texts)} names, {millions:.2f} M parameters"
    )
    print(f"{size}, from step {start}", flush=True)
    clock, running = time.time(), 0.0
    for step in range(start, args.steps):
        rng = np.random.default_rng(
            (args.seed, step)
        )  # each step draws from its own seed: a resumed run is the same run
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        for opt in opts:
            for group in opt.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * schedule(
                    step, args.steps
                )
        rows = draw_rows(pairs, args.shares, args.batch, step, args.seed)
        sentences, positive = draw_texts(pairs, rows, rng, rng.random() < args.long)
        keep = args.keep if step < args.whole_from * args.steps else None
        index = torch.from_numpy(rows).to(device)
        pixels = augment(images[index], natural[index], generator)
        with precision(device):
            vision, text = (
                look(model, pixels, natural[index], keep, generator),
                text_features(model, tokenizer, sentences),
            )
        loss = contrastive_loss(
            model.logit_scale.exp() * vision @ text.T, positive.to(device)
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        running = loss.item() if not running else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % args.log == 0 or step + 1 == args.steps:
            marks = {
                n: zero_shot(model, tokenizer, *exam)["all"]
                for n, exam in tests.items()
            }
            rate = args.batch * (step + 1 - start) / (time.time() - clock)
            scale = model.logit_scale.exp()
            report = f"step {step + 1} loss {running:.3f} scale {scale:.1f}"
            print(f"{report} {rate:.0f} images/s {marks}", flush=True)
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in opts],
                "step": step + 1,
            }
            torch.save(state, out / "checkpoint.tmp")
            (out / "checkpoint.tmp").replace(checkpoint)
    final = {name: zero_shot(model, tokenizer, *exam) for name, exam in tests.items()}
    recipe = {
        k: v
        for k, v in vars(args).items()
        if isinstance(v, int | float) or k in ("leave_out", "shares")
    }
    if args.start is not None:  # whose towers have the sizes of then
        recipe = {
            k: v
            for k, v in recipe.items()
            if k not in ("width", "blocks", "text_width", "text_blocks", "scale")
        }
        recipe["went on from"] = json.loads((args.start / "figures.json").read_text())[
            "recipe"
        ]
    save(model, tokenizer, out / "model", final, recipe)


def draw_rows(
    pairs: Pairs, shares: list[float], batch: int, step: int, seed: int
) -> np.ndarray:
    """Row numbers of a step: from each source its share, consecutive slices of one permutation
    per epoch of the source."""
    parts = []
    for number, (rows, share) in enumerate(zip(pairs.sources, shares, strict=True)):
        count = round(batch * share)
        per_epoch = len(rows) // count
        order = np.random.default_rng((seed, number, step // per_epoch)).permutation(
            rows
        )
        parts.append(order[(step % per_epoch) * count :][:count])
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--test",
        type=Path,
        help="CIFAR-10 test split with `image` and `label`, for reporting only",
    )
    parser.add_argument("--out", required=True)
    parser.add_argument("--leave-out", type=lambda s: s.split(","), default=[])
    parser.add_argument("--glyphs", type=int, default=12000)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--scale", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--text-width", type=int, default=128)
    parser.add_argument("--text-blocks", type=int, default=4)
    parser.add_argument(
        "--start", type=Path, help="folder of finished weights to go on from"
    )
    parser.add_argument(
        "--keep", type=int, default=24, help="patches kept in most steps"
    )
    parser.add_argument(
        "--whole-from",
        type=float,
        default=0.8,
        help="share of the steps after which all patches are used",
    )
    parser.add_argument(
        "--shares",
        type=lambda s: [float(x) for x in s.split(",")],
        default=[0.5, 0.4, 0.1],
        help="of a batch: one per pairs file, glyphs last",
    )
    parser.add_argument(
        "--long", type=float, default=0.2, help="share of the steps with long captions"
    )
    parser.add_argument("--log", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--install",
        type=Path,
        help="copy the finished model here, e.g. labelsieve/assets/tiny",
    )
    args = parser.parse_args()
    train(args)
    if args.install:
        shutil.copytree(Path(args.out) / "model", args.install, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
