"""The pictures of a run for a writer that may not need them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from labelsieve.runs import pictures as of_run
from labelsieve.runs.pictures import Images
from labelsieve.runs.run import Run


class LatePictures:
    """The pictures of a run, opened when the first is read: tables are written without them.

    Raises:
        RunError: the data are gone.
    """

    def __init__(self, opened: Run, data: str | None) -> None:
        self._opened = opened
        self._data = data

    @cached_property
    def _images(self) -> Images:
        return of_run.open_pictures(self._opened, self._data)

    def read(self, sample_id: str) -> Any:
        """As `labelsieve.runs.pictures.Images.read`."""
        return self._images.read(sample_id)

    @property
    def modality(self) -> str:
        """As `labelsieve.runs.pictures.Images.modality`."""
        return getattr(self._images, "modality", "images")

    @property
    def class_ids(self) -> Mapping[str, int]:
        """As `labelsieve.runs.pictures.Images.class_ids`."""
        # pictures that came as objects of Python have none
        return getattr(self._images, "class_ids", {})
