"""Any mode of Pillow -> RGB as a person sees it: white behind transparency, deep values on 8 bits.

Large pictures are converted part by part, so that what lies between two modes never takes
memory for a whole picture; each pixel comes out as if all were converted at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from labelsieve.data.decoding import memory, metadata
from labelsieve.data.decoding.depth import (
    COLOUR,
    SIXTEEN,
    extent_of,
    extent_of_high_bytes,
    to_uint8,
)

# Entry of `info` of a picture: how far its values reach, where it has more than 8 bits.
EXTENT = "extent"
Whites = Mapping[str, int]  # kind of numbers -> what is white, of a data set
# EXIF's number for how the camera was held -> how to turn the picture back.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Entries of `info` that say it.
TURNING = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
Box = tuple[int, int, int, int]  # left, top, right, bottom


def upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says, and then without it, so that nobody turns it again."""
    turn = TURNS.get(metadata.orientation(image))
    if turn is None:
        return image
    # Pillow's own function writes all EXIF anew, which takes more than the picture may
    turned = image.transpose(turn)
    for entry in TURNING:
        turned.info.pop(entry, None)
    return turned


def is_plain(image: Image.Image) -> bool:
    """Whether nothing has to be converted."""
    return image.mode == "RGB" and "transparency" not in image.info


@dataclass(frozen=True)
class Plan:
    """How one picture is decoded and converted."""

    deep: bool  # colours of 16 bits, of which Pillow gives the upper byte
    both_bytes: bool  # and the lower one is needed
    factor: int  # by which its sides are reduced while it is converted
    size: int  # bytes that this takes


def plan_of(
    image: ImageFile.ImageFile, full: tuple[int, int], about: int | None, whites: Whites
) -> Plan:
    """How an image that was opened and not decoded yet is converted within the bound.

    Args:
        full: its sides in the file.
        about: side in pixels that is enough; None: it is not to be reduced.
    """
    deep = is_deep_colour(image)
    both = deep and (
        whites.get(COLOUR, SIXTEEN) != SIXTEEN or "transparency" in image.info
    )
    native = memory.needed(image, full, copies=2 if both else 1)
    if is_plain(image) and not both:
        return Plan(deep, both, 1, native)
    copy = memory.RGB_BYTES * image.width * image.height
    factor = 1
    largest = min(image.size) // about if about else 1
    while native + copy // factor**2 > memory.SHARED.limit and factor < largest:
        factor += 1
    return Plan(deep, both, factor, native + copy // factor**2)


def to_rgb(
    image: Image.Image, whites: Whites | None = None, factor: int = 1
) -> Image.Image:
    """Any Pillow mode -> RGB: deep values scaled to 8 bits, transparency on white.

    Args:
        whites: of the data set; None takes white from the type and the values.
        factor: by which the sides are reduced, by averaging, where the whole would take
            too much memory.
    """
    if is_plain(image):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, whites or {}, factor)
    return _by_boxes(image.size, factor, lambda box: _shallow(_cut(image, box)))


def _shallow(image: Image.Image) -> Image.Image:
    """A mode of at most eight bits a channel -> RGB."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def boxes(size: tuple[int, int], factor: int = 1) -> Iterator[Box]:
    """Boxes of about `memory.BAND` pixels that cover a picture, at multiples of `factor`."""
    width, height = size
    columns = min(width, memory.BAND - memory.BAND % factor)
    rows = max(factor, memory.BAND // columns // factor * factor)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            right = min(width, left + columns)
            yield left, top, right, min(height, top + rows)


def _cut(image: Image.Image, box: Box) -> Image.Image:
    return image if box == (0, 0, *image.size) else image.crop(box)


def _by_boxes(
    size: tuple[int, int], factor: int, convert: Callable[[Box], Image.Image]
) -> Image.Image:
    """An RGB picture converted part by part; the parts are as if it were done at once."""
    parts = list(boxes(size, factor))
    if len(parts) == 1 and factor == 1:
        return convert(parts[0])
    width, height = (-(-side // factor) for side in size)
    picture = Image.new("RGB", (width, height))
    for box in parts:
        part = convert(box)
        if factor > 1:
            part = part.reduce(factor)
        picture.paste(part, (box[0] // factor, box[1] // factor))
    return picture


def _deep_grey(image: Image.Image, whites: Whites, factor: int) -> Image.Image:
    extent = extent_of(_values(image, box) for box in boxes(image.size))
    white = whites.get(extent.kind, extent.white)
    hole = image.info.get("transparency")  # a gray value of the file

    def convert(box: Box) -> Image.Image:
        values = _values(image, box)
        grey = to_uint8(values, white)
        if isinstance(hole, int):
            grey[values == hole] = 255
        return Image.fromarray(grey).convert("RGB")

    picture = _by_boxes(image.size, factor, convert)
    picture.info[EXTENT] = extent
    return picture


def _values(image: Image.Image, box: Box) -> np.ndarray:
    return finite(np.asarray(_cut(image, box)))


def finite(values: np.ndarray) -> np.ndarray:
    """What is no number is black."""
    if values.dtype.kind != "f":
        return values
    return np.nan_to_num(values, posinf=0, neginf=0)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the decoder's bytes become pixels, such as "RGB;16B"."""
    if not image.tile:
        return ""
    arguments = image.tile[0].args
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether an image that was not decoded yet has colours of 16 bits."""
    return image.mode in ("RGB", "RGBA") and ";16" in _raw_mode(image)


def lower_bytes(image: ImageFile.ImageFile) -> Image.Image:
    """The lower bytes of 16-bit colours, in the mode in which Pillow gives the upper ones.

    Pillow has no mode for such pictures. Its decoder of the other byte order takes the other
    byte of each value, as numpy would with the opposite `>u2`.
    """
    raw = _raw_mode(image)
    if (
        raw == "LA;16B"
    ):  # no other order is known; its four bytes fit into four channels
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        _, grey, _, alpha = image.split()
        return Image.merge("RGBA", (grey, grey, grey, alpha))
    native = "16B" if sys.byteorder == "little" else "16L"
    other = {"16B": "16L", "16L": "16B", "16N": native}
    swapped = raw[:-3] + other[raw[-3:]]
    tiles = []
    for tile in image.tile:
        rest = tile.args[1:] if isinstance(tile.args, tuple) else None
        tiles.append(tile._replace(args=swapped if rest is None else (swapped, *rest)))
    image.tile = tiles
    image.load()
    return image


def deep_colour(
    upper: Image.Image, lower: Image.Image, factor: int, whites: Whites
) -> Image.Image:
    """Both bytes of 16-bit colours -> RGB with the white of the data set."""
    hole = upper.info.get(
        "transparency"
    )  # a colour of the file, three values of 16 bits
    parts = (np.asarray(_cut(upper, box))[..., :3] for box in boxes(upper.size))
    extent = extent_of_high_bytes(parts)
    white = whites.get(COLOUR, SIXTEEN)
    upper, lower = upright(upper), upright(lower)

    def convert(box: Box) -> Image.Image:
        high = np.asarray(_cut(upper, box))
        values = high.astype(np.uint16) << 8 | np.asarray(_cut(lower, box))
        # what Pillow gives of full 16 bits is the upper byte; so it stays
        colours = high.copy() if white == SIXTEEN else to_uint8(values, white)
        if isinstance(hole, tuple):
            colours[(values == np.array(hole)).all(axis=2)] = 255
        part = Image.fromarray(colours)
        return _on_white(part) if part.mode == "RGBA" else part

    picture = _by_boxes(upper.size, factor, convert)
    picture.info[EXTENT] = extent
    return picture
