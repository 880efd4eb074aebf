"""Pictures as the pages show them: a few sizes, encoded anew, each made once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from labelsieve.data.images import from_object, open_image, read_bytes
from labelsieve.errors import ImageError, LabelsieveError
from labelsieve.runs.pictures import Images, webp

# sides in pixels: a small cell of the grid, a large one, a card; and all there is, up to the
# largest picture that WebP holds
SIDES = {"small": 160, "medium": 384, "large": 1024, "full": 16_383}
QUALITY = 90  # of WebP: labels are judged by small details
ROOM = 192 << 20  # bytes of made pictures that are kept: 20,000 small ones
# "full" pictures are looked at once, and one of them may be as large as a thousand small ones
KEPT = ("small", "medium", "large")
UNITS = ("bytes", "KB", "MB", "GB")


@dataclass(frozen=True)
class Facts:
    """What is known of an image file without decoding it."""

    width: int
    height: int
    size: str  # "41 KB"; empty where the picture never was a file


class Shown:
    """The pictures of a run in the sizes of the pages. Safe to use from several threads."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self._made: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._taken = 0
        self._lock = threading.Lock()

    def get(self, sample_id: str, size: str) -> bytes | None:
        """A picture as WebP; None when it cannot be read.

        Args:
            size: of `SIDES`.
        """
        key = (sample_id, size)
        with self._lock:
            picture = self._made.get(key)
            if picture is not None:
                self._made.move_to_end(key)
                return picture
        picture = webp(self.images, sample_id, SIDES[size], QUALITY)
        if picture is not None and size in KEPT:
            self._keep(key, picture)
        return picture

    def _keep(self, key: tuple[str, str], picture: bytes) -> None:
        with self._lock:
            # two requests may have made the same picture
            self._taken += len(picture) - len(self._made.pop(key, b""))
            self._made[key] = picture
            # what was wanted longest ago goes first
            while self._taken > ROOM:
                self._taken -= len(self._made.popitem(last=False)[1])

    def facts(self, sample_id: str) -> Facts | None:
        """Sides and size of the image; None when it cannot be read."""
        try:
            item = self.images.read(sample_id)
            if not isinstance(item, bytes | str | Path):
                return Facts(*from_object(item).size, "")
            data = read_bytes(item)
            return _facts(data)
        except LabelsieveError:
            return None


def _facts(data: bytes) -> Facts:
    try:
        with open_image(data) as image:
            return Facts(*image.size, in_units(len(data)))
    # decoders raise many kinds of errors on broken files
    except Exception as error:
        raise ImageError(f"broken image: {error}") from error


def in_units(size: int) -> str:
    """A number of bytes as people say it: "41 KB"."""
    number = float(size)
    unit = UNITS[0]
    for larger in UNITS[1:]:
        if number < 999.5:
            break
        number /= 1000
        unit = larger
    # one digit behind the point where there is one before it
    digits = int(number < 10 and unit != UNITS[0])
    return f"{number:.{digits}f} {unit}"
