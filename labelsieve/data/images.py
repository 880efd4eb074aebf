"""Bytes to pixels: decoding that names what is wrong, and the model's own preprocessing.

Files come from strangers: only the formats of `FORMATS` are opened, and memory is bounded (see
`labelsieve.data.decoding`).
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from labelsieve.data.decoding import heic, memory, metadata
from labelsieve.data.decoding.colours import (
    EXTENT,
    Plan,
    Whites,
    boxes,
    deep_colour,
    finite,
    lower_bytes,
    plan_of,
    to_rgb,
    upright,
)
from labelsieve.data.decoding.depth import (
    UNIT,
    extent_of,
    extent_of_high_bytes,
    to_uint8,
    white_of,
)
from labelsieve.errors import ImageError
from labelsieve.files import POINTER, refuse_endless

# What the suffixes of `labelsieve.data.sources.folder` stand for. Pillow reads more; some of
# these run other programs (EPS) or are of no use here (PSD, fonts, weather).
FORMATS = (
    *("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM"),
    *("ICO", "JPEG2000", "AVIF", "HEIF", "TGA", "PCX"),
)
# Larger pictures are taken for decompression bombs (Pillow's own limit, for twice its warning).
MAX_PIXELS = 178_956_970
LARGEST_FILE = 512 << 20  # bytes; a file is read whole before it is decoded
# To be raised whenever the same bytes give other pixels than before: caches of old pixels are
# then left.
DECODING = 3
# Entry of `info` of a picture decoded at a fraction of its size: its sides in the file, not
# yet turned.
FULL_SIZE = "full size"
# A picture that would be resized to more than this many times what is kept is cut first.
EXTREME = 16


def read_bytes(item: Any) -> bytes:
    """Encoded bytes of a row's image.

    Raises:
        ImageError: the file cannot be read, is empty, or is too large to be a picture.
    """
    if isinstance(item, str | Path):
        try:
            refuse_endless(Path(item))
            with Path(item).open("rb") as file:
                # one byte more tells that it is too large
                item = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    elif hasattr(item, "read_bytes"):
        # a member of an archive, or a picture on another machine: it names its own faults
        item = item.read_bytes()
    if not item:
        raise ImageError("empty file")
    if item[: len(POINTER)] == POINTER:
        raise ImageError("a pointer of Git LFS, not the picture: run git lfs pull")
    if len(item) > LARGEST_FILE:
        raise ImageError(f"too large: a file of more than {LARGEST_FILE / 1e6:.0f} MB")
    return bytes(item)


def decode(
    data: bytes, about: int | None = None, whites: Whites | None = None
) -> Image.Image:
    """As `decoded`, for callers that decode one picture at a time and keep it."""
    with decoded(data, about, whites) as picture:
        return picture


@contextmanager
def decoded(
    data: bytes, about: int | None = None, whites: Whites | None = None
) -> Iterator[Image.Image]:
    """Encoded bytes -> RGB picture as a person sees it.

    That is: the first frame, turned as EXIF says, transparency on white. The memory that it
    takes is reserved while the block runs; other threads wait for it.

    Args:
        data: encoded image.
        about: side in pixels that is enough; a large JPEG, or what would not fit into memory
            at its full size, is then decoded at a fraction of it, and `info` of the picture
            holds its full size, so that `Preprocess` cuts where it would have cut the full one.
        whites: of the data set; None takes white from the type of file and its values.

    Raises:
        ImageError: with the reason; truncated files, unknown formats, decompression bombs.
    """
    with _reasons():
        image = open_image(data)
        full = image.size
        if about is not None:
            image.draft("RGB", (about, about))  # only JPEG can; others stay whole
        plan = plan_of(image, full, about, whites or {})
        memory.check(image, plan.size)
    with memory.SHARED.hold(plan.size):
        with _reasons():
            drafted = full != image.size
            picture = _to_picture(data, image, plan, whites or {})
            if drafted or plan.factor > 1:
                picture.info[FULL_SIZE] = full
        yield picture


def preview(data: bytes, side: int) -> Image.Image:
    """A picture for people to look at, at most `side` pixels wide and high.

    With more than eight bits, its own values decide what is white: dark pictures are seen.

    Raises:
        ImageError: as `decoded`.
    """
    with decoded(data, side) as picture:
        extent = picture.info.get(EXTENT)
        if extent is None or white_of(extent) == extent.white:
            picture.thumbnail((side, side))  # leaves alone what is smaller
            return picture
    with decoded(data, side, {extent.kind: white_of(extent)}) as picture:
        picture.thumbnail((side, side))
        return picture


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever a decoder raises becomes an `ImageError` with the reason in one line."""
    # warnings, such as of odd EXIF, would come for picture after picture
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError as error:
        raise ImageError("not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageError("decompression bomb") from error
    except ImageError:
        raise
    # decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken files
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ImageError(f"broken image: {lines[0]}") from error


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Encoded bytes -> what their header says, nothing decoded.

    Raises:
        ImageError: a decompression bomb.
        OSError, SyntaxError and others of Pillow: not one of `FORMATS`, or damaged.
    """
    memory.check_icon(data)
    data = metadata.trimmed(data)
    Image.preinit()  # the common formats, which are quick to import
    try:
        image = Image.open(io.BytesIO(data), formats=_registered())
    except UnidentifiedImageError:
        Image.init()
        heic.allow(data)
        image = Image.open(io.BytesIO(data), formats=_registered())
    if image.width * image.height > MAX_PIXELS:
        sides = f"{image.width} x {image.height}"
        raise ImageError(f"decompression bomb: {sides} pixels")
    return image


def _registered() -> list[str]:
    """Those of `FORMATS` that Pillow has loaded; naming another one is an error there."""
    return [name for name in FORMATS if name in Image.OPEN]


def _to_picture(
    data: bytes, image: ImageFile.ImageFile, plan: Plan, whites: Whites
) -> Image.Image:
    image.load()
    if plan.both_bytes:
        return deep_colour(image, lower_bytes(open_image(data)), plan.factor, whites)
    extent = None
    if plan.deep:
        parts = (np.asarray(image.crop(box))[..., :3] for box in boxes(image.size))
        extent = extent_of_high_bytes(parts)
    picture = to_rgb(upright(image), whites, plan.factor)
    if extent is not None:
        picture.info[EXTENT] = extent
    return picture


def from_object(item: Any, whites: Whites | None = None) -> Image.Image:
    """A picture, array or tensor -> RGB picture.

    Arrays are [h, w], [h, w, c] or [c, h, w]; floats in [0, 1] or 0..255.

    Args:
        whites: of the data set, for values of more than 8 bits; see `decoded`.

    Raises:
        ImageError: not an image.
    """
    if isinstance(item, Exception):
        reason = str(item).strip() or type(item).__name__
        raise ImageError(f"cannot be opened: {reason}")
    try:
        if not isinstance(item, Image.Image):
            return _from_array(np.asarray(item), whites or {})
        item.load()  # a file that is cut must fail here, before anything has half of it
        picture = to_rgb(upright(item), whites)
        # the caller may change it, and the data set keeps its own
        return picture.copy() if picture is item else picture
    except ImageError:
        raise
    # a lazily opened picture may be broken; an array may be on another device
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise ImageError(f"broken image: {reason}") from error


def _from_array(array: np.ndarray, whites: Whites) -> Image.Image:
    # as torch has pictures: a picture of that few columns is unlikely
    channels = (1, 3, 4)
    if (
        array.ndim == 3
        and array.shape[0] in channels
        and array.shape[2] not in channels
    ):
        array = array.transpose(1, 2, 0)
    # numbers and truths; of complex ones, dates and texts nobody makes pictures
    if array.ndim not in (2, 3) or array.dtype.kind not in "uifb" or not array.size:
        raise ImageError(
            f"not an image: an array of shape {array.shape} and type {array.dtype}"
        )
    extent = None
    if array.dtype.kind == "b":
        array = to_uint8(array, UNIT)
    elif array.dtype != np.uint8:
        array = finite(array)
        # an opaque alpha channel is all white and says nothing of the colours
        colours = array[..., :3] if array.ndim == 3 else array
        extent = extent_of([colours])
        array = to_uint8(array, whites.get(extent.kind, extent.white))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    picture = to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    if extent is not None:
        picture.info[EXTENT] = extent
    return picture


def content_hash(item: bytes | Image.Image) -> str:
    """SHA-256, 64 hex digits: of the encoded bytes, or of a picture's pixels without any."""
    if isinstance(item, bytes):
        return hashlib.sha256(item).hexdigest()
    # the same bytes in another shape are another picture
    return hashlib.sha256(
        f"{item.mode}{item.size}".encode() + item.tobytes()
    ).hexdigest()


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its pictures: resized (shortest side, or both), cropped, normalised.

    `mean` and `std` apply to pixels in [0, 1].
    """

    height: int
    width: int
    shortest_edge: int | None  # None: both sides are resized, without keeping the shape
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """RGB picture -> uint8 [height, width, 3], before normalisation."""
        way = Image.Resampling(self.resample)
        if self.shortest_edge is None:
            return np.asarray(image.resize((self.width, self.height), way))
        # of the sides in the file: rounded ones of a reduced picture would cut elsewhere
        short, long = sorted(image.info.get(FULL_SIZE, image.size))
        # cut and not rounded, as torchvision and transformers do
        scaled = max(1, int(self.shortest_edge * long / short))
        if scaled > EXTREME * max(self.height, self.width):
            return self._middle_of_strip(image, scaled, way)
        size = (self.shortest_edge, scaled)
        if image.width > image.height:
            size = (scaled, self.shortest_edge)
        return self._middle(np.asarray(image.resize(size, way)))

    def _middle_of_strip(
        self, image: Image.Image, scaled: int, way: Image.Resampling
    ) -> np.ndarray:
        """As resizing the long side to `scaled` and cropping, without what the crop drops."""
        edge = self.shortest_edge or 0
        upright = image.height > image.width
        keep = self.height if upright else self.width
        first = (scaled - keep) // 2
        long = max(image.size)
        # where the crop begins and ends in the picture before resizing, in fractions of pixels
        start = first * long / scaled
        end = (first + keep) * long / scaled
        size, box = (keep, edge), (start, 0.0, end, float(image.height))
        if upright:
            size, box = (edge, keep), (0.0, start, float(image.width), end)
        return self._middle(np.asarray(image.resize(size, way, box=box)))

    def _middle(self, pixels: np.ndarray) -> np.ndarray:
        """The middle `height` x `width`; what is missing is black."""
        rows = max(0, self.height - pixels.shape[0])
        columns = max(0, self.width - pixels.shape[1])
        if rows or columns:
            # the odd pixel before, as transformers pads
            pad = [((rows + 1) // 2, rows // 2), ((columns + 1) // 2, columns // 2)]
            pixels = np.pad(pixels, [*pad, (0, 0)])
        top = (pixels.shape[0] - self.height) // 2
        left = (pixels.shape[1] - self.width) // 2
        middle = pixels[top : top + self.height, left : left + self.width]
        # a copy, as the whole picture would stay in memory behind a view
        return np.ascontiguousarray(middle)

    @property
    def geometry(self) -> str:
        """Names what happens before normalisation: pictures with the same one can share a cache."""
        return f"{self.height}x{self.width}-s{self.shortest_edge}-r{int(self.resample)}"

    @property
    def about(self) -> int:
        """A side in pixels from which `__call__` still resizes well."""
        # from four times on, what JPEG drops when it halves sides is below 2.5 gray levels
        return 4 * max(self.height, self.width, self.shortest_edge or 0)

    def to_json(self) -> str:
        """Names it in the cache of features."""
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Preprocess:
        """From what `dataclasses.asdict` gave and JSON kept."""
        return cls(
            **{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])}
        )

    @classmethod
    def from_processor(cls, processor: Any, image_size: int) -> Preprocess:
        """From a transformers image processor; None gives CLIP's own constants at `image_size`."""
        # 3 is bicubic in Pillow, as CLIP resizes
        if processor is None:
            return cls(image_size, image_size, image_size, 3, CLIP_MEAN, CLIP_STD)
        size = dict(processor.size or {})
        crop = dict(getattr(processor, "crop_size", None) or {})
        shortest = size.get("shortest_edge")
        edge = shortest or image_size
        # without both sides, what is resized is square
        side = size if "height" in size else {"height": edge, "width": edge}
        crops = getattr(processor, "do_center_crop", False)
        if shortest is not None and crops and "height" in crop:
            side = crop
        mean, std = _normalisation(processor)
        return cls(
            side["height"], side["width"], shortest, int(processor.resample), mean, std
        )


def _normalisation(processor: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of a processor's three channels."""
    if getattr(processor, "do_normalize", True):
        return tuple(processor.image_mean), tuple(processor.image_std)
    return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # these change nothing


# Of OpenAI's CLIP (Radford et al., 2021), for models that come without a processor.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
