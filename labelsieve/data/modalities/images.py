"""Images: hashed by their encoded bytes, decoded and resized once into the pixel cache.

A file that did not change since it was read is not opened again; what cannot be known for
sure is hashed again, which costs reading but no decoding.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelsieve.cache import cache_folder
from labelsieve.data.images import (
    DECODING,
    Preprocess,
    content_hash,
    decode,
    from_object,
    read_bytes,
)
from labelsieve.data.modalities import Item
from labelsieve.data.pixel_cache import PixelCache, Stamp
from labelsieve.data.sources import Row
from labelsieve.errors import ImageError
from labelsieve.files import path_to_uri

# A file that changed so shortly before it was read may change once more within the same step
# of its file system's clock: FAT counts in 2 s, others in milliseconds.
SETTLED = 2 * 10**9  # ns
# SQLite keeps 64 bits with a sign; some file systems number inodes with more.
LARGEST = 2**63
# Pictures that are looked at for `notes`: enough to see what most are like, read in 0.1 s.
LOOKED_AT = 256
# Below this in all channels, of 255, a picture shows nothing: 12 bits in a file of 16 end at 16.
DARK = 32


def open_items(preprocess: Preprocess) -> ImageItems:
    """Images for encoders with this preprocessing, and the cache that its geometry shares.

    Raises:
        DataError: the cache cannot be opened.
    """
    folder = cache_folder() / f"pixels{DECODING}-{preprocess.geometry}"
    cache = PixelCache(folder, preprocess.height, preprocess.width)
    return ImageItems(preprocess, cache)


def restore(stored: dict[str, Any]) -> Preprocess:
    """A preprocessing that a run noted down."""
    return Preprocess.from_dict(stored)


@dataclass(frozen=True, eq=False)
class ImageItems:
    """Images as uint8 pixels in a cache."""

    preprocess: Preprocess
    cache: PixelCache
    # it seeds nothing, but names contents in the cache of features: never reworded
    version: str = f"decoding {DECODING}"

    @property
    def folder(self) -> Path:
        return self.cache.folder

    def read(self, rows: Sequence[Row]) -> list[Item]:
        """Read rows: what the cache knows by its stamp is not opened, by its hash not decoded."""
        here = os.getcwd()
        stamps = [stamp_of(row.image, here) for row in rows]
        known = self.cache.find_files([s for s in stamps if isinstance(s, Stamp)])
        items = []
        for row, stamp in zip(rows, stamps, strict=True):
            if isinstance(stamp, str):
                items.append(Item(row, reason=stamp))
            elif stamp in known:
                items.append(Item(row, *known[stamp]))
            else:
                items.append(self._read_one(row, stamp))
        return items

    def _read_one(self, row: Row, stamp: Stamp | None) -> Item:
        item: Any = row.image
        digest = ""
        encoded = item is None or isinstance(
            item, bytes | bytearray | memoryview | str | Path
        )
        try:
            item = read_bytes(item) if encoded else from_object(item)
            digest = content_hash(item)
            slot = self.cache.find(digest)
            if slot is not None:
                return Item(row, digest, slot, stamp=stamp)
            picture = decode(item, self.preprocess.about) if encoded else item
            return Item(row, digest, prepared=self.preprocess(picture), stamp=stamp)
        except ImageError as error:
            return Item(row, digest, reason=error.what)

    def store(self, items: Sequence[Item]) -> dict[str, int]:
        """Store new pixels and the stamps of their files: content hash -> slot."""
        new = [(i.content_hash, i.prepared) for i in items if i.prepared is not None]
        files = [(i.stamp, i.content_hash) for i in items if i.stamp is not None]
        return self.cache.add(new, files) if new or files else {}

    def inputs(self, slots: np.ndarray) -> Tensor:
        """uint8 [b, 3, height, width] of the pictures at slots [b]."""
        return torch.from_numpy(self.cache.read(slots)).permute(0, 3, 1, 2)

    def notes(self, slots: np.ndarray) -> list[str]:
        """Whether most pictures are nearly black or of a single colour."""
        step = -(-len(slots) // LOOKED_AT)
        looked_at = slots[:: max(1, step)]
        black, plain = 0, 0
        for slot in looked_at:
            # one at a time: 256 large pictures at once would take hundreds of megabytes
            pixels = self.cache.read(np.array([slot]))
            black += int(pixels.max() < DARK)
            plain += int(np.ptp(pixels, axis=(0, 1, 2)).max() == 0)
        of = f"of {len(looked_at)} pictures that were looked at"
        notes = []
        if 2 * plain > len(looked_at):
            notes.append(f"{plain} {of} are of a single colour and show nothing")
        elif 2 * black > len(looked_at):
            notes.append(
                f"{black} {of} are nearly black (no value above {DARK} of 255): do their "
                "values fill only part of their files' range, such as 12 of 16 bits?"
            )
        return notes


def stamp_of(image: Any, here: str) -> Stamp | str | None:
    """What a file is recognised by, why it cannot be read, or None where nothing is sure.

    Args:
        here: where a relative path starts.
    """
    if not isinstance(image, str | Path):
        return None
    try:
        status = os.stat(image)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        return f"cannot be opened: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever
        return "cannot be opened: not a file"
    if not _is_sure(status):
        return None
    folder, name = os.path.split(image)
    return Stamp(
        path_to_uri(f"{_absolute(here, folder)}{os.sep}{name}"),
        status.st_size,
        status.st_mtime_ns % LARGEST,
        status.st_ino % LARGEST,
        status.st_ctime_ns % LARGEST,
    )


def _is_sure(status: os.stat_result) -> bool:
    """Whether a file with the same stamp later must be the same.

    Windows gives the time of creation as `st_ctime`, so that a file overwritten in place with
    its old date looks unchanged; some file systems have no inodes and give 0.
    """
    if os.name == "nt" or not status.st_ino:
        return False
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    return latest < time.time_ns() - SETTLED


@lru_cache(maxsize=1024)
def _absolute(here: str, folder: str) -> str:
    """An absolute path, without a separator at its end."""
    return os.path.normpath(os.path.join(here, folder)).rstrip(os.sep)
