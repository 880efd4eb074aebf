"""Digits and letters drawn by ourselves, so that the embedded model knows them by name.

Two hands: fonts found on this machine (letters and digits) and pen strokes (digits only), both
distorted. Nothing here reads a data set; scikit-learn's digits stay unseen and can be used to
test the model.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIZE = 32
DIGITS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)

# Pen paths of each digit in a unit box (x right, y down); a digit is written in several ways.
# One list per stroke; the points are joined by a smooth curve, and moved a little each time.
PEN: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [
        [
            [
                (0.5, 0.0),
                (0.12, 0.22),
                (0.08, 0.6),
                (0.3, 0.97),
                (0.68, 0.95),
                (0.92, 0.6),
                (0.86, 0.2),
                (0.5, 0.0),
            ]
        ],
        [
            [
                (0.6, 0.05),
                (0.2, 0.2),
                (0.1, 0.65),
                (0.45, 1.0),
                (0.85, 0.7),
                (0.88, 0.25),
                (0.6, 0.02),
                (0.45, 0.1),
            ]
        ],
    ],
    1: [
        [[(0.5, 0.0), (0.5, 0.33), (0.5, 0.66), (0.5, 1.0)]],
        [
            [(0.25, 0.25), (0.42, 0.12), (0.56, 0.0)],
            [(0.56, 0.0), (0.56, 0.5), (0.54, 1.0)],
        ],
        [
            [(0.2, 0.3), (0.55, 0.0)],
            [(0.55, 0.0), (0.52, 1.0)],
            [(0.2, 1.0), (0.85, 1.0)],
        ],
        [[(0.62, 0.0), (0.52, 0.5), (0.4, 1.0)]],
        [
            [(0.06, 0.42), (0.35, 0.2), (0.6, 0.0)],
            [(0.6, 0.0), (0.56, 0.5), (0.52, 1.0)],
        ],
        [
            [(0.1, 0.36), (0.6, 0.0)],
            [(0.6, 0.0), (0.5, 1.0)],
            [(0.08, 0.98), (0.95, 0.98)],
        ],
        [[(0.15, 0.3), (0.5, 0.02), (0.52, 0.5), (0.5, 1.0)]],
    ],
    2: [
        [
            [
                (0.12, 0.25),
                (0.3, 0.02),
                (0.72, 0.05),
                (0.82, 0.32),
                (0.5, 0.65),
                (0.1, 0.98),
            ],
            [(0.1, 0.98), (0.9, 0.96)],
        ],
        [
            [
                (0.1, 0.3),
                (0.35, 0.0),
                (0.75, 0.1),
                (0.75, 0.45),
                (0.35, 0.85),
                (0.12, 0.92),
                (0.25, 0.75),
                (0.5, 0.9),
                (0.92, 0.95),
            ]
        ],
        [
            [(0.15, 0.2), (0.5, 0.0), (0.8, 0.2), (0.6, 0.55), (0.1, 0.95)],
            [(0.1, 0.95), (0.5, 0.9), (0.95, 0.98)],
        ],
    ],
    3: [
        [
            [(0.15, 0.1), (0.5, 0.0), (0.85, 0.18), (0.7, 0.42), (0.4, 0.48)],
            [(0.4, 0.48), (0.8, 0.55), (0.9, 0.8), (0.5, 1.0), (0.1, 0.88)],
        ],
        [
            [(0.12, 0.02), (0.85, 0.02)],
            [(0.85, 0.02), (0.45, 0.4)],
            [(0.45, 0.4), (0.88, 0.55), (0.85, 0.88), (0.45, 1.0), (0.1, 0.88)],
        ],
        [
            [
                (0.15, 0.05),
                (0.8, 0.05),
                (0.45, 0.42),
                (0.85, 0.6),
                (0.7, 0.95),
                (0.1, 0.95),
            ]
        ],
        [
            [(0.1, 0.15), (0.5, 0.0), (0.8, 0.2), (0.35, 0.45)],
            [(0.35, 0.48), (0.9, 0.48)],
            [(0.6, 0.48), (0.85, 0.75), (0.5, 1.0), (0.1, 0.95)],
        ],
    ],
    4: [
        [
            [(0.62, 0.0), (0.1, 0.65)],
            [(0.1, 0.65), (0.95, 0.65)],
            [(0.7, 0.3), (0.68, 1.0)],
        ],
        [
            [(0.2, 0.0), (0.15, 0.5), (0.5, 0.55), (0.88, 0.5)],
            [(0.8, 0.0), (0.75, 1.0)],
        ],
        [
            [(0.65, 0.0), (0.08, 0.7)],
            [(0.08, 0.7), (0.92, 0.68)],
            [(0.65, 0.0), (0.65, 1.0)],
        ],
        [
            [(0.5, 0.0), (0.3, 0.3), (0.1, 0.6), (0.5, 0.62), (0.9, 0.55)],
            [(0.75, 0.32), (0.62, 0.65), (0.5, 1.0)],
        ],
        [
            [(0.55, 0.0), (0.15, 0.55), (0.95, 0.52)],
            [(0.85, 0.2), (0.6, 0.6), (0.45, 1.0)],
        ],
        [
            [(0.3, 0.0), (0.1, 0.5), (0.55, 0.55), (0.85, 0.4)],
            [(0.9, 0.05), (0.7, 0.5), (0.55, 1.0)],
        ],
    ],
    5: [
        [
            [(0.85, 0.02), (0.22, 0.02)],
            [(0.22, 0.02), (0.18, 0.45)],
            [
                (0.18, 0.45),
                (0.55, 0.36),
                (0.9, 0.6),
                (0.72, 0.95),
                (0.3, 1.0),
                (0.1, 0.88),
            ],
        ],
        [
            [
                (0.88, 0.0),
                (0.3, 0.03),
                (0.2, 0.42),
                (0.55, 0.4),
                (0.85, 0.65),
                (0.6, 0.97),
                (0.12, 0.95),
            ]
        ],
        [
            [
                (0.9, 0.05),
                (0.35, 0.05),
                (0.22, 0.4),
                (0.6, 0.42),
                (0.82, 0.65),
                (0.6, 0.95),
                (0.2, 0.95),
            ]
        ],
        [
            [
                (0.35, 0.0),
                (0.25, 0.42),
                (0.7, 0.45),
                (0.8, 0.75),
                (0.5, 1.0),
                (0.15, 0.9),
            ],
            [(0.35, 0.02), (0.95, 0.0)],
        ],
    ],
    6: [
        [
            [
                (0.75, 0.0),
                (0.35, 0.25),
                (0.12, 0.65),
                (0.35, 0.98),
                (0.75, 0.92),
                (0.85, 0.68),
                (0.55, 0.5),
                (0.18, 0.68),
            ]
        ],
        [
            [
                (0.55, 0.0),
                (0.2, 0.4),
                (0.15, 0.8),
                (0.5, 1.0),
                (0.82, 0.8),
                (0.65, 0.55),
                (0.3, 0.6),
                (0.18, 0.75),
            ]
        ],
    ],
    7: [
        [[(0.08, 0.03), (0.9, 0.03)], [(0.9, 0.03), (0.6, 0.45), (0.4, 1.0)]],
        [
            [(0.08, 0.05), (0.9, 0.03)],
            [(0.9, 0.03), (0.55, 0.5), (0.42, 1.0)],
            [(0.3, 0.5), (0.85, 0.48)],
        ],
        [[(0.1, 0.2), (0.12, 0.04), (0.9, 0.04)], [(0.9, 0.04), (0.5, 1.0)]],
        [
            [(0.1, 0.15), (0.5, 0.06), (0.9, 0.0)],
            [(0.9, 0.0), (0.6, 0.5), (0.48, 1.0)],
            [(0.15, 0.56), (0.95, 0.46)],
        ],
        [
            [(0.05, 0.2), (0.25, 0.02), (0.85, 0.04), (0.62, 0.5), (0.45, 1.0)],
            [(0.2, 0.5), (0.9, 0.5)],
        ],
        [
            [(0.1, 0.04), (0.85, 0.04), (0.5, 0.5), (0.4, 1.0)],
            [(0.12, 0.52), (0.85, 0.52)],
        ],
    ],
    8: [
        [
            [
                (0.5, 0.48),
                (0.18, 0.28),
                (0.3, 0.03),
                (0.7, 0.03),
                (0.8, 0.28),
                (0.5, 0.48),
                (0.12, 0.75),
                (0.35, 1.0),
                (0.7, 0.98),
                (0.86, 0.72),
                (0.5, 0.48),
            ]
        ],
        [
            [
                (0.78, 0.15),
                (0.45, 0.0),
                (0.2, 0.22),
                (0.5, 0.48),
                (0.82, 0.75),
                (0.5, 1.0),
                (0.2, 0.78),
                (0.5, 0.5),
                (0.82, 0.15),
            ]
        ],
    ],
    9: [
        [
            [
                (0.82, 0.3),
                (0.55, 0.5),
                (0.2, 0.38),
                (0.25, 0.08),
                (0.65, 0.0),
                (0.85, 0.25),
            ],
            [(0.85, 0.2), (0.8, 0.6), (0.65, 1.0)],
        ],
        [
            [
                (0.8, 0.12),
                (0.45, 0.0),
                (0.15, 0.25),
                (0.4, 0.5),
                (0.8, 0.3),
                (0.85, 0.1),
                (0.82, 0.6),
                (0.6, 0.95),
                (0.2, 0.98),
            ]
        ],
        [
            [(0.85, 0.05), (0.3, 0.05), (0.12, 0.3), (0.4, 0.5), (0.85, 0.42)],
            [(0.85, 0.1), (0.88, 0.6), (0.6, 0.95), (0.1, 0.95)],
        ],
        [
            [
                (0.8, 0.3),
                (0.5, 0.5),
                (0.15, 0.3),
                (0.4, 0.02),
                (0.8, 0.12),
                (0.85, 0.5),
                (0.7, 0.9),
                (0.2, 1.0),
            ]
        ],
        [
            [(0.8, 0.15), (0.35, 0.02), (0.12, 0.28), (0.45, 0.46), (0.8, 0.3)],
            [(0.82, 0.2), (0.85, 0.7), (0.5, 1.0), (0.12, 0.85)],
        ],
    ],
}


def _smooth(points: np.ndarray, per_segment: int = 12) -> np.ndarray:
    """Catmull-Rom curve through `points` [n, 2]."""
    if len(points) == 2:
        return points
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, 1, per_segment, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            0.5
            * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t**2
                + (3 * b - a - 3 * c + d) * t**3
            )
        )
    return np.vstack([*pieces, points[-1:]])


def _pen_digit(digit: int, rng: np.random.Generator, canvas: int = 128) -> Image.Image:
    """A digit drawn with a pen: control points jittered, slanted and stretched, round ends."""
    strokes = PEN[digit][rng.integers(len(PEN[digit]))]
    slant, stretch, turn = (
        rng.normal(0.05, 0.18),
        rng.uniform(0.45, 1.0),
        rng.normal(0, 0.12),
    )
    width = rng.uniform(0.06, 0.2) * canvas
    image = Image.new("L", (canvas, canvas), 0)
    draw = ImageDraw.Draw(image)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for stroke in strokes:
        points = np.array(stroke) + rng.normal(0, 0.045, (len(stroke), 2)) - 0.5
        points = points * [stretch, 1.0]
        points[:, 0] -= slant * points[:, 1]
        points = (_smooth(points) @ rotation.T * 0.72 + 0.5) * canvas
        draw.line(
            [tuple(p) for p in points],
            fill=255,
            width=max(int(width), 2),
            joint="curve",
        )
        for x, y in points:
            draw.ellipse(
                (x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255
            )
    return image


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """Outline fonts of this machine that draw every digit and letter differently; Pillow's own
    font when there are none."""
    try:
        listed = subprocess.run(
            ["fc-list", ":", "file"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    paths = sorted({line.split(":")[0] for line in listed.splitlines()})
    return tuple(
        p
        for p in paths
        if Path(p).suffix.lower() in {".ttf", ".otf"} and _draws_text(p)
    )


def _draws_text(path: str) -> bool:
    try:
        font = ImageFont.truetype(path, 24)
        shapes = {
            font.getmask(c).getbbox() and bytes(font.getmask(c))
            for c in "0123456789abegkmrstxABEGKMRST"
        }
    except OSError:
        return False
    return (
        None not in shapes and len(shapes) >= 27
    )  # symbol fonts and fonts with one box for all fail here


def _font_glyph(text: str, rng: np.random.Generator, canvas: int = 128) -> Image.Image:
    files = font_files()
    size = int(canvas * rng.uniform(0.6, 0.85))
    font = (
        ImageFont.truetype(files[rng.integers(len(files))], size)
        if files
        else ImageFont.load_default(size)
    )
    image = Image.new("L", (canvas, canvas), 0)
    ImageDraw.Draw(image).text(
        (canvas / 2, canvas / 2), text, fill=255, font=font, anchor="mm"
    )
    angle, shear = rng.normal(0, 7), rng.normal(0, 0.12)
    return image.rotate(angle, Image.Resampling.BILINEAR).transform(
        image.size,
        Image.Transform.AFFINE,
        (1, shear, -shear * canvas / 2, 0, 1, 0),
        Image.Resampling.BILINEAR,
    )


def _fit(
    image: Image.Image, rng: np.random.Generator, fill: tuple[float, float]
) -> Image.Image:
    """Crop to the ink, then set it into a SIZE x SIZE square, `fill` of it high."""
    box = image.getbbox() or (0, 0, *image.size)
    ink = image.crop(box)
    high = SIZE * rng.uniform(*fill)
    scale = min(high / ink.height, SIZE / ink.width)
    ink = ink.resize(
        (max(1, round(ink.width * scale)), max(1, round(ink.height * scale))),
        Image.Resampling.BOX,
    )
    square = Image.new("L", (SIZE, SIZE), 0)
    slack_x, slack_y = SIZE - ink.width, SIZE - ink.height
    square.paste(
        ink,
        (
            round(slack_x * rng.uniform(0.3, 0.7)),
            round(slack_y * rng.uniform(0.3, 0.7)),
        ),
    )
    return square


def _scanned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As old optical scanners gave it: black and white, then counted in 4 x 4 blocks to 8 x 8
    grey values, then enlarged."""
    bits = (np.asarray(image) > rng.uniform(60, 160)).astype(np.float32)
    counts = bits.reshape(8, 4, 8, 4).sum(axis=(1, 3)) / 16 * 255
    ways = (
        Image.Resampling.BICUBIC,
        Image.Resampling.BILINEAR,
        Image.Resampling.NEAREST,
    )
    return Image.fromarray(counts.astype(np.uint8)).resize(
        (SIZE, SIZE), ways[rng.integers(len(ways))]
    )


