"""What picture files say beside their pixels: cut away, or counted before Pillow reads it.

Texts, profiles and tags cost memory before anything is known of the pixels: a PNG of 70 KB with
texts took 262 MB, a TIFF of 40 MB with one long tag 996 MB. Only the way the camera was held is
needed, so everything else is left out where the format allows it, and bounded where it does not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from labelsieve.errors import ImageError

ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
# EXIF in several segments of a JPEG is one text that Pillow copies for each of them: a file of
# 52 MB took 39 seconds to be opened. The format itself ends at 64 KiB.
LARGEST_EXIF = 4 << 20  # bytes
# Every segment of a JPEG and every chunk of a PNG is an object of Python for a while. A file of
# 512 MB has 8,000 full segments of 64 KB; encoders of PNG cut at 8 KB, which gives 65,000.
MOST_SEGMENTS = 10_000
MOST_CHUNKS = 1 << 18
MOST_TAGS = 1 << 16  # more than the format has names for
# Numbers of tags, which become objects of 40 bytes: three columns of a palette of 16 bits, and
# a strip for every row. Fractions take as much as eight of them.
MOST_NUMBERS = 1 << 18
FRACTION = 8
# Types of TIFF -> bytes of one number; bytes and texts stay what they are.
NUMBERS = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
FRACTIONS = (5, 10)
TIFFS = (
    b"II*\0",
    b"MM\0*",
    b"II\0*",
    b"MM*\0",
    b"II+\0",
    b"MM\0+",
)  # two are wrong, and read
PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that may be left out (a small first letter) and change the pixels nevertheless:
# transparency, EXIF with the orientation, and the parts of an animation.
KEPT = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Texts in which programs write the orientation: ImageMagick and Adobe.
TURNING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
LARGEST_TEXT = 64 << 10  # bytes in the file, of one of these; EXIF ends there
LARGEST_ICON_TEXT = 4 << 10  # compressed, in an icon; they can unfold to a thousandfold


class Chunk(NamedTuple):
    """A part of a PNG, with its length, name and checksum."""

    name: bytes
    start: int
    end: int


def trimmed(data: bytes) -> bytes:
    """The file without what nobody needs, or as it is; what is left is bounded.

    Raises:
        ImageError: it says more of itself than any camera or program writes.
    """
    if data[:8] == PNG:
        return _without_texts(data)
    if data[:2] == b"\xff\xd8":
        _check_segments(data)
    elif data[:4] in TIFFS:
        _check_numbers(data)
    return data


def orientation(image: Image.Image) -> int:
    """How the camera was held, 1 to 8; 1 where nothing readable says so."""
    exif = image.info.get("exif")
    try:
        if isinstance(exif, bytes):
            # EXIF is a TIFF without a picture, in front of which its name may stand
            _check_numbers(exif.removeprefix(b"Exif\0\0"))
        # PNG's own `getexif` would decode the whole picture, as EXIF may follow it
        return int(Image.Image.getexif(image).get(ORIENTATION, 1))
    except Exception:  # broken EXIF turns nothing
        return 1


def _chunks(data: bytes, start: int, most: int) -> Iterator[Chunk]:
    """Chunks of a PNG as Pillow walks over them, up to where they end or are broken."""
    place = start + len(PNG)
    for _ in range(most):
        length = int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8]
        if len(name) < 4 or name == b"IEND":
            return
        yield Chunk(name, place, place + 12 + length)
        place += 12 + length
    raise ImageError(f"too large: more than {most:,} chunks")


def _without_texts(data: bytes) -> bytes:
    """A PNG with all that its pixels are made of, and the texts that say how they are turned."""
    parts = []
    texts: dict[bytes, Chunk] = {}
    end = len(PNG)
    cut = False
    for chunk in _chunks(data, 0, MOST_CHUNKS):
        end = chunk.end
        key = _key(data, chunk)
        if chunk.name == b"eXIf" and chunk.end - chunk.start > LARGEST_EXIF:
            raise ImageError(_too_much_exif())
        if key:
            cut = cut or key in texts
            texts[key] = chunk  # the last one counts, as in Pillow
        elif chunk.name[0] & 0x20 and chunk.name not in KEPT:
            cut = True
        else:
            parts.append(chunk)
    if not cut:
        return data
    whole = sorted([*parts, *texts.values()], key=lambda part: part.start)
    kept = (data[part.start : part.end] for part in whole)
    # what follows the last whole chunk is for the decoder to judge
    return b"".join([PNG, *kept, data[end:]])


def _key(data: bytes, chunk: Chunk) -> bytes:
    """Which text about the orientation a chunk is; empty for all others."""
    if chunk.name not in TEXTS or chunk.end - chunk.start > LARGEST_TEXT:
        return b""
    content = data[chunk.start + 8 : chunk.end]
    return next((key for key in TURNING if content.startswith(key)), b"")


def check_icon_texts(data: bytes, start: int) -> None:
    """Refuse a PNG in an icon that holds compressed texts: it cannot be cut there.

    Raises:
        ImageError: more of them than `LARGEST_ICON_TEXT`.
    """
    size = 0
    # icons are small, and a list of them must not be walked over for long
    for chunk in _chunks(data, start, 1_000):
        if chunk.name in TEXTS[1:]:
            size += chunk.end - chunk.start
        if size > LARGEST_ICON_TEXT:
            raise ImageError("too large: an icon with long texts")


def _check_segments(data: bytes) -> None:
    """Refuse a JPEG with more in front of its pixels than any camera writes.

    Raises:
        ImageError: more EXIF than `LARGEST_EXIF`, or segments than `MOST_SEGMENTS`.
    """
    place, size, segments = 2, 0, 0
    exif = bytearray()
    # segments with a length, up to where the pixels begin; anything else is for the decoder
    while data[place : place + 1] == b"\xff":
        marker = data[place + 1 : place + 2]
        if marker == b"\xda":
            break
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == b"\xe1" and data[place + 4 : place + 10] == b"Exif\0\0":
            size += length
            exif += data[place + 10 : place + 2 + length]
        if size > LARGEST_EXIF:
            raise ImageError(_too_much_exif())
        # a byte that fills, before a marker
        filler = marker == b"\xff"
        segments += not filler
        if segments > MOST_SEGMENTS:
            raise ImageError(f"too large: more than {MOST_SEGMENTS:,} segments")
        place += 1 if filler else 2 + length
    _check_numbers(bytes(exif))


def _too_much_exif() -> str:
    return f"too large: more than {LARGEST_EXIF / 1e6:.0f} MB of EXIF"


def _check_numbers(data: bytes) -> None:
    """Refuse a TIFF whose tags would become more objects than any picture has.

    Raises:
        ImageError: more than `MOST_TAGS`, or numbers than `MOST_NUMBERS`.
    """
    order = "<" if data[:2] == b"II" else ">"
    entry, counter, head = struct.Struct(f"{order}HHI4x"), f"{order}H", f"{order}4xI"
    if data[2:4] in (b"+\0", b"\0+"):  # files of more than 4 GB; all numbers are longer
        entry, counter, head = (
            struct.Struct(f"{order}HHQ8x"),
            f"{order}Q",
            f"{order}8xQ",
        )
    try:
        (place,) = struct.unpack_from(head, data)
        (tags,) = struct.unpack_from(counter, data, place)
    except (struct.error, OverflowError):
        return  # cut: the decoder says so
    if tags > MOST_TAGS:
        raise ImageError(f"too large: more than {MOST_TAGS:,} tags")
    place += struct.calcsize(counter)
    found = data[place : place + tags * entry.size]
    found = found[: len(found) // entry.size * entry.size]
    numbers = 0
    for _, kind, count in entry.iter_unpack(found):
        # a tag that says more than the file holds is left out by the decoder
        if kind in NUMBERS and count * NUMBERS[kind] <= len(data):
            numbers += count * (FRACTION if kind in FRACTIONS else 1)
    if numbers > MOST_NUMBERS:
        raise ImageError(f"too large: tags of more than {MOST_NUMBERS:,} numbers")
