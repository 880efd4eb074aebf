"""Small data to attack: digits in class folders, and the state of a folder as digests."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

import labelsieve
from attack.children import Ended

TINY = Path(labelsieve.__file__).parent / "assets" / "tiny"
ZERO_SHOT = "--method zero-shot -q --force"
AUTO = "--policy auto --min-confidence 0.3"
NAMES = ("zero", "one", "two")


def write_digits(folder: Path, n: int = 30, wrong: float = 0.2) -> None:
    """Handwritten digits of three classes as PNG files of 8 pixels; some in wrong folders."""
    for name, label, png in digits(n, wrong):
        file = folder / label / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)


def digits(n: int, wrong: float = 0.2) -> list[tuple[str, str, bytes]]:
    """Name, label and PNG of `n` digits."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    draw = np.random.default_rng(0)
    rows = []
    for row in np.flatnonzero(bundle.target < len(NAMES))[:n]:
        label = int(bundle.target[row])
        if draw.random() < wrong:
            label = (label + 1) % len(NAMES)
        buffer = io.BytesIO()
        Image.fromarray((bundle.images[row] * 15.9).astype("u1")).save(buffer, "PNG")
        rows.append((f"{row:04d}", NAMES[label], buffer.getvalue()))
    return rows


def state(path: Path, *, hidden: bool = False) -> dict[str, str]:
    """Digest of every file below a path, by name; hidden files and folders only where wanted."""
    if path.is_file():
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    digests = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        is_hidden = any(part.startswith(".") for part in Path(name).parts)
        if file.is_file() and (hidden or not is_hidden):
            digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def one_line(ended: Ended) -> bool:
    """Refused as promised: exit code 2, and one line that says why."""
    lines = ended.err.strip().splitlines()
    return ended.code == 2 and lines[-1:] != [] and "Traceback" not in ended.err
