"""Tables that are packed by themselves (.csv.gz, .jsonl.zst …): their bytes, and packed again.

Only tables of text come like this; Parquet packs its columns itself. Bytes are unpacked as they
are read, so that a file that unpacks to terabytes takes time, and no memory.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from labelsieve.files import refuse_endless

PACKED = (".gz", ".bz2", ".xz", ".zst")
# Where the header of gzip says when the file was packed (RFC 1952, 2.3).
GZIP_TIME = slice(4, 8)


def packing(path: Path) -> str:
    """How a file is packed, by its suffix; empty where it is not."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKED else ""


def bare(path: Path) -> Path:
    """The path without the suffix of the packing: "t.csv" of "t.csv.gz"."""
    return path.with_suffix("") if packing(path) else path


def whole_suffix(path: Path) -> str:
    """All that says how a file is read, such as ".csv.gz"."""
    return bare(path).suffix + path.suffix if packing(path) else path.suffix


def open_bytes(path: Path, kind: str | None = None) -> IO[bytes]:
    """The bytes of a table, unpacked, from its start.

    Args:
        kind: how it is packed, where its name does not say it.

    Raises:
        OSError, EOFError, lzma.LZMAError: while it is read, as it is no such file, or cut.
    """
    refuse_endless(path)
    kind = packing(path) if kind is None else kind
    if kind == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if kind == ".bz2":
        return bz2.open(path, "rb")
    if kind == ".xz":
        return lzma.open(path, "rb")
    if kind == ".zst":
        stream: Any = pa.input_stream(str(path), compression="zstd")
        return io.BufferedReader(stream)
    return path.open("rb")


@contextlib.contextmanager
def packed_like(path: Path, target: Path) -> Iterator[IO[bytes]]:
    """A stream into `target`, packed as `path` is; the same bytes always give the same."""
    with target.open("wb") as raw, _packer(path, raw) as stream:
        yield stream


def _packer(path: Path, raw: IO[bytes]) -> Any:
    kind = packing(path)
    if kind == ".gz":
        # of the original: when the data were packed, and not when they were corrected
        with path.open("rb") as file:
            when = int.from_bytes(file.read(GZIP_TIME.stop)[GZIP_TIME], "little")
        return gzip.GzipFile("", "wb", fileobj=raw, mtime=when)
    if kind == ".bz2":
        return bz2.open(raw, "wb")
    if kind == ".xz":
        return lzma.open(raw, "wb")
    if kind == ".zst":
        return pa.CompressedOutputStream(pa.PythonFile(raw, "w"), "zstd")
    return contextlib.nullcontext(raw)
