"""What can be computed again: where it is kept, how much of it, and arrays with a digest."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from labelsieve import progress
from labelsieve.errors import DataError, OptionError
from labelsieve.files import remove, replacing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DIGEST = 32  # bytes of SHA-256 behind the numbers of a cached array
AT_ONCE = 1 << 24  # bytes that are hashed at a time: 16 MB, more is no faster
DEFAULT_GB = "50"  # the pixels of 300,000 pictures of 224 by 224, and their features
SHARE_OF_FREE = 0.9  # of the disk; the rest is left to others
OTHER_PLACE = (
    "Set LABELSIEVE_CACHE to a folder that can be written, on a disk with room."
)


def key_of(*parts: Any) -> str:
    """A file name of 24 hex digits that stands for everything a cached value depends on."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def cached_array(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """An array computed once and kept as `path` (.npy with a digest behind its numbers).

    What is read back is what was written: a file that is empty, cut, changed in a single bit
    or of a version without digest is computed anew, with one line of notice if it is damaged.

    Returns:
        Read-only, mapped from the file.
    """
    values = read_array(path)
    if values is None:
        write_array(path, compute())
        # from the file again, so that the first run works on the same bytes as the next one
        values = read_array(path)
    if values is None:
        raise DataError(f"'{path}' cannot be read back.", OTHER_PLACE)
    return values


def write_array(path: Path, values: np.ndarray) -> None:
    """Write an array whole or not at all, with its digest."""
    import numpy as np

    with replacing(path) as scratch:
        np.save(scratch, values)
        seal(scratch)
        make_way(path)


def make_way(path: Path) -> None:
    """Remove what stands in the place of a file of the cache and can only be a mistake."""
    # a file is replaced by its successor, a folder would stop every scan
    if path.is_dir() and not path.is_symlink():
        remove(path)


def seal(path: Path) -> None:
    """Append the digest of all bytes of an .npy file; numpy reads past it."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(digest)


def read_array(path: Path, then: str = "computed anew") -> np.ndarray | None:
    """A sealed array mapped from its file; None where there is none, or only a damaged one.

    Args:
        then: what becomes of a damaged one, for the notice.
    """
    import numpy as np

    with contextlib.suppress(OSError):
        fault = _fault(path)
        if fault:
            progress.note(f"'{path.name}' in the cache is {fault} and is {then}.")
            return None
        # pickled objects are refused with a ValueError: they could run code
        with contextlib.suppress(ValueError):
            return np.load(path, mmap_mode="r", allow_pickle=False)
    return None


def write_table(path: Path, values: pa.Table) -> None:
    """Write a table as Arrow's stream, whole or not at all, with its digest."""
    import pyarrow as pa

    with replacing(path) as scratch:
        # one part, as far as its texts are below 2 GB: single rows of many are slow to find
        whole = values.combine_chunks()
        with (
            pa.OSFile(str(scratch), "wb") as file,
            pa.ipc.new_stream(file, whole.schema) as stream,
        ):
            stream.write_table(whole)
        seal(scratch)
        make_way(path)


def read_table(path: Path) -> pa.Table | None:
    """As `read_array`, a table: mapped from its file, so that only what is used is read."""
    import pyarrow as pa

    with contextlib.suppress(OSError, pa.ArrowException):
        if _fault(path):
            progress.note(f"'{path.name}' in the cache is damaged and is read anew.")
            return None
        # the stream says where it ends, before the digest
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    return None


def _fault(path: Path) -> str:
    """Why a file is not read; empty where it is what was written. Raises OSError."""
    status = path.stat()
    # what is no file may never end
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    if _is_whole(path, status.st_size, status.st_mtime_ns, status.st_ino):
        return ""
    return "of an earlier version" if _is_unsealed(path) else "damaged"


def _is_unsealed(path: Path) -> bool:
    """Whether it is a whole array without a digest, as earlier versions wrote them."""
    import numpy as np

    # a header that is damaged is read by Python's own parser, which raises what it likes
    with contextlib.suppress(Exception):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return bool(array.offset + array.nbytes == path.stat().st_size)
    return False


# a scan opens the same features several times; hashing them once is enough
@lru_cache(maxsize=256)
def _is_whole(path: Path, size: int, changed: int, inode: int) -> bool:
    """Whether the digest at the end of a file is that of all bytes before it."""
    if size <= DIGEST:
        return False
    with path.open("rb") as file:
        file.seek(size - DIGEST)
        return file.read() == _digest(path, size - DIGEST)


def _digest(path: Path, size: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(AT_ONCE, size))):
            digest.update(part)
            size -= len(part)
    return digest.digest()


def cache_folder() -> Path:
    """Where caches lie: LABELSIEVE_CACHE, or the user's cache folder."""
    named = os.environ.get("LABELSIEVE_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("labelsieve")


def cache_limit(taken: int = 0, own: str = "") -> int:
    """Bytes that one cache may take: LABELSIEVE_CACHE_GB, at most nine tenths of what is free.

    Args:
        taken: bytes that it takes already.
        own: a variable that limits this cache alone, where it is set.

    Raises:
        OptionError: LABELSIEVE_CACHE_GB is not a number of gigabytes.
        DataError: the folder cannot be made.
    """
    folder = cache_folder()
    make_folder(folder)
    free = shutil.disk_usage(folder).free
    variable = own if os.environ.get(own) else "LABELSIEVE_CACHE_GB"
    return int(min(_wanted_bytes(variable), taken + SHARE_OF_FREE * free))


def _wanted_bytes(variable: str) -> float:
    text = os.environ.get(variable) or DEFAULT_GB
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    # NaN is not, either
    if not gigabytes >= 0:
        raise OptionError(
            f"{variable} is '{text}', not a number of gigabytes.",
            "For example 50.",
        )
    return gigabytes * 1e9


def make_folder(folder: Path) -> None:
    """Raises DataError where a cache folder cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The cache folder '{folder}' cannot be made: {error.strerror}.",
            "Set LABELSIEVE_CACHE to another folder.",
        ) from error


def parts() -> dict[str, int]:
    """Bytes of each kind of cache, such as pixels or downloads, by name."""
    sizes: dict[str, int] = {}
    for path in cache_folder().rglob("*"):
        # another process may delete one meanwhile
        with contextlib.suppress(OSError):
            if path.is_file():
                kind = _kind(path.relative_to(cache_folder()).parts[0])
                sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    return dict(sorted(sizes.items()))


def _kind(name: str) -> str:
    """Of "pixels2-224x224-s224-r3" the part that says what it is."""
    return name.partition("-")[0].rstrip("0123456789") or name


def used() -> int:
    """Bytes that all caches take."""
    return sum(parts().values())


def clear(kind: str | None = None) -> int:
    """Delete all caches, or those of one kind; gives the number of bytes freed.

    Raises:
        OptionError: there is none of that kind.
    """
    sizes = parts()
    if kind is None:
        shutil.rmtree(cache_folder(), ignore_errors=True)
        return sum(sizes.values())
    if kind not in sizes:
        raise OptionError(
            f"--only '{kind}': the cache holds {', '.join(sizes) or 'nothing'}.",
            "Name one of these.",
        )
    for path in cache_folder().iterdir():
        if _kind(path.name) == kind:
            remove(path)
    return sizes[kind]
