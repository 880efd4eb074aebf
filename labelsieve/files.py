"""Files as this package writes them: whole or not at all, JSON, fingerprints, paths as uris."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from labelsieve.errors import RunError


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
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(
        json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n",
        encoding="utf-8",
    )
    scratch.replace(path)


def environment() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
