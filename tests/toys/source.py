"""Notes: a file of lines, label, tab, text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labelsieve.data.sources import Row
from labelsieve.data.spec import DataSpec


def accepts(spec: DataSpec) -> bool:
    """Is this a file of notes?"""
    path = spec.path()
    return path is not None and path.suffix == ".notes" and path.is_file()


def open_source(spec: DataSpec) -> NotesSource:
    """Open it."""
    return NotesSource(Path(spec.data))


@dataclass
class NotesSource:
    """The lines of a file."""

    path: Path
    notes: list[str] = field(default_factory=list)
    modality: str = "words"

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the file."""
        for number, line in enumerate(self.lines()):
            label, _, text = line.partition("\t")
            name = f"line {number + 1}"
            yield Row(f"line{number}", str(number), name, label or None, image=text)

    def read(self, uri: str) -> str:
        """The text of a row again."""
        return self.lines()[int(uri)].partition("\t")[2]

    def lines(self) -> list[str]:
        """The file's lines."""
        return self.path.read_text(encoding="utf-8").splitlines()
