"""Folders of tables: only the shards with corrected rows are written anew."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._files import FilesWriter, grouped
from labelsieve.corrections.writers.table import rewrite
from labelsieve.data.sources import Source
from labelsieve.data.sources.shards import ShardsSource
from labelsieve.data.spec import DataSpec


def accepts(source: Source) -> bool:
    """Are these several tables?"""
    return isinstance(source, ShardsSource)


def open_writer(spec: DataSpec, source: ShardsSource) -> Writer:
    """Open it."""
    return ShardsWriter(spec, source.top)


class ShardsWriter(FilesWriter):
    """Writes shards anew."""

    def _by_file(self, source: ShardsSource, changes: Changes) -> Mapping[str, Changes]:
        files = grouped()
        # rows were counted while the source was listed
        for number, label in changes.items():
            shard = bisect.bisect_right(source.starts, number) - 1
            own = files[source.tables[shard].part]
            own[number - source.starts[shard]] = label
        return files

    def _write(
        self, source: ShardsSource, file: Path, changes: Changes, target: Path
    ) -> None:
        (table,) = [t for t in source.tables if t.path == file]
        rewrite(replace(table, path=file), changes, target)
