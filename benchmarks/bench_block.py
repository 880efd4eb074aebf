"""One block of the image tower, forward and backward to its input and prompts: is there
anything left to gain?

Side by side: transformers' activation function, ours, torch.compile of ours, and the block's
matrix products alone at the speed of one large product of the same run (attention's are not
among them).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from shapes import SHAPES, encoder, unfused
from timing import machine, seconds, side_by_side, table
from torch import Tensor, nn

from labelsieve.models.blocks import image_block
from labelsieve.models.device import choose_precision

Block = Callable[[nn.Module, Tensor, Tensor], Tensor]


def step(block: Block, layer: nn.Module, x: Tensor, prompts: Tensor) -> None:
    """Gradients of one block."""
    inputs = (x.detach().requires_grad_(), prompts.detach().requires_grad_())
    out = block(layer, *inputs)
    out.backward(torch.ones_like(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="ViT-B/16", choices=list(SHAPES))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_precision("auto", device)
    model = encoder(args.shape, str(device), dtype)
    fast, slow = (
        model.image_layers[0],
        unfused(encoder(args.shape, str(device), dtype)).image_layers[0],
    )
    x = torch.randn(
        args.batch, model.image_tokens, model.image_width, device=device, dtype=dtype
    )
    prompts = torch.randn(20, model.image_width, device=device, dtype=dtype)
    compiled: Block = torch.compile(image_block)  # type: ignore[assignment]
    first = seconds(lambda: step(compiled, fast, x, prompts))
    wide = fast.mlp.fc1.weight  # type: ignore[union-attr]
    runs = {
        "transformers' activation": lambda: step(image_block, slow, x, prompts),
        "ours": lambda: step(image_block, fast, x, prompts),
        "compiled": lambda: step(compiled, fast, x, prompts),
        "product": lambda: torch.nn.functional.linear(x, wide),
    }
    taken = side_by_side(runs, args.repeats)
    taken["products alone"] = (
        taken.pop("product") * 2 * 3
    )  # four of width x width and two four times as wide, both ways
    rows = [
        [name, value, f"{value / taken['products alone']:.2f}"]
        for name, value in taken.items()
    ]
    precision = str(dtype).removeprefix("torch.")
    title = f"One block of {args.shape}, {args.batch} pictures, {precision}"
    title += f"; compiling took {first:.0f} s. {machine()}"
    table(title, ["block", "s", "of its products"], rows)


if __name__ == "__main__":
    main()
