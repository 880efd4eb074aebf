"""The data of a finished run, opened again: pictures by sample id, and cached features."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from labelsieve.data.images import (
    content_hash,
    from_object,
    open_image,
    preview,
    read_bytes,
)
from labelsieve.data.sources import Source, open_source
from labelsieve.data.sources._downloads import unasked
from labelsieve.data.sources._history import originals, replaced
from labelsieve.data.sources._layout import has_pattern
from labelsieve.data.sources._remote import hosts_in, known_hosts
from labelsieve.data.spec import DataSpec
from labelsieve.data.text.words import Spoken
from labelsieve.errors import DataError, ImageError, LabelsieveError, RunError
from labelsieve.files import Bounds, readable
from labelsieve.progress import plain
from labelsieve.runs.items import _heat, _words
from labelsieve.runs.reading import mapped
from labelsieve.runs.reading.objects import ByKey
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, one_chunk

# images that tell whether data are those of a run: enough to tell, and quickly opened
LOOKED_AT = 20
DIGITS = 12  # hex digits of a content's hash that a sample id ends with
# a side in pixels of what is shown on a screen of the review page
LARGE = 1024
# pictures this small are icons and digits, whose single pixels count: stored without loss
LOSSLESS = 64
# what the record of a run says about its data set, besides where it is
SPEC_FIELDS = (
    "image_column",
    "text_column",
    "side_text_column",
    "label_column",
    "truth_column",
    "id_column",
    "label_separator",
    "vote_columns",
    "count_columns",
    "items",
    "urls",
    "root",
    "split",
    "template",
    "class_names",
)


WHERE_NOW = "Name the folder or table that they are in now with --data."


class Pictures(Protocol):
    """Where pictures come from, by sample id."""

    def read(self, sample_id: str) -> Any: ...


def spec_of(opened: Run, data: Any = None) -> DataSpec:
    """The data set that a run scanned, named as on the command line.

    Args:
        data: where the data are now, or themselves where they were in memory; None is where they
            were scanned. Relative paths are taken from the folder that the scan was started in,
            where they lead nowhere from here.
    """
    # a run is opened with the columns that it was scanned with, wherever its data are
    command = opened.record.get("command", {})
    # of a stranger's run that says that it is not finished
    if "data" not in command:
        raise RunError(
            f"'{readable(opened.folder)}' is damaged: it names no data.",
            "Restore it from a copy, or run the command again with --force.",
        )
    base = Path(opened.record.get("working_folder", "."))
    fields = {k: command.get(k) for k in SPEC_FIELDS if command.get(k) is not None}
    if fields.get("root"):
        fields["root"] = _from(base, fields["root"])
    named = _from(base, command["data"]) if data is None else data
    spec = DataSpec(named, **fields)
    # a run may be a stranger's: only what this user named before is read from elsewhere
    unknown = hosts_in(replace(spec, data=command["data"])) - known_hosts()
    if unknown and data is None:
        raise RunError(
            f"The run names pictures on '{plain(min(unknown))}', which you have not read "
            "from yet.",
            "Name their URL with --data if you trust it.",
        )
    return spec


def require_there(spec: DataSpec) -> None:
    """Raises RunError, in the same words as `Images`, where the data are gone."""
    path = spec.path()
    if path is not None and not has_pattern(path) and not path.exists():
        raise _lost(f"'{readable(path)}' does not exist.")


def _was_in_memory(opened: Run) -> bool:
    """Whether the data were objects of the process that scanned them, which no path leads to."""
    named = opened.record.get("command", {}).get("data", "")
    uris = opened.manifest["uri"]
    # rows of objects are known by their numbers; no file or table is called so
    first = uris[0].as_py() if len(uris) else None
    # a damaged run may hold none
    return bool(first and first.isdecimal()) and not Path(named).exists()


def _in_memory(opened: Run) -> RunError:
    what = opened.record["command"]["data"]
    return RunError(
        f"The run was made of data in memory ({plain(what)}), which no path leads to.",
        "In Python pass them again: labelsieve.Run("
        f"{readable(opened.folder)!r}).review(data=...); report and export take data=..., too.",
    )


def _lost(why: str) -> RunError:
    return RunError(f"The images of the run cannot be opened again. {why}", WHERE_NOW)


def _from(base: Path, named: str) -> str:
    if not Path(named).exists() and (base / named).exists():
        return str(base / named)
    return named


class Images:
    """The pictures of a run by sample id, for people to look at. Safe to use from several threads.

    Raises:
        RunError: the data are gone, or were Python objects.
    """

    def __init__(
        self, spec: DataSpec, manifest: pa.Table, at: RowsOf | None = None
    ) -> None:
        self.heat: _heat.Maps | None = None
        self.words: Mapping[str, Spoken] = {}
        self._spec = spec
        self._kept: dict[Any, Source] = {}
        try:
            self._source = open_source(spec)
        except LabelsieveError as error:
            raise _lost(error.what) from error
        # where its pictures lie; without it, a source reads nothing from elsewhere
        self.bounds: Bounds | None = getattr(self._source, "bounds", None)
        # columns, as half a million rows would take 100 MB as a dictionary
        self._at = at or RowsOf(manifest["sample_id"])
        # of objects that are passed again, whatever their order is now
        self._by_key: ByKey | None = None
        self._sorting = threading.Lock()
        self._uris = manifest["uri"]
        self._contents = manifest["content_hash"]
        self._lock = threading.Lock()

    def match_by_key(self) -> None:
        """Take items by the user's keys, for objects that another process scanned."""
        self._by_key = ByKey(self._source)

    @property
    def modality(self) -> str:
        """The kind of items: a file of `labelsieve.data.modalities`."""
        return getattr(self._source, "modality", "images")

    @property
    def class_ids(self) -> Mapping[str, int]:
        """Numbers that the data give to classes, by label; empty where they give none."""
        return getattr(self._source, "class_ids", {})

    def __contains__(self, sample_id: str) -> bool:
        return self._row(sample_id) >= 0

    def _row(self, sample_id: str) -> int:
        # several threads ask for the first pictures at once: one of them sorts
        with self._sorting:
            return self._at.get(sample_id, -1)

    def content(self, sample_id: str) -> str:
        """Hash of what was scanned; empty where nothing could be read."""
        row = self._row(sample_id)
        return str(self._contents[row].as_py() or "") if row >= 0 else ""

    def read(self, sample_id: str) -> Any:
        """Bytes, path or picture as the source has it.

        Of a table that was corrected in place, as it was scanned.

        Raises:
            ImageError: the id is not in the run, or another image stands there now.
        """
        row = self._row(sample_id)
        if row < 0:
            raise ImageError("not an image of this run")
        # a shorter one, in a stranger's run, would fit any file, which is then shown or exported
        if len(sample_id.rpartition("#")[2]) != DIGITS:
            raise ImageError("its id names no content")
        uri = self._uris[row].as_py()
        # sources read one file at a time; the review page asks from many threads
        with self._lock:
            # what was fetched for the scan shows what was judged, and no network is needed
            with unasked() as taken:
                try:
                    return self._scanned(sample_id, uri)
                except ImageError:
                    # it was asked for already
                    if not taken:
                        raise
            return self._scanned(sample_id, uri)

    def crop(self, sample_id: str) -> Any:
        """What a box was cut from, and where (`Crop`); None of what is a whole picture."""
        row, crop = self._row(sample_id), getattr(self._source, "crop", None)
        return crop(self._uris[row].as_py()) if crop and row >= 0 else None

    def _scanned(self, sample_id: str, uri: str) -> Any:
        """What a source gives that is the picture of this id; raises ImageError."""
        if self._by_key is not None:
            return self._by_key.read(sample_id)
        for source in self._versions():
            try:
                item = source.read(uri)
            except (DataError, IndexError):  # fewer rows than there were
                continue
            # of a path the bytes are compared when they are read
            if not isinstance(item, bytes) or _is_scanned(sample_id, item):
                return item
        raise ImageError("not the image that was scanned")

    def _versions(self) -> Iterator[Source]:
        """The source, then what is kept of it from before it was corrected in place.

        That is kept of tables, shards and saved data sets; the latest comes first.
        """
        yield self._source
        yield from self._before_patches()
        path = getattr(self._source, "path", None) or getattr(
            self._source, "folder", None
        )
        # pictures that a table names lie where they lay: only the table was kept
        root = getattr(self._source, "root", None)
        for kept in originals(path) if path else ():
            if kept not in self._kept:
                spec = replace(
                    self._spec, data=str(kept), root=str(root) if root else None
                )
                self._kept[kept] = open_source(spec)
            yield self._kept[kept]

    def _before_patches(self) -> Iterator[Source]:
        """Of data in several files: with those that patches wrote anew as they were before."""
        several = hasattr(self._source, "instead") and hasattr(self._source, "top")
        for before in replaced(vars(self._source)["top"]) if several else ():
            key = frozenset(before.items())
            if key not in self._kept:
                source: Any = open_source(self._spec)
                source.instead.update(before)
                self._kept[key] = source
            yield self._kept[key]


