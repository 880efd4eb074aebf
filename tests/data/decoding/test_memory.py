from __future__ import annotations

import io
import random
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labelsieve.data.decoding import memory
from labelsieve.data.images import decode, decoded, open_image
from labelsieve.errors import ImageError

SIDE = 2_000
# Tags of a TIFF: the width of its tiles.
NARROW_TILE, WIDE_TILE = (struct.pack("<HHII", 322, 4, 1, n) for n in (64, 1 << 24))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_who_asks_for_more_than_is_left_waits() -> None:
    bound = memory.Bound(100)
    used, most = [0], [0]
    lock = threading.Lock()

    def work(size: int) -> None:
        for _ in range(50):
            with bound.hold(size):
                with lock:
                    used[0] += size
                    most[0] = max(most[0], used[0])
                with lock:
                    used[0] -= size

    threads = [threading.Thread(target=work, args=(s,)) for s in (100, 60, 40, 30, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert used == [0] and most[0] <= 100


@pytest.mark.parametrize(
    ("mode", "kind", "options", "least"),
    [
        ("L", "PNG", {}, 1),
        ("I;16", "PNG", {}, 2),
        ("RGB", "PNG", {}, 4),
        ("RGB", "WEBP", {}, 16),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}, 4 + 6),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 2}, 4 + 3),
        ("L", "TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: SIDE}}, 2),
    ],
)
def test_what_decoding_takes_is_known_from_the_header(
    mode: str, kind: str, options: dict[str, object], least: float
) -> None:
    image = open_image(encoded(Image.new(mode, (SIDE, SIDE)), kind, **options))
    size = memory.needed(image, image.size) - memory.BAND * memory.BAND_BYTES
    assert least <= size / SIDE**2 <= least * 1.1


def tiled(side: int, tile: int) -> bytes:
    """A grey TIFF of one compressed tile, which may be larger than the picture."""
    packed = zlib.compress(bytes(tile * tile), 1)
    # width, height, bits, deflate, black is 0, samples, tile's sides, place and bytes
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, tile), (323, tile), (324, 8 + 2 + 12 * 10 + 4), (325, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + struct.pack("<I", 0) + packed


def test_a_tile_counts_whole_however_small_the_picture_is() -> None:
    assert decode(tiled(32, 64)).size == (32, 32)
    image = open_image(tiled(32, 4_000))
    assert memory.needed(image, image.size) > 4_000**2
    # where nothing is decompressed: a header that says so is enough
    lying = tiled(32, 64).replace(NARROW_TILE, WIDE_TILE)
    with pytest.raises(ImageError, match="too large"):
        decode(lying)


def test_a_tag_that_is_no_number_ends_in_one_line() -> None:
    text = tiled(32, 64).replace(NARROW_TILE, struct.pack("<HHII", 322, 2, 1, 64))
    with pytest.raises(ImageError):
        decode(text)


def icon(inner: bytes) -> bytes:
    """An icon that says of a picture that it has 16 x 16 pixels."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + inner


def test_an_icon_with_a_large_picture_is_refused() -> None:
    small, large = (encoded(Image.new("RGBA", (s, s))) for s in (256, 3_000))
    assert decode(icon(small)).size == (256, 256)
    with pytest.raises(ImageError, match="too large: an icon of 3000 x 3000 pixels"):
        decode(icon(large))
    texts = PngInfo()
    texts.add_text("k", "a" * 2_000_000, zip=True)
    texts.add_text("l", random.Random(0).randbytes(4_000).hex(), zip=True)
    with pytest.raises(ImageError, match="too large: an icon with long texts"):
        decode(icon(encoded(Image.new("RGBA", (32, 32)), pnginfo=texts)))
    with pytest.raises(ImageError, match="too large: an icon of 60,000 pictures"):
        decode(struct.pack("<HHH", 0, 1, 60_000) + icon(small)[6:])
    bitmap = struct.pack("<Iii", 40, 5_000, 10_000)
    with pytest.raises(ImageError, match="too large: an icon of 5000 x 10000 pixels"):
        decode(icon(bitmap))
    with pytest.raises(ImageError, match=r"broken image|not an image|too large"):
        decode(icon(b"")[:10])


def test_what_is_too_large_for_the_bound_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "SHARED", memory.Bound(20_000_000))
    with pytest.raises(
        ImageError, match=r"^too large: .*2000 x 2000 pixels takes 22 MB"
    ):
        decode(encoded(Image.new("RGB", (SIDE, SIDE))))


@pytest.mark.parametrize("mode", ["1", "P", "L"])
def test_what_is_too_large_only_after_conversion_is_reduced(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = Image.linear_gradient("L").resize((SIDE, SIDE))
    data = encoded(grey.convert(mode), transparency=0)
    whole = decode(data)
    monkeypatch.setattr(memory, "SHARED", memory.Bound(15_000_000))
    with pytest.raises(ImageError, match="too large"):
        decode(data)
    with decoded(data, about=200) as reduced:
        assert reduced.size == (SIDE // 2, SIDE // 2)
        small = np.asarray(whole.reduce(2)).astype(int)
        assert np.abs(np.asarray(reduced) - small).max() <= 1


def test_exif_behind_the_pixels_is_not_looked_for_before_they_are_decoded() -> None:
    image = open_image(encoded(Image.new("L", (9, 9))))
    memory.needed(image, image.size)
    assert image.tile
