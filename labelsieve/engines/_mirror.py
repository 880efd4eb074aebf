"""A run folder in an object store: worked on here, and put there file by file, its record last.

Whoever sees the record sees the whole run. What was interrupted is put there, too, so that another
machine can go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelsieve import progress, registry
from labelsieve.cache import cache_folder
from labelsieve.errors import OptionError, RunError
from labelsieve.files import fingerprint, remove
from labelsieve.progress import plain
from labelsieve.runs.run import RECORD


@contextlib.contextmanager
def mirrored(url: str) -> Iterator[Path]:
    """A folder of this machine that holds what is at a URL, and is put there in the end.

    Args:
        url: such as s3://bucket/run.

    Raises:
        OptionError: there is no library for it.
        RunError: it cannot be read or written.
    """
    system, root = _system(url)
    folder = cache_folder() / "runs" / fingerprint(url)
    with _told(url):
        # what lies there outweighs: another machine may have gone on
        if system.exists(f"{root}/{RECORD}"):
            remove(folder)
            _pull(system, root, folder)
    try:
        yield folder
    finally:
        if folder.is_dir():
            with _told(url):
                _push(system, root, folder)
    progress.note(f"The run is at {url}; a copy is in '{folder}'.")


def _system(url: str) -> tuple[Any, str]:
    fsspec = registry.need("fsspec")
    try:
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(
            f"'{url}' needs a library: {error}.",
            "Install it with: pip install 'labelsieve[remote]'.",
        ) from error
    return system, root.rstrip("/")


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    # clients raise errors of many kinds
    except Exception as error:
        why = plain(str(error).partition("\n")[0])[:200]
        raise RunError(f"'{plain(url)}' cannot be used: {why}.") from error


def _pull(system: Any, root: str, folder: Path) -> None:
    for name in system.find(root):
        relative = Path(name.removeprefix(f"{root}/"))
        # names in a bucket are anybody's
        if relative.is_absolute() or ".." in relative.parts:
            raise RunError(f"'{plain(name)}' leads out of the run.")
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(name, str(path))


def _push(system: Any, root: str, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # the record last: it says that the others are there
    for path in sorted(files, key=lambda path: path == folder / RECORD):
        if ".partial" not in path.name:
            system.put_file(str(path), f"{root}/{path.relative_to(folder).as_posix()}")
    here = {path.relative_to(folder).as_posix() for path in files}
    for name in system.find(root):
        # checkpoints of work that is finished
        if name.removeprefix(f"{root}/") not in here:
            system.rm_file(name)