def _coloured(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """[32, 32, 3] uint8: mostly light on dark or dark on light, sometimes in two colours."""
    ink = np.asarray(image, dtype=np.float32)[..., None] / 255
    if rng.random() < 0.7:
        dark, light = rng.uniform(0, 40), rng.uniform(200, 255)
        paper, pen = (dark, light) if rng.random() < 0.6 else (light, dark)
        return (paper + (pen - paper) * ink).repeat(3, axis=2).astype(np.uint8)
    paper, pen = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    if np.abs(paper - pen).sum() < 200:
        pen = 255 - paper
    noise = rng.normal(0, rng.uniform(0, 12), (SIZE, SIZE, 3))
    return np.clip(paper + (pen - paper) * ink + noise, 0, 255).astype(np.uint8)


def draw(symbol: str, rng: np.random.Generator) -> np.ndarray:
    """One picture of a digit ("0".."9") or letter, [32, 32, 3] uint8."""
    by_pen = symbol.isdigit() and rng.random() < 0.75
    image = _pen_digit(int(symbol), rng) if by_pen else _font_glyph(symbol, rng)
    if symbol.isdigit() and rng.random() < 0.6:
        return _coloured(_scanned(_fit(image, rng, (0.9, 1.0)), rng), rng)
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))
    return _coloured(_fit(image, rng, (0.5, 1.0)), rng)


