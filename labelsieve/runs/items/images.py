"""Pictures, encoded anew as WebP: what comes with the data never reaches a browser as it is."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from labelsieve.data.images import from_object, open_image, read_bytes
from labelsieve.errors import ImageError, LabelsieveError
from labelsieve.runs.pictures import Pictures, webp

MEDIA = "image/webp"
# sides in pixels: a small cell of the grid, a large one, a card; and all there is, up to the
# largest picture that WebP holds
SIZES = {"small": 160, "medium": 384, "large": 1024, "full": 16_383}
QUALITY = 90  # of WebP: labels are judged by small details
VERSION = 1  # another one where the same bytes are shown in another way
UNITS = ("bytes", "KB", "MB", "GB")


@dataclass(frozen=True)
class Facts:
    """What is known of an image file without decoding it."""

    width: int
    height: int
    size: str  # "41 KB"; empty where the picture never was a file


def show(items: Pictures, sample_id: str, size: str) -> bytes | None:
    """A picture as WebP; None when it cannot be read.

    Args:
        size: of `SIZES`.
    """
    return webp(items, sample_id, SIZES[size], QUALITY)


def embed(items: Pictures, sample_id: str, side: int, quality: int) -> str:
    """A picture at most `side` pixels wide and high, as WebP in base64."""
    picture = webp(items, sample_id, side, quality)
    # a picture without data would show as a broken one; nothing shows as nothing
    return base64.b64encode(picture).decode() if picture else ""


def facts(items: Pictures, sample_id: str) -> Facts | None:
    """Sides and size of the image; None when it cannot be read."""
    try:
        item = items.read(sample_id)
        if not isinstance(item, bytes | str | Path):
            return Facts(*from_object(item).size, "")
        return _facts(read_bytes(item))
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
