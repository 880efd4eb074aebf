"""One training step of DeFT: ours against the authors' way (see shapes.plain_step), at equal numbers in float32."""

from __future__ import annotations

import argparse

import torch
from shapes import SHAPES, detector, encoder, plain_step
from timing import machine, side_by_side, table

from labelsieve.models import choose_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--shapes", nargs="+", default=["ViT-B/16", "tiny"], choices=list(SHAPES))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = choose_precision("auto", device)
    rows = []
    for shape in args.shapes:
        size = SHAPES[shape]["vision_config"]["image_size"]
        pixels = torch.randn(args.batch, 3, size, size, device=device)
        for classes in args.classes:
            labels, other = torch.randint(classes, (2, args.batch), device=device)
            exact, quick = (detector(encoder(shape, str(device), d), classes) for d in (torch.float32, fast))
            losses = {}

            def ours(name, found, pixels=pixels, labels=labels, other=other, losses=losses):  # type: ignore[no-untyped-def]
                loss = found.step(pixels.to(found.encoder.dtype), labels, other, selecting=False).loss
                loss.backward()
                losses[name] = loss.detach()

            def plain(found=exact, pixels=pixels, labels=labels, other=other, losses=losses):  # type: ignore[no-untyped-def]
                losses["plain"] = plain_step(found, pixels, labels, other)

            runs = {
                "plain": plain,
                "float32": lambda o=ours, e=exact: o("float32", e),
                "auto": lambda o=ours, q=quick: o("auto", q),
            }
            taken = side_by_side(runs, args.repeats)
            apart = float((losses["float32"] - losses["plain"]).abs() / losses["plain"].abs())
            rows.append([shape, classes, taken["plain"], taken["float32"], taken["auto"],
                         f"{taken['plain'] / taken['float32']:.1f}", f"{taken['plain'] / taken['auto']:.1f}", apart])  # fmt: skip
    names = [
        "shape",
        "classes",
        "plain s",
        "ours float32 s",
        f"ours {str(fast)[6:]} s",
        "ratio float32",
        f"ratio {str(fast)[6:]}",
        "loss apart (float32)",
    ]
    table(f"One training step, batch {args.batch}. {machine()}", names, rows)


if __name__ == "__main__":
    main()