def _is_scanned(sample_id: str, data: bytes) -> bool:
    """Whether these are the bytes that were scanned, or another picture of the same name."""
    # an id ends with the start of the hash of the picture's bytes
    _, mark, digest = sample_id.rpartition("#")
    return not mark or content_hash(data).startswith(digest)


def _scanned_bytes(item: bytes | str | Path, sample_id: str) -> bytes:
    """Bytes of what `Images.read` gave. Raises ImageError: not those that were scanned."""
    data = read_bytes(item)
    if not _is_scanned(sample_id, data):
        raise ImageError("not the image that was scanned")
    return data


def open_pictures(opened: Run, data: Any = None) -> Images:
    """The pictures of a run.

    Args:
        data: where the data are now, if not where they were scanned; of a run of data in memory
            the data, as they were given to the scan.

    Raises:
        RunError: they cannot be opened again, or `data` are other data.
    """
    images = opened.in_memory
    if data is not None or images is None:
        if data is None and _was_in_memory(opened):
            raise _in_memory(opened)
        at = mapped.rows_of(opened, "all", one_chunk(opened.manifest["sample_id"]))
        spec = spec_of(opened, data)
        images = Images(spec, opened.manifest, at)
        if spec.path() is None:
            images.match_by_key()
    if data is not None:
        _check_scanned(images, opened, data)
    images.heat = _heat.of_run(opened)
    images.words = _words.of_run(opened)
    opened_again: Images = images
    return opened_again


