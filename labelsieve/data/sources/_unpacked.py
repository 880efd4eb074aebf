"""Tables that are packed by themselves (.csv.gz, .jsonl.zst …): their bytes, and packed again.

Only tables of text come like this; Parquet packs its columns itself. Bytes are unpacked as they
are read, so that a file that unpacks to terabytes takes time, and no memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

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


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a table, unpacked, from its start.

    Raises:
        OSError, EOFError, lzma.LZMAError: while it is read, as it is no such file, or cut.
    """
    kind = packing(path)
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


def packed_like(path: Path, data: bytes) -> bytes:
    """`data` packed as a file is; the same data always give the same bytes."""
    kind = packing(path)
    if kind == ".gz":
        packed = bytearray(gzip.compress(data, mtime=0))
        with path.open("rb") as file:
            # of the original: it says when the data were packed, and not when they were corrected
            packed[GZIP_TIME] = file.read(GZIP_TIME.stop)[GZIP_TIME]
        return bytes(packed)
    if kind == ".bz2":
        return bz2.compress(data)
    if kind == ".xz":
        return lzma.compress(data)
    if kind == ".zst":
        return bytes(pa.compress(data, codec="zstd", asbytes=True))
    return data
