from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.decoding import colours, memory
from labelsieve.data.decoding.colours import EXTENT, to_rgb
from labelsieve.data.decoding.depth import COLOUR, white_of
from labelsieve.data.images import decode

GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6  # kinds of colour in a PNG


def png(values: np.ndarray, kind: int, hole: tuple[int, ...] = ()) -> bytes:
    """16-bit values [h, w, c] as PNG, which Pillow cannot write; `hole` is transparent."""
    lines = []
    for line in values.astype(">u2"):
        lines.append(b"\0" + line.tobytes())
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    chunks = [(b"IHDR", head)]
    if hole:
        chunks.append((b"tRNS", struct.pack(f">{len(hole)}H", *hole)))
    chunks += [(b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        check = zlib.crc32(name + content)
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", check)
    return data


@pytest.fixture(scope="module")
def deep() -> np.ndarray:
    """12-bit values, uint16 [5, 7, 4]; the last channel is opaque."""
    values = np.random.default_rng(0).integers(0, 4096, (5, 7, 4), dtype=np.uint16)
    values[..., 3] = 65_535
    return values


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "I", "F"])
@pytest.mark.parametrize("size", [(60, 7), (7, 60), (30, 30)])
def test_parts_are_as_if_all_were_converted_at_once(
    mode: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode in ("1", "L", "P", "CMYK", "I", "F"):
        image = image.convert("RGB")
    if mode in ("I", "F"):
        image = image.convert("L")
    image = image.convert(mode)
    if mode in ("1", "L", "P"):
        image.info["transparency"] = 0
    whole = to_rgb(image)
    monkeypatch.setattr(memory, "BAND", 50)
    assert len(list(colours.boxes(size))) > 1
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(whole))


@pytest.mark.parametrize("size", [(100, 3), (3, 100), (40, 40), (1, 1)])
@pytest.mark.parametrize("factor", [1, 3])
def test_boxes_cover_every_pixel_once(size: tuple[int, int], factor: int) -> None:
    met = np.zeros(size[::-1], int)
    for left, top, right, bottom in colours.boxes(size, factor):
        met[top:bottom, left:right] += 1
    assert (met == 1).all()


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(RGB, [0, 1, 2]), (RGB_ALPHA, [0, 1, 2, 3]), (GREY_ALPHA, [0, 3])],
)
def test_both_bytes_of_deep_colours_are_read(
    kind: int, channels: list[int], deep: np.ndarray
) -> None:
    data = png(deep[..., channels], kind)
    assert white_of(decode(data).info[EXTENT]) == 4095
    picture = np.asarray(decode(data, whites={COLOUR: 4095}))
    wanted = np.round(deep[..., channels] / 4095 * 255)[..., :3]
    if kind == GREY_ALPHA:
        wanted = np.repeat(wanted[..., :1], 3, axis=2)
    assert np.array_equal(picture, wanted)


def test_full_range_gives_the_upper_byte_as_ever() -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (5, 7, 3), dtype=np.uint16)
    for whites in ({}, {COLOUR: 65_535}):
        picture = np.asarray(decode(png(values, RGB), whites=whites))
        assert np.array_equal(picture, values >> 8)


def test_deep_tiffs_of_either_byte_order() -> None:
    values = np.random.default_rng(0).integers(0, 1024, (4, 6, 3), dtype=np.uint16)
    for order, mark in (("<", b"II*\0"), (">", b"MM\0*")):
        data = values.astype(f"{order}u2").tobytes()
        tags = [(256, 6), (257, 4), (258, 16), (259, 1), (262, 2), (273, 200)]
        tags += [(277, 3), (278, 4), (279, len(data))]
        body = b""
        for tag, value in tags:
            many = 3 if tag == 258 else 1
            place = 190 if tag == 258 else value
            body += struct.pack(f"{order}HHII", tag, 3 if many == 3 else 4, many, place)
        file = mark + struct.pack(f"{order}IH", 8, len(tags)) + body + bytes(4)
        file = file.ljust(190, b"\0") + struct.pack(f"{order}HHH", 16, 16, 16)
        file = file.ljust(200, b"\0") + data
        assert white_of(decode(file).info[EXTENT]) == 1023
        picture = np.asarray(decode(file, whites={COLOUR: 1023}))
        assert np.array_equal(picture, np.round(values / 1023 * 255))


def test_a_deep_value_that_stands_for_transparent_is_white(deep: np.ndarray) -> None:
    colour = tuple(int(v) for v in deep[2, 3, :3])
    picture = np.asarray(decode(png(deep[..., :3], RGB, colour)))
    assert picture[2, 3].tolist() == [255, 255, 255]
    assert np.array_equal(np.delete(picture.reshape(-1, 3), 17, 0), _upper(deep, 17))
    grey = np.asarray(decode(png(deep[..., :1], GREY, (int(deep[2, 3, 0]),))))
    assert grey[2, 3].tolist() == [255, 255, 255] and grey[0, 0, 0] < 20


def _upper(deep: np.ndarray, without: int) -> np.ndarray:
    return np.delete((deep[..., :3] >> 8).reshape(-1, 3), without, 0)


def test_the_white_of_the_data_set_is_used_for_gray() -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    picture = decode(buffer.getvalue(), whites={"uint16": 4095})
    assert np.array_equal(np.asarray(picture)[..., 1], np.round(values / 4095 * 255))
    assert picture.info[EXTENT].kind == "uint16"
