"""Pictures, encoded anew as WebP: what comes with the data never reaches a browser as it is."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from labelsieve.data.images import decoded, from_object, open_image, read_bytes
from labelsieve.errors import ImageError, LabelsieveError
from labelsieve.runs.pictures import LOSSLESS, Pictures, webp

MEDIA = "image/webp"
HEAT = "heat"
AROUND = "around"
# sides in pixels: a small cell of the grid, a large one, a card; all there is, up to the largest
# picture that WebP holds; a card with what speaks against the label in red; and the picture that
# a box was cut from, with the box in it
SIZES = {
    "small": 160,
    "medium": 384,
    "large": 1024,
    "full": 16_383,
    HEAT: 1024,
    AROUND: 1600,
}
RED = (220, 20, 40)
FRAME = 120  # a frame around a box is a 120th of the longer side wide
OPAQUE = 0.75  # most of a picture that its red hides
SMALLEST_HEAT = 256  # a side in pixels: on an icon's few pixels no map is seen
QUALITY = 90  # of WebP: labels are judged by small details
VERSION = 1  # another one where the same bytes are shown in another way
UNITS = ("bytes", "KB", "MB", "GB")


@dataclass(frozen=True)
class Facts:
    """What is known of an image file without decoding it."""

    width: int
    height: int
    size: str  # "41 KB"; empty where the picture never was a file
    heat: bool = False  # whether it has a map of where it disagrees with its label
    boxed: bool = False  # whether it was cut from a larger picture


def show(items: Pictures, sample_id: str, size: str) -> bytes | None:
    """A picture as WebP; None when it cannot be read, or has no map where one is wanted.

    Args:
        size: of `SIZES`.
    """
    if size == HEAT:
        return _with_heat(items, sample_id)
    if size == AROUND:
        return _around(items, sample_id)
    return webp(items, sample_id, SIZES[size], QUALITY)


def _crop(items: Any, sample_id: str) -> Any:
    """What an item was cut from, and where; None of what is a whole picture."""
    return items.crop(sample_id) if hasattr(items, "crop") else None


def _around(items: Any, sample_id: str) -> bytes | None:
    """The picture that a box was cut from, with the box outlined; None where there is none."""
    try:
        crop = _crop(items, sample_id)
        if crop is None:
            return None
        # another picture may lie there by now: what was judged is compared with what is there
        items.read(sample_id)
        with decoded(read_bytes(crop.member)) as picture:
            edges = crop.box.pixels(picture.size)
            shown = picture.convert("RGB")
            scale = min(1, SIZES[AROUND] / max(picture.size))
    except LabelsieveError:
        return None
    shown.thumbnail((SIZES[AROUND], SIZES[AROUND]))
    _outline(shown, [round(scale * edge) for edge in edges])
    buffer = io.BytesIO()
    lossless = max(shown.size) <= LOSSLESS
    shown.save(buffer, "WEBP", quality=QUALITY, lossless=lossless)
    return buffer.getvalue()


def _outline(picture: Image.Image, edges: list[int]) -> None:
    """Draw a frame around a part of a picture; its left, upper, right and lower edge."""
    width = max(1, max(picture.size) // FRAME)
    left, upper, right, lower = edges
    draw = ImageDraw.Draw(picture)
    # outside of the part, and white around the red: seen on any colour
    for colour, far in (("white", 2 * width), (RED, width)):
        corners = left - far, upper - far, right + far - 1, lower + far - 1
        draw.rectangle(corners, outline=colour, width=width)


def _with_heat(items: Any, sample_id: str) -> bytes | None:
    maps = getattr(items, "heat", None)
    if maps is None or sample_id not in maps:
        return None
    picture = webp(items, sample_id, SIZES[HEAT], QUALITY)
    if picture is None:
        return None
    with Image.open(io.BytesIO(picture)) as image:
        shown = image.convert("RGB")
    factor = max(1, SMALLEST_HEAT // max(shown.size))
    shown = shown.resize(
        (factor * shown.width, factor * shown.height), Image.Resampling.NEAREST
    )
    cover = Image.new("L", shown.size)
    left, top, right, bottom = maps.box(*shown.size)
    # one half speaks for neither class, and is not covered
    against = 2 * np.clip(maps.get(sample_id) / 255 - 0.5, 0, None)
    cells = Image.fromarray(np.round(255 * OPAQUE * against).astype(np.uint8))
    way = Image.Resampling.BILINEAR
    cover.paste(cells.resize((right - left, bottom - top), way), (left, top))
    shown.paste(RED, mask=cover)
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def embed(items: Pictures, sample_id: str, side: int, quality: int) -> str:
    """A picture at most `side` pixels wide and high, as WebP in base64."""
    picture = webp(items, sample_id, side, quality)
    # a picture without data would show as a broken one; nothing shows as nothing
    return base64.b64encode(picture).decode() if picture else ""


def facts(items: Pictures, sample_id: str) -> Facts | None:
    """Sides and size of the image; None when it cannot be read."""
    try:
        item = items.read(sample_id)
        maps = getattr(items, "heat", None)
        heat = maps is not None and sample_id in maps
        if not isinstance(item, bytes | str | Path):
            return Facts(*from_object(item).size, "", heat)
        boxed = _crop(items, sample_id) is not None
        found = replace(_facts(read_bytes(item)), heat=heat, boxed=boxed)
        # a crop is no file: the size of its unpacked pixels would mislead
        return replace(found, size="") if boxed else found
    except LabelsieveError:
        return None


def _facts(data: bytes) -> Facts:
    try:
        with open_image(data) as image:
            return Facts(*image.size, in_units(len(data)))
    # decoders raise many kinds of errors on broken files
    except Exception as error:
        raise ImageError(f"broken image: {error}") from error


def in_units(size: int) -> str:
    """A number of bytes as people say it: "41 KB"."""
    number = float(size)
    unit = UNITS[0]
    for larger in UNITS[1:]:
        if number < 999.5:
            break
        number /= 1000
        unit = larger
    # one digit behind the point where there is one before it
    digits = int(number < 10 and unit != UNITS[0])
    return f"{number:.{digits}f} {unit}"
