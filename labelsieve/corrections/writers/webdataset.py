"""WebDataset: the label file of a corrected sample changes in its shard; all else is copied."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._files import FilesWriter, grouped
from labelsieve.corrections.writers._spans import Edit, edited, find, start_of
from labelsieve.data.sources import Source
from labelsieve.data.sources._columns import LABEL_NAMES
from labelsieve.data.sources._tar import is_packed
from labelsieve.data.sources.webdataset import WebDataset, parted, samples
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import path_to_uri, readable, sync
from labelsieve.progress import plain

BLOCK = 512  # bytes; tar files are made of such


def accepts(source: Source) -> bool:
    """Are these shards of WebDataset?"""
    return isinstance(source, WebDataset)


def open_writer(spec: DataSpec, source: WebDataset) -> Writer:
    """Open it."""
    return WebDatasetWriter(spec, source.top)


class WebDatasetWriter(FilesWriter):
    """Writes shards anew."""

    def _by_file(self, source: WebDataset, changes: Changes) -> Mapping[str, Changes]:
        files = grouped()
        # as rows were counted: sample by sample, shard by shard
        number = 0
        for shard in source.shards:
            start = number
            for _ in samples(source.file(shard), []):
                if number in changes:
                    own = files[path_to_uri(source.name(shard))]
                    own[number - start] = changes[number]
                number += 1
        return files

    def _write(
        self, source: WebDataset, file: Path, changes: Changes, target: Path
    ) -> None:
        # packed again it would be other bytes, also where nothing changed
        if is_packed(file):
            raise DataError(
                f"'{readable(file)}' is compressed, and would not be the same bytes again.",
                "Unpack it with gunzip and scan that, or use labelsieve export.",
            )
        wanted: dict[str, str | None] = {}
        for number, sample in enumerate(samples(file, [])):
            if number in changes:
                wanted[sample.key] = changes[number]
        with file.open("rb") as old, target.open("wb") as new:
            for part in _parts(source, file, wanted):
                if isinstance(part, bytes):
                    new.write(part)
                else:
                    old.seek(part[0])
                    _copy(old, new, part[1] - part[0])
        sync(target)


def _copy(old: Any, new: Any, length: int) -> None:
    while length:
        data = old.read(min(length, 1 << 20))
        # the file became shorter meanwhile
        if not data:
            break
        new.write(data)
        length -= len(data)


def _parts(
    source: WebDataset, file: Path, wanted: Mapping[str, str | None]
) -> Iterator[bytes | tuple[int, int]]:
    """A new shard: ranges of the old one, and new members between them."""
    changed = set()
    position = 0
    with tarfile.open(file, "r:") as tar:
        for info in tar:
            key, kind = parted(info.name)
            # copied in one range with what stands before the next change
            if key not in wanted:
                continue
            end = info.offset_data + -(-info.size // BLOCK) * BLOCK
            label = wanted[key]
            if label is None:
                # with the headers that give it a long name
                yield position, info.offset
                position = end
                continue
            content = _relabelled(source, tar, info, kind, label)
            if content is not None:
                changed.add(key)
                # up to its own header, which stands right before it
                yield position, info.offset_data - BLOCK
                yield _header(file, info, len(content)) + _padded(content)
                position = end
    lacking = [
        k for k, label in wanted.items() if label is not None and k not in changed
    ]
    if lacking:
        raise DataError(
            f"'{readable(file)}': the label of '{plain(lacking[0])}' was not found.",
            "Name the file or key that has it with --label-column.",
        )
    yield position, file.stat().st_size


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def _header(file: Path, info: tarfile.TarInfo, size: int) -> bytes:
    """The header of a member with another size, and else as it was (POSIX.1-2017, pax, ustar)."""
    with file.open("rb") as old:
        old.seek(info.offset_data - BLOCK)
        header = bytearray(old.read(BLOCK))
    if info.size == size:
        return bytes(header)
    header[124:136] = f"{size:011o}\0".encode()
    # the sum is that of the header with eight spaces in place of the sum
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


def _relabelled(
    source: WebDataset,
    tar: tarfile.TarFile,
    info: tarfile.TarInfo,
    kind: str,
    label: str,
) -> bytes | None:
    """A member with another label; None where it does not hold the label."""
    classes = source.classes
    # the same order in which reading looks for it
    if kind == (source.label or "cls") or (kind == "txt" and source.label is None):
        if classes and label in classes:
            return str(classes.index(label)).encode()
        return label.encode()
    if kind != "json":
        return None
    member = tar.extractfile(info)
    text = member.read().decode("utf-8") if member else ""
    # text stays text and a number a number
    content = json.loads(text)
    for name in [source.label] if source.label else LABEL_NAMES:
        if isinstance(content.get(name), str):
            span = find(text, start_of(text), name)
            new = json.dumps(label, ensure_ascii=False)
            return edited(text, [Edit(*span, new)]).encode()
        if isinstance(content.get(name), int) and label in classes:
            span = find(text, start_of(text), name)
            return edited(text, [Edit(*span, str(classes.index(label)))]).encode()
    return None
