from __future__ import annotations

import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn.datasets import load_sample_images

from labelsieve.data.images import (
    CLIP_MEAN,
    CLIP_STD,
    EXTREME,
    Preprocess,
    content_hash,
    decode,
    from_object,
    read_bytes,
)
from labelsieve.errors import ImageError

BICUBIC = 3
CLIP = Preprocess(24, 24, 24, BICUBIC, CLIP_MEAN, CLIP_STD)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Two real photographs, uint8 [213, 320, 3]."""
    return [
        np.ascontiguousarray(photo[::2, ::2]) for photo in load_sample_images().images
    ]


# --- bytes


def test_a_file_gives_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    assert (
        read_bytes(tmp_path / "a.png")
        == read_bytes(str(tmp_path / "a.png"))
        == read_bytes(b"abc")
        == b"abc"
    )
    assert read_bytes(memoryview(b"abc")) == b"abc"


def test_why_a_file_gives_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for item in (tmp_path / "empty.png", b"", None):
        with pytest.raises(ImageError, match=r"^empty file$"):
            read_bytes(item)
    with pytest.raises(
        ImageError, match=r"^cannot be opened: No such file or directory$"
    ):
        read_bytes(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"^cannot be opened: Is a directory$"):
        read_bytes(tmp_path)
    if hasattr(os, "mkfifo"):  # it would be waited for without end
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match=r"^cannot be opened: it is a pipe or a"):
            read_bytes(tmp_path / "pipe.png")


# --- decoding


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG"])
def test_every_format_gives_the_same_picture(
    kind: str, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    grey = np.kron(digits[0][0], np.ones((4, 4), np.uint8))
    options = (
        {"lossless": True}
        if kind == "WEBP"
        else {"quality": 100}
        if kind == "JPEG"
        else {}
    )
    found = np.asarray(decode(encoded(Image.fromarray(grey), kind, **options)))
    assert found.shape == (32, 32, 3)
    assert np.abs(found.astype(int) - grey[..., None]).max() <= (
        3 if kind == "JPEG" else 0
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_rotation_shows_the_picture_as_a_person_sees_it(
    orientation: int, kind: str
) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = (255, 0, 0)
    upright[:8, 12:] = (0, 255, 0)
    upright[8:, :12] = (0, 0, 255)
    # how the camera held the picture: EXIF's table of tag 0x0112, as numpy operations
    held = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    image = decode(
        encoded(
            Image.fromarray(np.ascontiguousarray(held)),
            kind,
            exif=exif.tobytes(),
            **options,
        )
    )
    assert image.size == (24, 16)
    assert np.abs(np.asarray(image).astype(int) - upright).max() <= 4


def test_broken_exif_says_nothing_about_the_pixels() -> None:
    data = encoded(
        Image.new("RGB", (8, 8), (9, 9, 9)),
        "JPEG",
        exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage",
    )
    assert decode(data).getpixel((0, 0)) == (9, 9, 9)


def test_cmyk_becomes_rgb() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    for kind in ("TIFF", "JPEG"):
        red, green, blue = decode(encoded(cyan, kind)).getpixel((4, 4))
        assert red < 10 and green > 245 and blue > 245


def test_a_palette_is_looked_up_and_its_hole_is_white() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 7, 7, 7])
    image.putdata([0, 1, 2, 3])
    pixels = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [decode(encoded(image)).getpixel((x, 0)) for x in range(4)] == [
        *pixels,
        (7, 7, 7),
    ]
    assert [
        decode(encoded(image, transparency=3)).getpixel((x, 0)) for x in range(4)
    ] == [
        *pixels,
        (255, 255, 255),
    ]


@pytest.mark.parametrize("alpha", [0, 51, 128, 255])
def test_transparency_is_put_on_white(alpha: int) -> None:
    for image in (
        Image.new("RGBA", (4, 4), (100, 20, 0, alpha)),
        Image.new("LA", (4, 4), (100, alpha)),
    ):
        colour = np.array(image.convert("RGBA").getpixel((0, 0))[:3])
        expected = colour * alpha / 255 + 255 * (1 - alpha / 255)
        assert (
            np.abs(np.array(decode(encoded(image)).getpixel((0, 0))) - expected).max()
            <= 1
        )


def test_a_colour_that_stands_for_transparent_is_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (40, 50, 60))
    found = decode(encoded(image, transparency=(1, 2, 3)))
    assert [found.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (40, 50, 60)]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("top", [200, 4095, 65535])
def test_sixteen_bits_are_scaled_however_dark_the_picture_is(
    kind: str, top: int
) -> None:
    deep = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
    found = np.asarray(decode(encoded(Image.fromarray(deep), kind)))
    assert np.array_equal(
        found, np.repeat(np.round(deep / 257).astype(np.uint8)[..., None], 3, axis=2)
    )


def test_floats_and_bilevel_pictures_are_read() -> None:
    grey = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    assert np.array_equal(
        np.asarray(decode(encoded(Image.fromarray(grey), "TIFF")))[..., 0],
        np.round(grey * 255),
    )
    bits = Image.fromarray(np.eye(8, dtype=bool))
    assert np.array_equal(np.asarray(decode(encoded(bits)))[..., 1], np.eye(8) * 255)


def test_an_animation_is_its_first_frame() -> None:
    frames = [
        Image.new("RGB", (6, 6), colour)
        for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))
    ]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], **options
        )
        assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
        assert decode(data).getpixel((3, 3)) == (250, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_a_truncated_file_is_never_half_a_picture(
    kind: str, photos: list[np.ndarray]
) -> None:
    data = encoded(Image.fromarray(photos[0]), kind)
    decode(data)
    with pytest.raises(ImageError, match=r"^broken image: \S"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 500,
        b"hello, this is no image",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"<html>",
    ],
)
def test_what_is_no_image_is_called_so(data: bytes) -> None:
    with pytest.raises(
        ImageError, match=r"^(not an image in a known format|broken image: .+)$"
    ):
        decode(data)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_is_an_image_error_or_a_picture_but_never_another_exception(
    at: int, damage: bytes
) -> None:
    data = bytearray(
        encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)))
    )
    place = at % len(data)
    data[place : place + len(damage)] = damage
    try:
        assert decode(bytes(data)).mode == "RGB"
    except ImageError as error:
        assert "\n" not in str(error)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be large."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 9999)),
        (b"IEND", b""),
    ]
    made = [
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
        for k, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


@pytest.mark.parametrize("size", [(50_000, 50_000), (13_400, 13_400), (20_000, 9_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    size: tuple[int, int],
) -> None:
    with pytest.raises(ImageError, match=r"^decompression bomb"):
        decode(bomb(*size))


def test_a_bomb_is_refused_even_where_pillows_limit_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match=r"decompression bomb: 50000 x 50000 pixels"):
        decode(bomb(50_000, 50_000))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_large_jpegs_are_decoded_small_and_look_the_same(
    orientation: int, photos: list[np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    big = Image.fromarray(photos[0]).resize((1280, 852), BICUBIC)
    data = encoded(big, "JPEG", quality=95, exif=exif)
    reduced = decode(data, CLIP.about)
    assert CLIP.about <= min(reduced.size) < 852
    difference = np.abs(CLIP(reduced).astype(int) - CLIP(decode(data)).astype(int))
    assert difference.mean() < 2.5  # a picture cut half a pixel off differs by 7


# --- objects


def test_pictures_arrays_and_tensors_of_the_same_picture_are_the_same(
    photos: list[np.ndarray],
) -> None:
    import torch

    photo = photos[1][:20, :30]
    same = [
        Image.fromarray(photo),
        photo,
        photo.transpose(2, 0, 1),
        photo.astype(np.int64),
        photo.astype(np.float32),
        photo / 255,
        (photo / 255).astype(np.float16),
        torch.from_numpy(photo),
        torch.from_numpy(photo).permute(2, 0, 1) / 255,
        photo.tolist(),
    ]
    for item in same:
        assert np.abs(np.asarray(from_object(item)).astype(int) - photo).max() <= (
            1 if getattr(item, "dtype", None) == np.float16 else 0
        )
    assert len({content_hash(from_object(item)) for item in same[:6]}) == 1


@given(
    hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    )
)
def test_grey_arrays_of_any_kind_keep_their_values(grey: np.ndarray) -> None:
    for item in (
        grey,
        grey[..., None],
        grey[None] if grey.shape[1] > 4 else grey,
        grey.astype(np.uint16) * 257,
    ):
        assert np.array_equal(
            np.asarray(from_object(item)), np.repeat(grey[..., None], 3, axis=2)
        )


def test_whole_numbers_are_grey_levels_and_bits_are_black_and_white() -> None:
    assert from_object(np.array([[0, 1]])).getpixel((1, 0)) == (1, 1, 1)
    assert from_object(np.array([[False, True]])).getpixel((1, 0)) == (255, 255, 255)


def test_overshoot_of_resizing_is_clipped_and_nothing_else_changes() -> None:
    assert [
        from_object(np.array([[-0.03, 0.5, 1.04]])).getpixel((x, 0))[0]
        for x in range(3)
    ] == [
        0,
        128,
        255,
    ]
    assert [
        from_object(np.array([[-4.0, 100, 259]])).getpixel((x, 0))[0] for x in range(3)
    ] == [
        0,
        100,
        255,
    ]
    assert from_object(np.array([[np.nan, 1.0]])).getpixel((0, 0)) == (0, 0, 0)


def test_normalised_tensors_are_refused(photos: list[np.ndarray]) -> None:
    normalised = (photos[0] / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    with pytest.raises(
        ImageError,
        match=r"values from -1\.\d+ to 2\.\d+: give pictures before normalisation",
    ):
        from_object(normalised)


@pytest.mark.parametrize(
    "item",
    [
        np.zeros(3),
        np.zeros((2, 2, 2, 2)),
        np.zeros((0, 5)),
        np.array([["a"]]),
        {"a": 1},
        object(),
        [[1, 2], [3]],
        np.zeros((5, 5, 7)),
    ],
)
def test_what_is_no_picture_is_called_so(item: object) -> None:
    with pytest.raises(ImageError, match=r"^(not an image|broken image)"):
        from_object(item)


def test_a_picture_that_was_opened_lazily_and_is_cut_is_named(
    photos: list[np.ndarray],
) -> None:
    data = encoded(Image.fromarray(photos[0]), "JPEG")
    with pytest.raises(ImageError, match=r"^broken image: image file is truncated"):
        from_object(Image.open(io.BytesIO(data[: len(data) // 2])))


def test_the_hash_knows_palette_and_rotation() -> None:
    one, other = (Image.new("P", (2, 2)) for _ in range(2))
    one.putpalette([255, 0, 0])
    other.putpalette([0, 255, 0])
    assert content_hash(from_object(one)) != content_hash(from_object(other))
    exif = Image.Exif()
    exif[0x0112] = 3
    plain = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    turned = Image.open(io.BytesIO(encoded(plain, "PNG", exif=exif)))
    assert content_hash(from_object(plain)) != content_hash(from_object(turned))
    assert (
        content_hash(b"abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# --- the model's preprocessing


def clip_processor(edge: int, crop: int) -> object:
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        size={"shortest_edge": edge}, crop_size={"height": crop, "width": crop}
    )


def by_the_library(processor: object, image: Image.Image) -> np.ndarray:
    """float [h, w, 3]: what transformers' own Pillow processor makes of a picture, in grey
    levels."""
    batch = processor(image, return_tensors="np")  # type: ignore[operator]
    values = batch["pixel_values"][0].transpose(1, 2, 0)
    return (
        values * np.array(processor.image_std) + np.array(processor.image_mean)
    ) * 255  # type: ignore[attr-defined]


@pytest.mark.parametrize(("edge", "crop"), [(32, 32), (32, 24), (20, 28), (224, 224)])
def test_pictures_are_prepared_as_by_transformers_clip_processor(
    edge: int,
    crop: int,
    photos: list[np.ndarray],
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    processor = clip_processor(edge, crop)
    ours = Preprocess.from_processor(processor, crop)
    assert (ours.height, ours.width, ours.shortest_edge, ours.mean, ours.std) == (
        crop,
        crop,
        edge,
        CLIP_MEAN,
        CLIP_STD,
    )
    wide, odd = photos[0], photos[1][:101, :67]
    for pixels in (
        wide,
        wide.transpose(1, 0, 2),
        odd,
        *(np.repeat(d[..., None], 3, 2) for d in digits[0][:5]),
    ):
        image = Image.fromarray(np.ascontiguousarray(pixels))
        assert np.abs(ours(image) - by_the_library(processor, image)).max() < 1e-2


def test_pictures_are_prepared_as_by_transformers_siglip_processor(
    photos: list[np.ndarray],
) -> None:
    from transformers import SiglipImageProcessorPil

    processor = SiglipImageProcessorPil(size={"height": 30, "width": 20})
    ours = Preprocess.from_processor(processor, 30)
    assert (ours.height, ours.width, ours.shortest_edge) == (30, 20, None)
    image = Image.fromarray(photos[0])
    assert np.abs(ours(image) - by_the_library(processor, image)).max() < 1e-2


def test_a_model_without_a_processor_gets_clips_constants_at_its_size() -> None:
    assert Preprocess.from_processor(None, 48) == Preprocess(
        48, 48, 48, BICUBIC, CLIP_MEAN, CLIP_STD
    )


@pytest.mark.parametrize("upright", [False, True])
def test_a_very_long_picture_is_cut_before_it_is_resized(
    upright: bool, photos: list[np.ndarray]
) -> None:
    strip = photos[0][100:110, : 10 * (EXTREME + 9) + 1]
    strip = np.ascontiguousarray(strip.transpose(1, 0, 2) if upright else strip)
    image = Image.fromarray(strip)
    long = int(24 * max(image.size) / 10)
    whole = np.asarray(
        image.resize((24, long) if upright else (long, 24), Image.Resampling.BICUBIC)
    )
    left = (long - 24) // 2
    expected = whole[left : left + 24] if upright else whole[:, left : left + 24]
    assert np.abs(CLIP(image).astype(int) - expected).max() <= 1


def test_a_line_of_pixels_costs_no_gigabytes() -> None:
    found = Preprocess(224, 224, 224, BICUBIC, CLIP_MEAN, CLIP_STD)(
        Image.new("RGB", (200_000, 1), (10, 20, 30))
    )
    assert found.shape == (224, 224, 3) and (found == (10, 20, 30)).all()


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 12),
    st.none() | st.integers(1, 12),
)
def test_every_picture_gets_the_wanted_size(
    width: int, height: int, h: int, w: int, edge: int | None
) -> None:
    wanted = Preprocess(h, w, edge, BICUBIC, CLIP_MEAN, CLIP_STD)
    assert wanted(Image.new("RGB", (width, height))).shape == (h, w, 3)


def test_the_geometry_names_what_changes_pixels_and_nothing_else() -> None:
    other = [
        Preprocess(25, 24, 24, 3, CLIP_MEAN, CLIP_STD),
        Preprocess(24, 25, 24, 3, CLIP_MEAN, CLIP_STD),
        Preprocess(24, 24, 25, 3, CLIP_MEAN, CLIP_STD),
        Preprocess(24, 24, None, 3, CLIP_MEAN, CLIP_STD),
        Preprocess(24, 24, 24, 2, CLIP_MEAN, CLIP_STD),
    ]
    assert len({CLIP.geometry, *(p.geometry for p in other)}) == 6
    assert Preprocess(24, 24, 24, 3, (0, 0, 0), (1, 1, 1)).geometry == CLIP.geometry
    assert Preprocess.from_dict(json.loads(CLIP.to_json())) == CLIP


@pytest.mark.skipif(
    sys.platform == "darwin" or os.name == "nt",
    reason="the file system refuses names that are no UTF-8",
)
def test_a_file_whose_name_is_no_utf8_is_read(
    tmp_path: Path, encode: Callable[[np.ndarray], bytes]
) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9\n'\".png")
    Path(name).write_bytes(encode(np.full((2, 2), 7, np.uint8)))
    assert decode(read_bytes(Path(name))).getpixel((0, 0)) == (7, 7, 7)


# --- for people


def test_a_preview_fits_and_shows_dark_pictures_of_more_bits(
    photos: list[np.ndarray],
) -> None:
    from labelsieve.data.images import preview

    picture = preview(encoded(Image.fromarray(photos[0])), 64)
    assert max(picture.size) == 64
    assert preview(encoded(Image.new("RGB", (9, 7))), 64).size == (9, 7)
    deep = np.linspace(0, 1023, 64).astype(np.uint16).reshape(8, 8)
    assert np.asarray(preview(encoded(Image.fromarray(deep)), 64)).max() == 255


def test_a_picture_of_the_data_set_is_left_as_it_is() -> None:
    own = Image.new("RGB", (40, 40))
    from_object(own).thumbnail((8, 8))
    assert own.size == (40, 40)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "SGI", "PCX", "ICO"])
def test_only_listed_formats_are_opened(kind: str) -> None:
    data = encoded(Image.new("RGB", (40, 40)), kind)
    if kind in ("PCX", "ICO"):
        assert decode(data).size[0] > 0
        return
    with pytest.raises(ImageError, match="not an image in a known format"):
        decode(data)


def test_a_sparse_file_of_any_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelsieve.data import images

    monkeypatch.setattr(images, "LARGEST_FILE", 1000)
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageError, match="too large: a file of more than"):
        read_bytes(tmp_path / "huge.png")
