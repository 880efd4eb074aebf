"""One training step of DeFT: ours against the authors' way (see shapes.plain_step), at equal
numbers in float32.

The floor is the image tower's matrix products, forward and backward to the activations, at the
speed that this machine reaches in one large product of the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from shapes import SHAPES, detector, encoder, plain_step, unfused
from timing import machine, side_by_side, table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from labelsieve.methods._dual_prompts import Detector
from labelsieve.models.device import choose_precision

LARGE = (12608, 768, 3072)  # the first layer of ViT-B/16's MLP, 64 pictures


def ours(found: Detector, pixels: Tensor, labels: Tensor, other: Tensor) -> Tensor:
    loss = found.step(
        pixels.to(found.encoder.dtype), labels, other, selecting=False
    ).loss
    loss.backward()
    return loss.detach()


def image_products(found: Detector, pixels: Tensor) -> float:
    """Floating-point operations of the image side's matrix products, both ways; fused attention
    on a CPU is not counted."""
    with FlopCounterMode(display=False) as counter:
        found.image_features(pixels.to(found.encoder.dtype)).sum().backward()
    return float(counter.get_total_flops())


def product(dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    n, k, m = LARGE
    x, w = (
        torch.randn(n, k, device=device, dtype=dtype),
        torch.randn(m, k, device=device, dtype=dtype),
    )
    return lambda: torch.nn.functional.linear(x, w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument(
        "--shapes", nargs="+", default=["ViT-B/16", "tiny"], choices=list(SHAPES)
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warmups", type=int, default=1)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = choose_precision("auto", device)
    rows: list[list[object]] = []
    for shape in args.shapes:
        size = SHAPES[shape]["vision_config"]["image_size"]
        pixels = torch.randn(args.batch, 3, size, size, device=device)
        for classes in args.classes:
            labels, other = torch.randint(classes, (2, args.batch), device=device)
            exact, quick = (
                detector(encoder(shape, str(device), d), classes)
                for d in (torch.float32, fast)
            )
            theirs = detector(unfused(encoder(shape, str(device))), classes)
            losses: dict[str, Tensor] = {}
            given = (pixels, labels, other)
            runs = {
                "plain": lambda e=theirs, g=given, kept=losses: kept.update(
                    plain=plain_step(e, *g)
                ),
                "float32": lambda e=exact, g=given, kept=losses: kept.update(
                    float32=ours(e, *g)
                ),
                "auto": lambda q=quick, g=given: ours(q, *g),
                "product": product(fast, device),
            }
            if fast == torch.float32:
                del runs["auto"]
            taken = side_by_side(runs, args.repeats, args.warmups)
            taken.setdefault("auto", taken["float32"])
            apart = float(
                (losses["float32"] - losses["plain"]).abs() / losses["plain"].abs()
            )
            rate = 2 * LARGE[0] * LARGE[1] * LARGE[2] / taken["product"]
            floor = image_products(quick, pixels) / rate
            ratios = (
                f"{taken['plain'] / taken[name]:.1f}" for name in ("float32", "auto")
            )
            rows.append(
                [
                    shape,
                    classes,
                    taken["plain"],
                    taken["float32"],
                    taken["auto"],
                    *ratios,
                    f"{apart:.0e}",
                    rate / 1e9,
                    floor,
                    f"{taken['auto'] / floor:.1f}",
                ]
            )
    low = str(fast)[6:]
    names = [
        "shape",
        "classes",
        "plain s",
        "ours float32 s",
        f"ours {low} s",
        "ratio float32",
        f"ratio {low}",
        "loss apart (float32)",
        f"one product, {low}, GFLOP/s",
        "floor s",
        f"ours {low} / floor",
    ]
    table(f"One training step, batch {args.batch}. {machine()}", names, rows)


if __name__ == "__main__":
    main()
