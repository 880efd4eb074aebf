"""Files as this package writes them: whole or not at all, JSON, fingerprints, paths as uris."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from labelsieve.errors import RunError

LIBRARIES = (
    "labelsieve",
    "torch",
    "transformers",
    "numpy",
    "pillow",
    "pyarrow",
    "scikit-learn",
    "peft",
)
LONGEST_NAME = 200  # bytes; file systems allow 255, and a scratch name adds some
ABANDONED = 86_400  # seconds after which a scratch file belongs to nobody any more


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A scratch file or folder beside `path` that takes its name when the block ends well.

    So a reader sees the old file or the whole new one, whenever the writer is killed. When
    the block raises, the scratch is removed and the old file stays.

    Args:
        durable: the bytes are on the disk before the name is, for what cannot be computed again.

    Yields:
        A path in the same folder with the same suffix, which does not exist yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    # the process number keeps two writers of one cached file from mixing their bytes
    scratch = path.with_name(f"{_stem(path)}.{os.getpid()}.partial{path.suffix}")
    remove(scratch)
    try:
        yield scratch
        if durable:
            sync(scratch)
        os.replace(scratch, path)
        if durable:
            sync(path.parent)
    except BaseException:
        remove(scratch)
        raise


def _stem(path: Path) -> str:
    """Start of the hidden names of scratch files of `path`, short enough for every system."""
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}"


def _sweep(path: Path) -> None:
    """Remove what writers of `path` left behind that were killed long ago."""
    pattern = glob.escape(str(path.with_name(_stem(path)))) + ".*.partial*"
    for name in glob.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(name).st_mtime > ABANDONED:
                remove(Path(name))


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable where the system can."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def path_to_uri(path: str | os.PathLike[str]) -> str:
    """A path as text that is always valid UTF-8: bytes that are not, and '%', become %XX."""
    text = os.fspath(path).replace("%", "%25")
    return (
        text
        if text.isascii()
        else "".join(
            f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text
        )
    )


def uri_to_path(uri: str) -> str:
    """The inverse of `path_to_uri`."""
    return os.fsdecode(unquote_to_bytes(os.fsencode(uri)))


def readable(path: str | os.PathLike[str]) -> str:
    """A path as a person reads it; bytes that are not UTF-8 are shown as hexadecimal escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that name a JSON-able value."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, default=str).encode()
    ).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunError when the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is missing.",
            "Run labelsieve scan again with the same options; it continues.",
        ) from error
    except ValueError as error:
        raise RunError(
            f"'{path}' is damaged: {error}.", "Delete it and run the command again."
        ) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write so that a reader sees the old file or the whole new one."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def environment() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
