from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.decoding import jpeg2000, memory
from labelsieve.data.images import decode, open_image
from labelsieve.errors import ImageError

SIDE = 400
# Decode standard input; print what the process took more than before, in bytes.
DECODE = """
import sys
from PIL import Image
from labelsieve.data.images import decode
def most():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(l for l in lines if l.startswith("VmHWM")).split()[1]) * 1024
data = sys.stdin.buffer.read()
Image.init()
before = most()
decode(data)
print(most() - before)
"""


def encoded(mode: str = "L", side: int = SIDE, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side), "u1")
    buffer = io.BytesIO()
    image = Image.fromarray(noise).convert(mode)
    image.save(buffer, "JPEG2000", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def reserved(data: bytes) -> int:
    image = open_image(data)
    return memory.needed(image, image.size)


TINY = {"codeblock_size": (4, 4), "precinct_size": (64, 64)}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "options",
    [{}, {"codeblock_size": (4, 4)}, TINY, {"tile_size": (8, 8)}],
)
def test_no_more_is_taken_than_reserved(options: dict[str, object]) -> None:
    data = encoded(**options)
    command = [sys.executable, "-c", DECODE]
    took = subprocess.run(command, input=data, capture_output=True, check=True)
    # and the reservation is no multiple of it that would refuse sound pictures
    assert int(took.stdout) <= reserved(data) <= 2.5 * int(took.stdout) + 8_000_000


def test_blocks_and_tiles_are_counted() -> None:
    plain = jpeg2000.buffers(encoded())
    blocks = jpeg2000.buffers(encoded(**TINY))
    assert blocks - plain > (SIDE // 4) ** 2 * jpeg2000.BLOCK_BYTES * 0.95
    tiles = jpeg2000.buffers(encoded(tile_size=(8, 8)))
    assert tiles - plain > (SIDE // 8) ** 2 * jpeg2000.TILE_BYTES * 0.95


def test_headers_of_tiles_are_read() -> None:
    data = encoded(tile_size=(200, 200))
    # a COD of its own for the last tile, and a COC for its component
    style = bytes([5, 0, 0, 0, 1])  # levels, blocks of 4 x 4
    cod = b"\xff\x52" + struct.pack(">HBBHB", 12, 0, 0, 1, 0) + style
    coc = b"\xff\x53" + struct.pack(">HBB", 9, 0, 0) + style
    end = data.rindex(b"\xff\x93")
    for marker in (cod, coc):
        hostile = data[:end] + marker + data[end:]
        more = jpeg2000.buffers(hostile) - jpeg2000.buffers(data)
        assert more > 50 * 50 * (jpeg2000.BLOCK_BYTES - 10)


def test_components_that_nobody_decodes_are_counted() -> None:
    data = bytearray(encoded())
    start = data.index(b"\xff\x4f\xff\x51") + 4
    count = 500
    data[start : start + 2] = struct.pack(">H", 38 + 3 * count)
    data[start + 36 : start + 38] = struct.pack(">H", count)
    data[start + 38 : start + 41] = b"\x07\x01\x01" * count
    assert jpeg2000.buffers(bytes(data)) > SIDE**2 * count * 4


def test_what_would_take_gigabytes_is_refused_in_one_line() -> None:
    data = bytearray(encoded())
    start = data.index(b"\xff\x4f\xff\x51") + 4
    data[start + 20 : start + 28] = struct.pack(">II", 1, 1)  # tiles of one pixel
    with pytest.raises(ImageError, match="too large: decoding 400 x 400 pixels"):
        decode(bytes(data))


def test_layers_times_precincts_are_counted() -> None:
    data = bytearray(encoded(precinct_size=(64, 64)))
    start = data.index(b"\xff\x52\x00")
    data[start + 6 : start + 8] = b"\xff\xff"  # layers
    assert jpeg2000.buffers(bytes(data)) > 2 * 65_535 * 49


def test_random_bytes_declare_nothing() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 1 << 20, "u1").tobytes()
    assert jpeg2000.buffers(noise) == len(noise)
