"""Text side of one step: shared prefixes against every prompt at full length.

Forward, backward, and the difference.
"""

from __future__ import annotations

import argparse

import torch
from shapes import class_tokens, encoder, plain_text_features, unfused
from timing import machine, side_by_side, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--shapes", nargs="+", default=["ViT-B/16", "tiny"])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for shape in args.shapes:
        model, theirs = encoder(shape, device), unfused(encoder(shape, device))
        for classes in args.classes:
            tokens = class_tokens(model, classes)
            contexts = (
                0.02 * torch.randn(2, 16, model.text_width, device=device)
            ).requires_grad_()
            target = torch.randn(
                2, classes, model.model.config.projection_dim, device=device
            )
            gradients = {}

            def run(
                name,
                encode,
                contexts=contexts,
                tokens=tokens,
                target=target,
                gradients=gradients,
            ):  # type: ignore[no-untyped-def]
                features = encode(contexts, tokens)
                gradients[name] = (
                    features.detach(),
                    torch.autograd.grad((features * target).sum(), contexts)[0],
                )

            taken = side_by_side(
                {
                    "shared": lambda run=run, model=model: run(
                        "shared", model.prompt_features
                    ),
                    "plain": lambda run=run, theirs=theirs: run(
                        "plain", lambda c, t: plain_text_features(theirs, c, t)
                    ),
                },
                args.repeats,
            )
            apart = [
                float((a - b).abs().max() / b.abs().max())
                for a, b in zip(gradients["shared"], gradients["plain"], strict=True)
            ]
            rows.append(
                [
                    shape,
                    classes,
                    taken["plain"],
                    taken["shared"],
                    f"{taken['plain'] / taken['shared']:.1f}",
                    *apart,
                ]
            )
    header = [
        "shape",
        "classes",
        "plain s",
        "shared s",
        "ratio",
        "outputs apart",
        "gradients apart",
    ]
    table(f"Text features, forward and backward, float32. {machine()}", header, rows)


if __name__ == "__main__":
    main()
