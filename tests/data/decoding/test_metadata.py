from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labelsieve.data.decoding.metadata import MOST_NUMBERS, trimmed
from labelsieve.data.images import decode
from labelsieve.errors import ImageError

MIB = 1 << 20
# A text that is one character too wide for one byte: Python then takes four for each.
WIDE = "\U0001f600".encode() + b"a" * (MIB - 4)
XMP = 'x:xmpmeta tiff:Orientation="6"'
PIXELS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    mark = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", mark)


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    """A small PNG with chunks in front of its pixels and behind them."""
    data = encoded(Image.fromarray(PIXELS))
    return data[:33] + before + data[33:-12] + after + data[-12:]


def peak(data: bytes) -> int:
    """Bytes of Python's objects that decoding takes."""
    tracemalloc.start()
    try:
        assert np.array_equal(np.asarray(decode(data)), PIXELS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


PACKED = zlib.compress(WIDE)
BOMBS = {
    "iTXt": chunk(b"iTXt", b"a\0\1\0\0\0" + PACKED),
    "zTXt": chunk(b"zTXt", b"a\0\0" + PACKED),
    "iCCP": chunk(b"iCCP", b"a\0\0" + PACKED),
    "tEXt": chunk(b"tEXt", b"a\0" + WIDE),
    "private": chunk(b"prVt", WIDE),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("behind", [False, True])
def test_nothing_that_a_png_says_beside_its_pixels_takes_memory(
    kind: str, behind: bool
) -> None:
    bombs = 8 * BOMBS[kind]
    data = png(after=bombs) if behind else png(bombs)
    assert peak(data) < MIB  # 8 to 32 MiB where Pillow reads them


def test_texts_that_turn_a_picture_are_kept_and_bounded() -> None:
    large = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED)
    assert peak(png(8 * large)) < 16 * MIB
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    info.add_text("Comment", "nobody needs it", zip=True)
    turned = decode(encoded(Image.fromarray(PIXELS), pnginfo=info))
    assert np.array_equal(np.asarray(turned), np.rot90(PIXELS, -1))
    exif = Image.Exif()
    exif[0x0112] = 3
    old = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n"
    info = PngInfo()
    info.add_text("Raw profile type exif", old, zip=True)
    turned = decode(encoded(Image.fromarray(PIXELS), pnginfo=info))
    assert np.array_equal(np.asarray(turned), np.rot90(PIXELS, 2))


def test_all_that_pixels_are_made_of_stays() -> None:
    """Transparency, palettes, animations, EXIF, and what is cut somewhere."""
    grey = Image.linear_gradient("L").resize((8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [grey.rotate(90)]}
    for options in ({"transparency": 7}, {"exif": exif}, frames):
        for picture in (grey, grey.convert("P"), grey.convert("RGB")):
            if "transparency" in options and picture.mode == "RGB":
                continue
            plain = encoded(picture, **options)
            padded = plain[:33] + chunk(b"zTXt", b"a\0\0") + plain[33:]
            assert trimmed(padded) == trimmed(plain)
            assert decode(padded).tobytes() == decode(plain).tobytes()
    assert trimmed(png()) == png()
    for end in range(len(png(BOMBS["iCCP"]))):
        if end > 8 and end % 97 == 0:
            with pytest.raises(ImageError):
                decode(png(BOMBS["iCCP"])[:end])


def test_chunks_and_segments_by_the_million_are_refused_before_each_is_an_object() -> (
    None
):
    with pytest.raises(ImageError, match=r"^too large: more than 262,144 chunks$"):
        decode(png(300_000 * chunk(b"prVt", b"")))
    plain = encoded(Image.fromarray(PIXELS), "JPEG")
    comments = 20_000 * b"\xff\xfe\0\2"
    with pytest.raises(ImageError, match=r"^too large: more than 10,000 segments$"):
        decode(plain[:2] + comments + plain[2:])
    with pytest.raises(ImageError, match=r"^too large: more than 4 MB of EXIF$"):
        decode(png(chunk(b"eXIf", b"II*\0" + bytes(5 * MIB))))


def tiff(kind: int, count: int, order: str = "<") -> bytes:
    """A directory with one tag of `count` numbers, as in a TIFF or in EXIF."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    entry = struct.pack(f"{order}HHHII", 1, 282, kind, count, 26)
    return head + entry + struct.pack(f"{order}I", 0) + b"\1" * 8 * count


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "share"), [(3, 1), (4, 1), (5, 8), (12, 1)])
def test_tags_that_would_be_millions_of_objects_are_refused(
    kind: int, share: int, order: str
) -> None:
    """Shorts, longs, fractions and doubles: 20 million took 1 GB, 2 million 28 seconds."""
    most = MOST_NUMBERS // share
    assert trimmed(tiff(kind, most, order))
    with pytest.raises(ImageError, match=r"^too large: tags of more than 262,144 numb"):
        decode(tiff(kind, most + 1, order))
    # more than the file holds: Pillow leaves such a tag out
    lying = bytearray(tiff(kind, 1, order))
    struct.pack_into(f"{order}I", lying, 14, 1 << 31)
    assert trimmed(bytes(lying))


def test_numbers_in_exif_count_too() -> None:
    plain = encoded(Image.fromarray(PIXELS), "JPEG")
    exif = tiff(5, MOST_NUMBERS // 8 + 1)
    pieces = [
        b"Exif\0\0" + exif[at : at + 60_000] for at in range(0, len(exif), 60_000)
    ]
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(piece) + 2) + piece for piece in pieces
    )
    with pytest.raises(ImageError, match="too large: tags of more than"):
        decode(plain[:2] + segments + plain[2:])
    # elsewhere it is known only when the file is open, and then turns nothing
    assert np.array_equal(np.asarray(decode(png(chunk(b"eXIf", exif)))), PIXELS)


def test_tags_without_end_are_refused() -> None:
    head = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1 << 40)
    with pytest.raises(ImageError, match=r"^too large: more than 65,536 tags$"):
        decode(head)


def test_exif_in_hundreds_of_segments_is_refused_before_it_is_joined() -> None:
    """Joining takes more than the square of it: 26 MB took 2 seconds, 52 MB took 39."""
    plain = encoded(Image.new("L", (8, 8), 77), "JPEG")
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(0xFFFF - 2 - 6)
    several = plain[:2] + 20 * segment + plain[2:]
    assert np.array_equal(np.asarray(decode(several)), np.asarray(decode(plain)))
    with pytest.raises(ImageError, match=r"^too large: more than 4 MB of EXIF$"):
        decode(plain[:2] + b"\xff" + 100 * segment + plain[2:])
    # a length that leads behind the end of the file, or nowhere
    for cut in (b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xe1\0\0", b"\xff\xd8\xff"):
        with pytest.raises(ImageError):
            decode(cut)
