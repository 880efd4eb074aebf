"""A folder of class folders: a corrected image moves to the folder of its class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.data.images import content_hash
from labelsieve.data.sources.folder import FolderSource
from labelsieve.errors import DataError
from labelsieve.files import path_to_uri, readable, uri_to_path


@dataclass(frozen=True)
class Move:
    """One file that changes its class, as uris below the root; `new` None: it is left out."""

    sample_id: str
    old: str
    new: str | None


def moves(
    source: FolderSource,
    corrections: Iterable[Mapping[str, Any]],
    now: Mapping[str, Path] | None = None,
) -> list[Move]:
    """Where each corrected file belongs. A name that is taken there gets a number.

    Args:
        corrections: rows of `labelsieve.tables.CORRECTIONS`.
        now: old uri -> where the file is, if a patch moved it since the scan.

    Raises:
        DataError: a file is gone or changed since the scan, or a label cannot be the name of a folder.
    """
    top = source._folders(source.root)
    nested = source._nested(top)
    names = {
        readable(n): n
        for n in (top if nested is None else [c for cs in nested.values() for c in cs])
    }
    taken: set[str] = set(now or ())
    found = []
    for row in corrections:
        old = str(row["uri"])
        _check_unchanged((now or {}).get(old, source.root / uri_to_path(old)), row)
        if row["new_label"] is None:
            found.append(Move(row["sample_id"], old, None))
            continue
        parts = old.split("/")
        parts[0 if nested is None else 1] = path_to_uri(
            names.get(row["new_label"]) or _folder_name(row["new_label"])
        )
        new = _free("/".join(parts), source.root, taken)
        taken.add(new)
        found.append(Move(row["sample_id"], old, new))
    return found


def _check_unchanged(path: Path, row: Mapping[str, Any]) -> None:
    try:
        digest = content_hash(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"'{readable(path)}' cannot be opened: {error.strerror}.",
            "Was the folder changed since the scan?",
        ) from error
    if digest[:12] != row["sample_id"].rpartition("#")[2][:12]:
        raise DataError(
            f"'{readable(path)}' is not the file that was scanned.",
            "Scan again, or restore the file.",
        )


def _folder_name(label: str) -> str:
    """A label as the name of a new folder. Raises DataError when it would lead elsewhere or be hidden."""
    if (
        not label
        or label.startswith((".", "__MACOSX"))
        or "/" in label
        or os.sep in label
        or "\0" in label
    ):
        raise DataError(
            f"'{label}' cannot be the name of a class folder.", "Choose another label."
        )
    return label


def _free(uri: str, root: Path, taken: set[str]) -> str:
    """`uri`, or with a number before its suffix, so that no file there is replaced."""
    stem, dot, suffix = uri.rpartition(".")
    number = 2
    free = uri
    while free in taken or os.path.lexists(root / uri_to_path(free)):
        free = f"{stem}-{number}{dot}{suffix}"
        number += 1
    return free
