"""Peak resident memory of a whole scan at growing numbers of images, and of the text side at
many classes.

Each scan is a process of its own on a Parquet file of synthetic pictures, through reading,
training, scoring, estimate and report, with a very small tower so that half a million pictures
take minutes. The text side is measured at ViT-B/16's shape: one step forward and backward over
all classes.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from shapes import saved
from timing import machine, table

SCAN = """
import resource, sys
from labelsieve import cli
sys.argv = ["labelsieve"] + sys.argv[1:]
try:
    cli.main()
finally:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""
TEXT = """
import resource, sys, torch
sys.path.insert(0, sys.argv[1])
from shapes import encoder, class_tokens
model = encoder("ViT-B/16")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
tokens = class_tokens(model, int(sys.argv[2]))
contexts = (0.02 * torch.randn(2, 16, model.text_width)).requires_grad_()
model.prompt_features(contexts, tokens).sum().backward()
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before, file=sys.stderr)
"""


def synthetic(path: Path, count: int, side: int = 32) -> None:
    """`count` BMP pictures of side x side in ten classes, each different."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("image", pa.binary()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, 1000):
            size = min(1000, count - start)
            images = []
            for _ in range(size):
                buffer = io.BytesIO()
                grey = rng.integers(0, 256, (side, side), dtype=np.uint8)
                Image.fromarray(grey.repeat(3).reshape(side, side, 3)).save(
                    buffer, "BMP"
                )
                images.append(buffer.getvalue())
            writer.write_table(
                pa.table(
                    {"image": images, "label": [f"kind {k % 10}" for k in range(size)]},
                    schema,
                )
            )


def peak(program: str, arguments: list[str], **environment: str) -> int:
    """Peak memory of a process in MiB, as it measured itself."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("PEAK")]
    if done.returncode or not lines:
        raise SystemExit(done.stderr[-2000:])
    return int(lines[-1].split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=int, nargs="+", default=[5_000, 50_000, 500_000]
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[100, 1000, 10000])
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = saved("narrow", folder / "model")
        for count in args.images:
            synthetic(folder / "data.parquet", count)
            options = [
                "--set",
                "epochs=1",
                "--set",
                "batch_size=1024",
                "--model",
                str(model),
                "-q",
                "--json",
                "--force",
            ]
            arguments = [
                "scan",
                str(folder / "data.parquet"),
                "-o",
                str(folder / "run"),
                *options,
            ]
            used = peak(SCAN, arguments, LABELSIEVE_CACHE=str(folder / "cache"))
            table_size = (
                sum(p.stat().st_size for p in (folder / "run").glob("*.parquet"))
                / 2**20
            )
            rows.append([count, used, f"{table_size:.0f}"])
    table(
        f"A whole scan. {machine()}", ["images", "peak MiB", "tables on disk MiB"], rows
    )
    rows = [[k, peak(TEXT, [str(Path(__file__).parent), str(k)])] for k in args.classes]
    table(
        "Text side of one step, ViT-B/16, float32",
        ["classes", "peak MiB above the model"],
        rows,
    )


if __name__ == "__main__":
    assert resource  # part of the programs above
    main()