def names(symbol: str) -> tuple[Sequence[str], Sequence[str]]:
    """(words that name the symbol, templates that fit only symbols)."""
    if symbol.isdigit():
        word = DIGITS[int(symbol)]
        return (word, word, symbol), (
            "a handwritten digit {}.",
            "the digit {}.",
            "the number {}.",
            "a photo of the number {}.",
            "digit {}",
            "a scan of a handwritten {}.",
            "somebody wrote the number {} by hand.",
            "a small grey picture of the digit {}.",
        )
    case = "capital" if symbol.isupper() else "small"
    return (f"{case} letter {symbol.lower()}", f"letter {symbol.lower()}"), (
        "the {}.",
        "a handwritten {}.",
        "a printed {}.",
        "a picture of the {}.",
        "the alphabet's {}.",
    )


def sheet(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """`count` pictures [count, 32, 32, 3] uint8 and their symbols: two thirds digits, one third
    letters."""
    rng = np.random.default_rng(seed)
    letters = [c for c in "abcdefghijklmnopqrstuvwxyz"] + [
        c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ]
    symbols = [
        str(rng.integers(10)) if rng.random() < 2 / 3 else letters[rng.integers(52)]
        for _ in range(count)
    ]
    return np.stack([draw(s, rng) for s in symbols]), symbols
