"""How much memory decoded pictures may take, over all threads that read.

A picture of a few kilobytes can decode to gigabytes. What decoding will take is known from the
header, so it is reserved before the first pixel is decoded.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageFile

from labelsieve.data.decoding import jpeg2000, metadata
from labelsieve.errors import ImageError

# Bytes: room for an RGB picture of 64 megapixels, which is what the largest cameras give, or
# for five photographs of 12 megapixels at once.
BOUND = 256 << 20
# Pixels that are converted at a time, so that what lies between two modes is never a whole
# picture: palette -> RGBA -> on white -> RGB takes 16 bytes a pixel.
BAND = 1 << 18
BAND_BYTES = (
    24  # a pixel of a band: four RGBA pictures, or 64-bit floats and their copies
)
RGB_BYTES = 4  # Pillow pads RGB to four bytes
NATIVE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # others: 4
# What decoders take besides the picture, bytes a pixel, measured with Pillow 13 (WebP 12,
# AVIF 5 at 4:2:0 and 8 bits, and twice the planes at 10 or 12 bits or at 4:4:4).
FORMAT_BYTES = {"WEBP": 12, "AVIF": 14}
# The same for decoders that a format uses only sometimes; those in Python build lists of bytes.
CODEC_BYTES = {"bmp_rle": 4, "ppm": 8, "ppm_plain": 8}
TIFF_STRIP_TAG, TIFF_TILE_TAGS = 278, (322, 323)  # rows per strip; width and height
# Sides of pictures in icons; their list of contents ends at 256, bitmaps count twice.
ICON_SIDE = 1024
ICON_PICTURES = 256  # programs write a dozen


class Bound:
    """Bytes that several threads share; who asks for more than is left waits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes, at most `limit`, while the block runs.

        Whoever holds a part must not ask for another: two such threads would wait for ever.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._used + size <= self.limit)
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()


SHARED = Bound(BOUND)


def needed(image: ImageFile.ImageFile, full: tuple[int, int], copies: int = 1) -> int:
    """Bytes that decoding a picture takes.

    Args:
        image: opened and not decoded; `draft` may have reduced its size.
        full: its sides in the file.
        copies: how often its pixels are held undecoded at the same time.
    """
    pixels = image.width * image.height
    native = NATIVE_BYTES.get(image.mode, 4)
    copies += metadata.orientation(image) != 1  # turning makes a copy
    size = pixels * native * copies + _decoder(image, full, pixels * native)
    return size + min(pixels, BAND) * BAND_BYTES


def check(image: Image.Image, size: int) -> None:
    """Raises ImageError when a picture would take more than the bound."""
    if size > SHARED.limit:
        raise ImageError(
            f"too large: decoding {image.width} x {image.height} pixels takes "
            f"{size / 1e6:,.0f} MB of memory, more than {SHARED.limit / 1e6:,.0f} MB"
        )


def _decoder(
    image: ImageFile.ImageFile, full: tuple[int, int], native_bytes: int
) -> int:
    """Bytes of a decoder's own buffers."""
    pixels = full[0] * full[1]
    size = pixels * FORMAT_BYTES.get(image.format or "", 0)
    codec = image.tile[0].codec_name if image.tile else ""
    size += pixels * CODEC_BYTES.get(codec, 0)
    if codec == "jpeg" and image.info.get("progressive"):
        # all coefficients of the file, 16 bits each, wait for the last scan
        size += 2 * sum(_jpeg_samples(image, pixels))
    if codec == "jpeg2k":
        size += jpeg2000.buffers(_content(image))
    if codec == "libtiff":
        size += native_bytes * _tiff_piece(image, full) // max(1, pixels)
    return size


def _tiff_piece(image: ImageFile.ImageFile, full: tuple[int, int]) -> int:
    """Pixels of a TIFF that are decompressed at once: a strip, or a tile.

    A tile is decompressed whole, however little of it lies in the picture.
    """
    tags = getattr(image, "tag_v2", {})
    width, height = (_whole_number(tags.get(tag), 0) for tag in TIFF_TILE_TAGS)
    # a file without rows per strip is a single strip
    rows = min(full[1], _whole_number(tags.get(TIFF_STRIP_TAG), full[1]))
    return max(full[0] * rows, width * height)


def _whole_number(value: object, default: int) -> int:
    """A tag's number; `default` where a damaged file holds something else, or several."""
    return value if isinstance(value, int) and value >= 0 else default


def _content(image: ImageFile.ImageFile) -> bytes:
    """All bytes of the file of a picture that is open and not decoded."""
    file = image.fp
    if file is None:
        return b""
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def _jpeg_samples(image: ImageFile.ImageFile, pixels: int) -> list[int]:
    """Samples of each component of a JPEG; colour is mostly stored at half the sides."""
    layers = getattr(image, "layer", [])
    widest = max((layer[1] * layer[2] for layer in layers), default=1)
    return [pixels * layer[1] * layer[2] // widest for layer in layers]


def check_icon(data: bytes) -> None:
    """Refuse an icon that holds a large picture: Pillow decodes it when it is only opened.

    Its list of contents cannot be relied on, as it may say less than the pictures inside.

    Raises:
        ImageError: a picture in it is larger than `ICON_SIDE`, or holds long texts.
    """
    if data[:4] != b"\0\0\1\0":
        return
    count = int.from_bytes(data[4:6], "little")
    if count > ICON_PICTURES:
        raise ImageError(f"too large: an icon of {count:,} pictures")
    for number in range(count):
        entry = data[6 + 16 * number : 22 + 16 * number]
        offset = int.from_bytes(entry[12:16], "little")
        head = data[offset : offset + 24]
        if head[:4] == b"\x89PNG":
            sides = struct.unpack(">II", head[16:24].ljust(8, b"\0"))
            metadata.check_icon_texts(data, offset)
        else:  # a bitmap; its height counts the picture and its mask
            sides = struct.unpack("<ii", head[4:12].ljust(8, b"\0"))
        if max(map(abs, sides)) > ICON_SIDE:
            raise ImageError(f"too large: an icon of {sides[0]} x {sides[1]} pixels")
