"""Bytes to pixels: decoding that names what is wrong, and the model's own preprocessing."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labelsieve.errors import ImageError

MAX_PIXELS = (
    178_956_970  # a 512 MB picture; larger ones are taken for decompression bombs
)
DECODING = 2  # to be raised whenever the same bytes give other pixels than before: caches of old pixels are then left
FULL_SIZE = "full size"  # info of a picture decoded at a fraction of its size: its sides in the file, not yet turned
EXTREME = 16  # a picture that would be resized to more than this many times what is kept is cut first


def read_bytes(item: Any) -> bytes:
    """Encoded bytes of a row's image.

    Raises:
        ImageError: the file cannot be read or is empty.
    """
    if isinstance(item, str | Path):
        try:
            item = Path(item).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    if not item:
        raise ImageError("empty file")
    return bytes(item)


def decode(data: bytes, about: int | None = None) -> Image.Image:
    """Encoded bytes -> RGB picture as a person sees it: first frame, turned as EXIF says, transparency on white.

    Args:
        data: encoded image.
        about: side in pixels that is enough; a large JPEG is then decoded at a fraction of its size, and `info` of the
            picture holds its full size, so that `Preprocess` cuts where it would have cut the full picture.

    Raises:
        ImageError: with the reason; truncated files, unknown formats, decompression bombs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"decompression bomb: {image.width} x {image.height} pixels"
                )
            full = image.size
            if about is not None:
                image.draft("RGB", (about, about))
            image.load()
            picture = to_rgb(_upright(image))
            if full != image.size:
                picture.info[FULL_SIZE] = full
            return picture
    except UnidentifiedImageError as error:
        raise ImageError("not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise ImageError("decompression bomb") from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, … on broken files
        raise ImageError(
            f"broken image: {str(error).strip() or type(error).__name__}"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF says nothing about the pixels
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode -> RGB: 16-bit scaled to 8, transparency on white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_uint8(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Values of any width -> uint8.

    16-bit types are divided by 257 however dark the picture is; of wider ones the range decides: floats up to about 1
    are taken times 255, what goes far beyond 255 is divided by 257. A little overshoot of resizing is clipped.

    Raises:
        ImageError: values far below zero: this was normalised for a model and is no picture any more.
    """
    values = (
        np.nan_to_num(values, posinf=0, neginf=0)
        if values.dtype.kind == "f"
        else values
    )
    low, high = float(values.min()), float(values.max())
    if low < -0.1 * max(1, high):
        raise ImageError(
            f"values from {low:.3g} to {high:.3g}: give pictures before normalisation"
        )
    sixteen = values.dtype.kind == "u" and values.dtype.itemsize == 2
    unit = values.dtype.kind == "b" or (values.dtype.kind == "f" and high <= 2)
    scale = 255.0 if unit else 1 / 257 if sixteen or high > 510 else 1.0
    return np.clip(values * scale, 0, 255).round().astype(np.uint8)


def from_object(item: Any) -> Image.Image:
    """A picture, array or tensor -> RGB picture. Arrays are [h, w], [h, w, c] or [c, h, w]; floats in [0, 1] or 0..255.

    Raises:
        ImageError: not an image.
    """
    if isinstance(item, Exception):
        raise ImageError(
            f"cannot be opened: {str(item).strip() or type(item).__name__}"
        )
    try:
        if not isinstance(item, Image.Image):
            return _from_array(np.asarray(item))
        item.load()  # a file that is cut must fail here, before anything has half of it
        return to_rgb(_upright(item))
    except ImageError:
        raise
    except Exception as error:  # a lazily opened picture may be broken; an array may be on another device
        raise ImageError(
            f"broken image: {str(error).strip() or type(error).__name__}"
        ) from error


def _from_array(array: np.ndarray) -> Image.Image:
    if (
        array.ndim == 3
        and array.shape[0] in (1, 3, 4)
        and array.shape[2] not in (1, 3, 4)
    ):
        array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or array.dtype.kind not in "uifb" or not array.size:
        raise ImageError(
            f"not an image: an array of shape {array.shape} and type {array.dtype}"
        )
    if array.dtype != np.uint8:
        array = _to_uint8(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def content_hash(item: bytes | Image.Image) -> str:
    """SHA-256 of the encoded bytes, or of an RGB picture's pixels where there are no bytes; 64 hex digits."""
    if isinstance(item, bytes):
        return hashlib.sha256(item).hexdigest()
    return hashlib.sha256(
        f"{item.mode}{item.size}".encode() + item.tobytes()
    ).hexdigest()


@dataclass(frozen=True)
class Preprocess:
    """How a model wants its pictures: resize (shortest side, or both), crop the middle, normalise.

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
        short, long = sorted(image.info.get(FULL_SIZE, image.size))
        scaled = max(1, int(self.shortest_edge * long / short))
        if scaled > EXTREME * max(self.height, self.width):
            return self._middle_of_strip(image, scaled, way)
        size = (
            (self.shortest_edge, scaled)
            if image.width <= image.height
            else (scaled, self.shortest_edge)
        )
        return self._middle(np.asarray(image.resize(size, way)))

    def _middle_of_strip(
        self, image: Image.Image, scaled: int, way: Image.Resampling
    ) -> np.ndarray:
        """As resizing the long side to `scaled` and cropping, without the parts that the crop throws away."""
        edge = self.shortest_edge or 0
        upright = image.height > image.width
        keep = self.height if upright else self.width
        first, long = (scaled - keep) // 2, max(image.size)
        start, end = first * long / scaled, (first + keep) * long / scaled
        box = (0, start, image.width, end) if upright else (start, 0, end, image.height)
        return self._middle(
            np.asarray(
                image.resize((edge, keep) if upright else (keep, edge), way, box=box)
            )
        )

    def _middle(self, pixels: np.ndarray) -> np.ndarray:
        """The middle `height` x `width`; what is missing is black."""
        missing = [
            max(0, want - have)
            for want, have in zip((self.height, self.width), pixels.shape, strict=False)
        ]
        if any(missing):
            pad = [((m + 1) // 2, m // 2) for m in missing]
            pixels = np.pad(pixels, [*pad, (0, 0)])
        top, left = (
            (pixels.shape[0] - self.height) // 2,
            (pixels.shape[1] - self.width) // 2,
        )
        return np.ascontiguousarray(
            pixels[top : top + self.height, left : left + self.width]
        )

    @property
    def geometry(self) -> str:
        """Names what happens before normalisation: pictures with the same one can share a cache."""
        return f"{self.height}x{self.width}-s{self.shortest_edge}-r{int(self.resample)}"

    @property
    def about(self) -> int:
        """A side in pixels from which `__call__` still resizes well."""
        return 4 * max(self.height, self.width, self.shortest_edge or 0)

    def to_json(self) -> str:
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
        if processor is None:
            return cls(image_size, image_size, image_size, 3, CLIP_MEAN, CLIP_STD)
        size, crop = (
            dict(processor.size or {}),
            dict(getattr(processor, "crop_size", None) or {}),
        )
        shortest = size.get("shortest_edge")
        crops = (
            shortest is not None
            and bool(getattr(processor, "do_center_crop", False))
            and "height" in crop
        )
        side = (
            crop
            if crops
            else size
            if "height" in size
            else {"height": shortest or image_size, "width": shortest or image_size}
        )
        normalises = bool(getattr(processor, "do_normalize", True))
        mean = tuple(processor.image_mean) if normalises else (0.0, 0.0, 0.0)
        std = tuple(processor.image_std) if normalises else (1.0, 1.0, 1.0)
        return cls(
            side["height"], side["width"], shortest, int(processor.resample), mean, std
        )


CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
