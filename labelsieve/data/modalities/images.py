"""Images: hashed by their encoded bytes, decoded and resized once into the pixel cache.

A file that did not change since it was read is not opened again; what cannot be known for
sure is hashed again, which costs reading but no decoding.
"""

from __future__ import annotations

import functools
import os
import stat
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from labelsieve.cache import cache_folder
from labelsieve.data.decoding.colours import EXTENT, Whites
from labelsieve.data.decoding.depth import Extent, Range
from labelsieve.data.images import (
    DECODING,
    Preprocess,
    content_hash,
    decoded,
    from_object,
    read_bytes,
)
from labelsieve.data.modalities import Item
from labelsieve.data.pixel_cache import Known, New, PixelCache, Stamp
from labelsieve.data.sources import Row, Source
from labelsieve.errors import DataError, ImageError
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
        DataError: the cache cannot be opened, or the model reads no images.
    """
    if not isinstance(preprocess, Preprocess):
        raise DataError(
            "The data are images, and the model takes texts.",
            "Name other data or model.",
        )
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
    range: Range = field(default_factory=Range)  # of those with more than eight bits
    # of sources that give pictures themselves: their data sets need not bear several threads
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def version(self) -> str:
        """It seeds nothing, but names contents in the cache of features: never reworded."""
        changed = self.range.changed()
        return f"decoding {DECODING}" + (f", white {changed}" if changed else "")

    @property
    def folder(self) -> Path:
        """Of the pixel cache."""
        return self.cache.folder

    def read(self, rows: Sequence[Row]) -> list[Item]:
        """Read rows: what the cache knows by its stamp is not opened, by its hash not decoded."""
        for row in rows:
            # pictures of other machines, all at once: each takes long to come
            begin = getattr(row.image, "begin", None)
            if begin is not None:
                begin()
        here = os.getcwd()  # once, and not for every path
        stamps = [stamp_of(row.image, here) for row in rows]
        # all at once: a query for each file would be slow
        known = self.cache.find_files([s for s in stamps if isinstance(s, Stamp)])
        items = []
        for row, stamp in zip(rows, stamps, strict=True):
            # a text is the reason why there is no stamp
            if isinstance(stamp, str):
                items.append(Item(row, reason=stamp))
            elif stamp in known:
                items.append(_known_item(row, known[stamp], None))
            else:
                items.append(self._read_one(row, stamp))
        return items

    def _read_one(self, row: Row, stamp: Stamp | None) -> Item:
        digest = ""
        try:
            if not _is_encoded(row.image):
                return self._from_object(row)
            data = read_bytes(row.image)
            digest = content_hash(data)
            known = self.cache.find(digest)
            if known is not None:
                return _known_item(row, known, stamp)
            pixels, extent = self._decode(data)
            return Item(row, digest, prepared=pixels, stamp=stamp, waits=extent)
        except ImageError as error:
            return Item(row, digest, reason=error.what)

    def _decode(
        self, data: bytes, whites: Whites | None = None
    ) -> tuple[np.ndarray, Extent | None]:
        """Pixels as the encoder wants them, and how far the values of a deep picture reach."""
        with decoded(data, self.preprocess.about, whites) as picture:
            return self.preprocess(picture), picture.info.get(EXTENT)

    def _from_object(self, row: Row, whites: Whites | None = None) -> Item:
        """A picture that was never encoded is known by its pixels."""
        picture = from_object(row.image, whites)
        digest, extent = content_hash(picture), picture.info.get(EXTENT)
        known = self.cache.find(digest)
        # what it tells is at hand, while that of a file comes from the cache
        if known is not None:
            return Item(row, digest, known.slot, waits=extent)
        return Item(row, digest, prepared=self.preprocess(picture), waits=extent)

    def store(self, items: Sequence[Item]) -> dict[str, int]:
        """Store new pixels and the stamps of their files: content hash -> slot."""
        new, files = [], []
        for item in items:
            if item.waits is not None:
                self.range.add(item.waits)
            # what others have read has a content, and no pixels here
            read_elsewhere = not item.reason and item.slot < 0
            if item.prepared is not None or read_elsewhere:
                extent = item.waits.to_json() if item.waits is not None else ""
                new.append(New(item.content_hash, item.prepared, extent))
            if item.stamp is not None:
                # also of known contents: a copy or a moved file has a stamp of its own
                files.append((item.stamp, item.content_hash))
        return self.cache.add(new, files) if new or files else {}

    def settle(self, source: Source, items: Sequence[Item]) -> list[Item]:
        """Pictures with more than eight bits, anew where the data set has another white."""
        whites = self.range.changed()
        settled, new = [], []
        for item in items:
            again = replace(item, waits=None)
            white = whites.get(item.waits.kind, item.waits.white)
            if white != item.waits.white:
                again = self._read_again(source, item, whites)
            if again.prepared is not None:
                new.append(New(_key(again.content_hash, white), again.prepared))
            settled.append(again)
        slots = self.cache.add(new, []) if new else {}
        stored = []
        for item, old in zip(settled, items, strict=True):
            white = whites.get(old.waits.kind, old.waits.white)
            slot = slots.get(_key(item.content_hash, white), item.slot)
            stored.append(replace(item, slot=slot, prepared=None))
        return stored

    def _read_again(self, source: Source, item: Item, whites: Whites) -> Item:
        white = whites[item.waits.kind]
        known = self.cache.find(_key(item.content_hash, white))
        if known is not None:
            return replace(item, slot=known.slot, waits=None)
        try:
            image = self._image(source, item.row)
            if not _is_encoded(image):
                again = self._from_object(replace(item.row, image=image), whites)
                return replace(again, row=item.row, waits=None)
            data = read_bytes(image)
            if content_hash(data) != item.content_hash:
                raise ImageError("changed while it was read")
            pixels, _ = self._decode(data, whites)
            return replace(item, prepared=pixels, waits=None)
        except ImageError as error:
            return replace(item, slot=-1, reason=error.what, waits=None)

    def _image(self, source: Source, row: Row) -> Any:
        if isinstance(row.image, str | Path):
            return row.image
        with self._lock:
            return source.read(row.uri)

    def remember(self, source: Source, manifest: pa.Table) -> None:
        """Damaged pictures of the cache are decoded again from their source."""
        table = manifest.select(["uri", "path", "content_hash", "slot"])
        self.cache.restore = functools.partial(self._restore, source, table)

    def _restore(
        self, source: Source, table: pa.Table, slot: int
    ) -> tuple[str, np.ndarray]:
        """Name in the cache and pixels of a picture that was stored at `slot`."""
        row = table.slice(pc.index(table["slot"], slot).as_py(), 1).to_pylist()[0]
        digest = row["content_hash"]
        whites = self.range.changed()
        try:
            with self._lock:
                image = source.read(row["uri"])
            if not _is_encoded(image):
                picture = from_object(image, whites)
                return digest, self.preprocess(picture)
            data = read_bytes(image)
            if content_hash(data) != digest:
                raise ImageError("it has changed since")
            pixels, extent = self._decode(data, whites)
        except ImageError as error:
            raise DataError(
                f"'{row['path']}' is damaged in the cache '{self.folder}' and cannot be "
                f"read again: {error.what}.",
                "Scan again.",
            ) from error
        if extent is None or extent.kind not in whites:
            return digest, pixels
        return _key(digest, whites[extent.kind]), pixels

    def inputs(self, slots: np.ndarray) -> Tensor:
        """uint8 [b, 3, height, width] of the pictures at slots [b]."""
        return torch.from_numpy(self.cache.read(slots)).permute(0, 3, 1, 2)

    def notes(self, slots: np.ndarray) -> list[str]:
        """Whether most pictures are nearly black or of a single colour."""
        # rows are sorted by the hash of their content, so evenly spaced ones are a fair sample
        step = -(-len(slots) // LOOKED_AT)
        looked_at = slots[:: max(1, step)]
        black, plain = self._looks(looked_at)
        of = f"of {len(looked_at)} pictures that were looked at"
        notes = self.range.notes()
        if 2 * plain > len(looked_at):
            notes.append(f"{plain} {of} are of a single colour and show nothing")
        elif 2 * black > len(looked_at):  # a plain dark one was told of above
            notes.append(
                f"{black} {of} are nearly black (no value above {DARK} of 255): do their "
                "values fill only part of their files' range, such as 12 of 16 bits?"
            )
        return notes

    def _looks(self, slots: np.ndarray) -> tuple[int, int]:
        """How many pictures are nearly black, and how many of a single colour."""
        black, plain = 0, 0
        for slot in slots:
            # one at a time: 256 large pictures at once would take hundreds of megabytes
            pixels = self.cache.read(np.array([slot]))
            black += int(pixels.max() < DARK)
            # over all pixels, channel by channel: a plain red picture has three values
            plain += int(np.ptp(pixels, axis=(0, 1, 2)).max() == 0)
        return black, plain


def _is_encoded(image: Any) -> bool:
    """Whether a row's image is a file or its bytes, and not a picture that is already there."""
    known = isinstance(image, bytes | bytearray | memoryview | str | Path)
    return image is None or known or hasattr(image, "read_bytes")


def _known_item(row: Row, known: Known, stamp: Stamp | None) -> Item:
    extent = Extent.from_json(known.extent) if known.extent else None
    return Item(row, known.content_hash, known.slot, stamp=stamp, waits=extent)


def _key(digest: str, white: int) -> str:
    """Name in the cache of a content that was decoded with the white of its data set."""
    return f"{digest}@{white}"


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
    # a date in the future, or one from an archive: only the later one says when it was written
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    return latest < time.time_ns() - SETTLED


# Rows come folder by folder: each is joined once, and not for all of its files.
@functools.lru_cache(maxsize=1024)
def _absolute(here: str, folder: str) -> str:
    """An absolute path, without a separator at its end."""
    return os.path.normpath(os.path.join(here, folder)).rstrip(os.sep)
