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
from labelsieve.data.sources import Source, label_text
from labelsieve.data.sources._columns import LABEL_NAMES
from labelsieve.data.sources._tar import TarMember, is_packed
from labelsieve.data.sources.webdataset import Sample, WebDataset, samples
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

    def _named(self, source: WebDataset, path: Path) -> list[Path]:
        # a range of numbers is a pattern, too
        return list(source.shards)

    def _images(self, source: WebDataset) -> Iterator[Any]:
        return iter(())

    def _write(
        self, source: WebDataset, file: Path, changes: Changes, target: Path
    ) -> None:
        # packed again it would be other bytes, also where nothing changed
        if is_packed(file):
            raise DataError(
                f"'{readable(file)}' is compressed, and would not be the same bytes again.",
                "Unpack it with gunzip and scan that, or use labelsieve export.",
            )
        new_of: dict[int, bytes | None] = {}
        # by their place: two samples of one shard may have the same key
        for number, sample in enumerate(samples(file, [])):
            if number in changes:
                new_of.update(_new_members(source, sample, changes[number]))
        with file.open("rb") as old, target.open("wb") as new:
            for part in _parts(file, new_of):
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
    file: Path, new_of: Mapping[int, bytes | None]
) -> Iterator[bytes | tuple[int, int]]:
    """A new shard: ranges of the old one, and new members between them.

    Args:
        new_of: where the content of a member begins -> its new content (None: it goes).
    """
    position = 0
    with tarfile.open(file, "r:") as tar:
        for info in tar:
            # copied in one range with what stands before the next change
            if info.offset_data not in new_of:
                continue
            content = new_of[info.offset_data]
            if content is None:
                # with the headers that give it a long name
                yield position, info.offset
            else:
                # up to its own header, which stands right before it
                yield position, info.offset_data - BLOCK
                yield _header(file, info, len(content)) + _padded(content)
            position = info.offset_data + -(-info.size // BLOCK) * BLOCK
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


def _new_members(
    source: WebDataset, sample: Sample, label: str | None
) -> dict[int, bytes | None]:
    """What becomes of the members of a sample, by where their contents begin."""
    if label is None:
        return {member.offset: None for member in sample.files.values()}
    member, content = _relabelled(source, sample, label)
    return {member.offset: content}


def _relabelled(
    source: WebDataset, sample: Sample, label: str
) -> tuple[TarMember, bytes]:
    """The one member that the label was read from, with another label.

    Raises:
        DataError: the sample has no label that could change.
    """
    files, classes = sample.files, source.classes
    # the same order in which reading looks for it; a caption beside it is no label
    kind = source.label or "cls"
    if kind in files:
        return files[kind], _text(files[kind].read_bytes(), label, classes)
    if "json" in files:
        content = _json(source, sample, label)
        if content is not None:
            return files["json"], content
    if "txt" in files and source.label is None:
        return files["txt"], _text(files["txt"].read_bytes(), label, [])
    raise DataError(
        f"'{plain(sample.key)}': the label was not found in its shard.",
        "Name the file or key that has it with --label-column.",
    )


def _text(old: bytes, label: str, classes: list[str]) -> bytes:
    """A label as a file of its own has it: a number where one counts classes."""
    core = old.strip()
    if core.isdigit() and label in classes:
        label = str(classes.index(label))
    # the line end behind it stays
    start = old.find(core)
    return old[:start] + label.encode() + old[start + len(core) :]


def _json(source: WebDataset, sample: Sample, label: str) -> bytes | None:
    """The JSON of a sample with another label; None where it holds none.

    Raises:
        DataError: it could not be written back as it is.
    """
    data = sample.files["json"].read_bytes()
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    names = [source.label] if source.label else LABEL_NAMES
    # the first that is there says it
    held = [name for name in names if isinstance(content, dict) and name in content]
    old = content[held[0]] if held else None
    if not isinstance(old, str | int | float) or not label_text(old, source.classes):
        return None
    try:
        # with the mark of its encoding, if it has one
        text = data.decode("utf-8")
        span = find(text, start_of(text), held[0])
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"'{plain(sample.key)}.json' cannot be written back: {_fault(error)}.",
            "Write that file anew, and scan again.",
        ) from error
    new = _value(old, label, source.classes, f"{sample.key}.json")
    return edited(text, [Edit(*span, new)]).encode()


def _fault(error: Exception) -> str:
    return str(error) if isinstance(error, LookupError) else "it is not UTF-8"


def _value(old: Any, label: str, classes: list[str], where: str) -> str:
    """A label as JSON: text stays text and a number a number."""
    if isinstance(old, str):
        return json.dumps(label, ensure_ascii=False)
    if label in classes:
        return str(classes.index(label))
    # without names, a label is the number itself
    if not classes and label.isascii() and label.isdigit():
        return label
    raise DataError(
        f"'{plain(where)}' has a number as its label, and '{plain(label)}' has none.",
        "Choose a class that has a number.",
    )
