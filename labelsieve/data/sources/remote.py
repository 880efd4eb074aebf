"""Data on a web server or an object store: a table by its URL, or class folders below s3://…

`scan s3://bucket/photos` and `scan https://host/labels.csv`. Pictures are fetched as they are
read; the extra `remote` brings what is needed. A table is kept in the cache while it is read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from labelsieve.cache import cache_folder, make_folder
from labelsieve.data.sources import refuse_options
from labelsieve.data.sources._formats import format_of
from labelsieve.data.sources._remote import RemoteStore, url_of
from labelsieve.data.sources._unpacked import whole_suffix
from labelsieve.data.sources.packed import NO_COLUMNS, PackedSource
from labelsieve.data.sources.table import TableSource
from labelsieve.data.sources.table import open_source as open_table
from labelsieve.data.spec import DataSpec
from labelsieve.files import fingerprint, replacing

LARGEST_TABLE = 2 << 30  # bytes of a table on another machine


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    return isinstance(spec.data, str) and url_of(spec.data) is not None


def open_source(spec: DataSpec) -> Any:
    """Open it; raises DataError with what to do."""
    url = str(url_of(spec.data))
    name = url.rpartition("/")[2].partition("?")[0]
    if format_of(Path(name)) is None:
        refuse_options(spec, NO_COLUMNS, "folders give its images their labels")
        source = RemoteFolder(Path(url), RemoteStore(url), spec.split, spec.labelled)
        source.called = url
        return source
    return _table(spec, url)


class RemoteFolder(PackedSource):
    """Class folders of an object store."""

    not_writable = "it is on another machine"


class RemoteTable(TableSource):
    """A table on another machine."""

    not_writable = "it is on another machine"


def _table(spec: DataSpec, url: str) -> RemoteTable:
    """The table's own copy, asked for each time that it is opened: it may have changed."""
    above, _, name = url.rpartition("/")
    store = RemoteStore(above)
    data = store.fetch_table(name, LARGEST_TABLE)
    suffix = whole_suffix(Path(name.partition("?")[0]))
    path = cache_folder() / "tables" / f"{fingerprint(url)}{suffix}"
    make_folder(path.parent)
    path.parent.chmod(0o700)  # it may be nobody else's
    with replacing(path) as scratch:
        scratch.write_bytes(data)
    # without --root, paths are from where the table is
    local = replace(spec, data=str(path), root=spec.root or above)
    return RemoteTable(
        **{k: v for k, v in vars(open_table(local)).items() if k[0] != "_"}
    )
