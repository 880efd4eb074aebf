"""Texts: known by their bytes, kept in a file without a name while the data set is open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve import progress
from labelsieve.cache import cache_folder, make_folder
from labelsieve.data.images import content_hash
from labelsieve.data.modalities import Item
from labelsieve.data.sources import Row, Source
from labelsieve.data.text import checks
from labelsieve.data.text.reading import TextPreprocess, decode, read_bytes
from labelsieve.data.text.spool import Spool
from labelsieve.errors import DataError, ImageError

# How a class is written into a prompt where the user says nothing.
AT_ONCE = 1_000  # rows that are Python objects at a time
TEMPLATE = "This text is about {}."


def open_items(preprocess: TextPreprocess) -> TextItems:
    """Texts for encoders with this preprocessing.

    Raises:
        DataError: the cache folder cannot be written to, or the model reads no texts.
    """
    if not isinstance(preprocess, TextPreprocess):
        raise DataError(
            "The data are texts, and the model takes images.",
            "Name other data or model.",
        )
    folder = cache_folder()
    make_folder(folder)
    return TextItems(preprocess, Spool(folder))


def restore(stored: dict[str, Any]) -> TextPreprocess:
    """A preprocessing that a run noted down."""
    return TextPreprocess(**stored)


@dataclass(frozen=True, eq=False)
class TextItems:
    """Texts as bytes in a spool."""

    preprocess: TextPreprocess
    spool: Spool = field(repr=False)
    version: str = "texts 1"
    noun: str = "text"  # what people call one of them

    @property
    def folder(self) -> Path:
        """Of the cache."""
        return cache_folder()

    def read(self, rows: Sequence[Row]) -> list[Item]:
        """Read rows; a text of nothing but space cannot be used."""
        return [self._read_one(row) for row in rows]

    def _read_one(self, row: Row) -> Item:
        try:
            data = read_bytes(row.image)
        except ImageError as error:
            return Item(row, reason=error.what)
        digest = content_hash(data)
        if not decode(data).strip():
            return Item(row, digest, reason="the text is empty")
        return Item(row, digest, prepared=data)

    def store(self, items: Sequence[Item]) -> dict[str, int]:
        """Keep texts; of the same content every row has one of its own."""
        slots = {}
        for item in items:
            if item.prepared is not None:
                slots[item.content_hash] = self.spool.add(item.prepared)
        return slots

    def settle(self, source: Source, items: Sequence[Item]) -> list[Item]:
        """No text waits for others."""
        return list(items)

    def remember(self, source: Source, manifest: pa.Table) -> None:
        """What is kept is lost with the process alone."""

    def inputs(self, slots: np.ndarray) -> list[str]:
        """Texts [b], as much of each as the encoder reads."""
        longest = self.preprocess.characters
        # of a text of a megabyte only the beginning is decoded: no character has more bytes
        parts = [self.spool.read(int(slot)) for slot in slots]
        return [decode(part)[:longest] for part in parts]

    def notes(self, slots: np.ndarray) -> list[str]:
        """What is odd about texts has rows to show: see `findings`."""
        return []

    def findings(self, rows: pa.Table) -> list[checks.Finding]:
        """What is odd about rows of MANIFEST that can be used, with examples."""
        if not len(rows):
            return []
        chosen = pa.array(checks.spaced(len(rows)), pa.int64())
        looked_at = rows.select(["path", "given_label", "slot"]).take(chosen)
        most = self.preprocess.window * self.preprocess.windows
        found = checks.check(self._one_by_one(looked_at), most)
        if len(looked_at) < len(rows):
            for finding in found:
                finding.what += f", of {len(looked_at):,} that were looked at"
        return found

    def _one_by_one(self, rows: pa.Table) -> Iterator[tuple[str, str | None, str]]:
        """Path, label and text of rows: a million texts are never in memory at once."""
        with progress.bar("Looking at texts", len(rows), unit="texts") as shown:
            for part in rows.to_batches(AT_ONCE):
                for row in part.to_pylist():
                    text = decode(self.spool.read(row["slot"]))
                    yield row["path"], row["given_label"], text
                shown.advance(len(part))
