"""Class folders by their labels: where a file belongs whose label is corrected."""

from __future__ import annotations

from pathlib import Path

from labelsieve.corrections.writers import Correction
from labelsieve.data.sources.folder import FolderSource
from labelsieve.errors import DataError
from labelsieve.files import path_to_uri, readable, uri_to_path
from labelsieve.progress import plain


class ClassFolders:
    """The class folders of a data set, and what they are called."""

    def __init__(self, source: FolderSource) -> None:
        top = source.folders(source.root)
        nested = source.nested(top)
        names = top
        if nested is not None:
            names = [name for inner in nested.values() for name in inner]
        # train/cat/1.jpg: the class is the second part
        self._level = 0 if nested is None else 1
        # a label shows what a terminal takes; the folder's name may be of other bytes
        self._names = {readable(name): name for name in names}

    def target(self, row: Correction) -> str | None:
        """Uri of a corrected file if its name is free; None where it is left out.

        Raises:
            DataError: it lies in no class folder, or in that of another class than the patch
                says; or its new label cannot be the name of a folder.
        """
        parts = str(row["uri"]).split("/")
        # a class folder and a file in it, at least
        if len(parts) < self._level + 2:
            raise DataError(f"'{plain(row['uri'])}' lies in no class folder.")
        name = readable(uri_to_path(parts[self._level]))
        # runs of earlier versions hold control characters of folder names as they are
        if name != plain(str(row["old_label"])):
            raise DataError(
                f"'{plain(row['uri'])}' does not have the label '{row['old_label']}'."
            )
        # left out: the file goes to the history
        label = row["new_label"]
        if label is None:
            return None
        parts[self._level] = path_to_uri(self._names.get(label) or _folder_name(label))
        return "/".join(parts)


def _folder_name(label: str) -> str:
    """A label as the name of a new folder.

    Raises:
        DataError: it would lead elsewhere, or would be hidden from the next scan.
    """
    hidden = label.startswith((".", "__MACOSX"))
    # more than one part, or a drive ("C:x"), is not the name of what is left of it
    if not label or hidden or Path(label).name != label or "\0" in label:
        raise DataError(
            f"'{plain(label)}' cannot be the name of a class folder.",
            "Choose another label.",
        )
    return label
