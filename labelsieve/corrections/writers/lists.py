"""Lists of "path label": the label in its line changes, every other byte stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._text import rewrite_text
from labelsieve.corrections.writers.table import TableWriter, cell
from labelsieve.data.sources import Source
from labelsieve.data.sources._dialect import dialect_of
from labelsieve.data.sources.lists import ListSource, is_blank, line_of
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable, sync
from labelsieve.progress import plain


def accepts(source: Source) -> bool:
    """Is this a list?"""
    return isinstance(source, ListSource)


def open_writer(spec: DataSpec, source: ListSource) -> Writer:
    """Open it."""
    return ListWriter(spec, source.path, source.path.name)


class ListWriter(TableWriter):
    """Writes the list anew."""

    _called = "list"

    def _write(self, source: Any, changes: Changes, target: Path) -> None:
        encoding = dialect_of(source.path, tabs=True).encoding
        rewrite_text(
            source.path,
            target,
            encoding,
            lambda lines: _changed(lines, source, changes),
        )
        sync(target)


def _changed(
    lines: Iterator[str], source: ListSource, changes: Changes
) -> Iterator[str]:
    number = 0
    # lines end as they do for the reader, and keep their ends
    for line in lines:
        if is_blank(line):
            yield line
            continue
        label = changes.get(number, "")
        if number not in changes:
            yield line
        elif label is not None:
            yield _relabelled(line, label, source)
        number += 1


def _relabelled(line: str, label: str, source: ListSource) -> str:
    old = line_of(line)
    if old is None:
        raise DataError(
            f"'{readable(source.path)}' was changed meanwhile.", "Scan it again."
        )
    start, end = old.span
    # where none stood, a space has to part it from the path
    gap = "" if old.label is not None or line[start - 1 : start] in " \t,;" else " "
    label = cell(source, label, old.label)
    new = f"{line[:start]}{gap}{label}{line[end:]}"
    again = line_of(new)
    if again is None or again.label != label or again.path != old.path:
        raise DataError(
            f"'{plain(label)}' cannot stand in a line of '{readable(source.path)}'.",
            "Choose another label.",
        )
    return new