def _check_scanned(images: Images, opened: Run, data: Any) -> None:
    """Raises RunError where most images that were scanned are not in the named data."""
    ids = opened.manifest["sample_id"]
    # spread over the manifest, which is in the order of contents: any class may be missing
    looked_at = ids.take(
        np.linspace(0, len(ids) - 1, min(len(ids), LOOKED_AT)).astype(int)
    )
    missing = 0
    for sample_id in looked_at.to_pylist():
        missing += not _is_there(images, sample_id)
    if 2 * missing > len(looked_at):
        # of objects the text may be as long as the data
        named = f"'{data}'" if isinstance(data, str | Path) else "What was passed"
        raise RunError(
            f"{named} does not hold the images of '{opened.folder}': of "
            f"{len(looked_at)} looked for, {missing} are not there.",
            WHERE_NOW,
        )


def _is_there(images: Images, sample_id: str) -> bool:
    try:
        item = images.read(sample_id)
    except ImageError:
        return False
    return not isinstance(item, str | Path) or Path(item).is_file()


def webp(
    pictures: Pictures, sample_id: str, side: int, quality: int = 80
) -> bytes | None:
    """A picture at most `side` pixels wide and high as WebP; None when it cannot be read."""
    try:
        item = pictures.read(sample_id)
        if isinstance(item, bytes | str | Path):
            image = preview(_scanned_bytes(item, sample_id), side)
        else:
            image = from_object(item)
            image.thumbnail((side, side))
    except LabelsieveError:
        return None
    buffer = io.BytesIO()
    # a photo that was made as small as that has no such pixels
    lossless = max(image.size) <= min(LOSSLESS, side - 1)
    image.save(buffer, "WEBP", quality=quality, lossless=lossless)
    return buffer.getvalue()


def original(pictures: Pictures, sample_id: str) -> tuple[bytes, str]:
    """The encoded image as it is in the data, and its suffix.

    Pictures that were never encoded become PNG.

    Raises:
        ImageError: it cannot be read.
    """
    item = pictures.read(sample_id)
    if isinstance(item, str | Path):
        data = _scanned_bytes(item, sample_id)
        return data, Path(item).suffix.lower() or ".png"
    if isinstance(item, bytes):
        return read_bytes(item), "." + _format(item)
    buffer = io.BytesIO()
    from_object(item).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _format(data: bytes) -> str:
    try:
        with open_image(data) as image:
            name = (image.format or "png").lower()
            return "jpg" if name == "jpeg" else name
    # decoders raise many kinds of errors on broken files
    except Exception as error:
        raise ImageError(f"broken image: {error}") from error
