"""Items of data in memory, named again in another process than the one that scanned them.

A data frame has no place to be found at, so people pass it again. Its rows are known by the keys
that the scan gave them, and their content is compared: a frame may have been sorted since, or be
another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labelsieve.data.decoding.colours import EXTENT
from labelsieve.data.images import content_hash, from_object
from labelsieve.data.sources import Source
from labelsieve.errors import DataError, ImageError


class ByKey:
    """Items of a source by sample id, which is a key and the start of the content's hash."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._uri_of = {row.key: row.uri for row in source.rows()}

    def read(self, sample_id: str) -> Any:
        """Bytes, path or picture as the source has it.

        Raises:
            ImageError: no row has that key, or it holds another item now.
        """
        key, _, digest = sample_id.rpartition("#")
        if key not in self._uri_of:
            raise ImageError("not in these data")
        try:
            item = self._source.read(self._uri_of[key])
        except (DataError, IndexError) as error:
            raise ImageError("not in these data") from error
        # of a path the bytes are compared when they are read
        if not isinstance(item, str | Path) and not _is(item, digest):
            raise ImageError("not the item that was scanned")
        return item


def _is(item: Any, digest: str) -> bool:
    if isinstance(item, bytes):
        return content_hash(item).startswith(digest)
    picture = from_object(item)
    # how deep values become eight bits depends on all pictures of a scan: the key must do
    deep = picture.info.get(EXTENT) is not None
    return deep or content_hash(picture).startswith(digest)
