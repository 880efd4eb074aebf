"""The pictures of a run for a writer that may not need them, and none from outside of the data."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from labelsieve.errors import ImageError, OptionError
from labelsieve.files import Bounds, readable
from labelsieve.progress import counted
from labelsieve.runs import pictures as of_run
from labelsieve.runs.pictures import Images
from labelsieve.runs.run import Run


class LatePictures:
    """The pictures of a run, opened when the first is read: tables are written without them.

    A table may name any file of this machine. A stranger's would carry the user's own pictures
    into what is exported, and so to others.

    Args:
        root: a folder beside the data that pictures may come from.

    Raises:
        RunError: the data are gone.
    """

    def __init__(self, opened: Run, data: Any, root: str | Path | None = None) -> None:
        self._opened = opened
        self._data = data
        self._allowed = None if root is None else Bounds(root)

    @cached_property
    def _images(self) -> Images:
        return of_run.open_pictures(self._opened, self._data)

    def read(self, sample_id: str) -> Any:
        """As `labelsieve.runs.pictures.Images.read`; raises OptionError for one from elsewhere."""
        item = self._images.read(sample_id)
        if self._is_outside(item):
            raise self._refused(Path(item))
        return item

    def _is_outside(self, item: Any) -> bool:
        own = self._images.bounds
        if own is None or not isinstance(item, str | Path):
            return False
        return not own.hold(item) and not (self._allowed and self._allowed.hold(item))

    def _refused(self, first: Path) -> OptionError:
        count = 0
        for sample_id in self._opened.manifest["sample_id"].to_pylist():
            # what cannot be read is in no export
            with contextlib.suppress(ImageError):
                count += self._is_outside(self._images.read(sample_id))
        lie = counted(count, "picture", "lies", "lie")
        return OptionError(
            f"{lie} outside of the data, such as '{readable(first)}', and would be exported.",
            f"If they are meant: --root '{readable(first.parent)}' allows what lies there.",
        )

    @property
    def modality(self) -> str:
        """As `labelsieve.runs.pictures.Images.modality`."""
        return getattr(self._images, "modality", "images")

    @property
    def class_ids(self) -> Mapping[str, int]:
        """As `labelsieve.runs.pictures.Images.class_ids`."""
        # pictures that came as objects of Python have none
        return getattr(self._images, "class_ids", {})
