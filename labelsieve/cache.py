"""Where computed things lie that can be computed again: the folder, its limit, what is used, clearing it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs

from labelsieve.errors import DataError, OptionError


def cache_folder() -> Path:
    """Where caches lie: LABELSIEVE_CACHE, or the user's cache folder."""
    return Path(
        os.environ.get("LABELSIEVE_CACHE") or platformdirs.user_cache_path("labelsieve")
    )


def cache_limit(taken: int = 0) -> int:
    """Bytes that one cache may take: LABELSIEVE_CACHE_GB (default 50), at most nine tenths of what is free.

    Args:
        taken: bytes that it takes already.

    Raises:
        OptionError: LABELSIEVE_CACHE_GB is not a number.
        DataError: the folder cannot be made.
    """
    text = os.environ.get("LABELSIEVE_CACHE_GB") or "50"
    try:
        wanted = float(text) * 1e9
    except ValueError as error:
        raise OptionError(
            f"LABELSIEVE_CACHE_GB is '{text}', not a number.",
            "Give gigabytes, for example 50.",
        ) from error
    folder = cache_folder()
    _make(folder)
    return int(min(wanted, taken + 0.9 * shutil.disk_usage(folder).free))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"The cache folder '{folder}' cannot be made: {error.strerror}.",
            "Set LABELSIEVE_CACHE to another folder.",
        ) from error


OTHER_PLACE = (
    "Set LABELSIEVE_CACHE to a folder that can be written, on a disk with room."
)


def used() -> int:
    """Bytes that all caches take."""
    return sum(p.stat().st_size for p in cache_folder().rglob("*") if p.is_file())


def clear() -> int:
    """Delete all caches; gives the number of bytes freed."""
    freed = used()
    shutil.rmtree(cache_folder(), ignore_errors=True)
    return freed
