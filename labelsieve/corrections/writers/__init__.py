"""How corrections are written into data: one storage per file.

A file of this room offers two functions:

    accepts(source: Source) -> bool                      is this the storage's own kind of source?
    open_writer(spec: DataSpec, source: Source) -> Writer

A further storage is one new file, or one module given to `registry.register`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from labelsieve.corrections.history import Earlier
from labelsieve.corrections.journal import Step
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import Row, Source
from labelsieve.data.sources._annotations import Crop
from labelsieve.data.sources._remote import RemotePicture
from labelsieve.errors import DataError, ImageError, OptionError
from labelsieve.files import readable
from labelsieve.progress import plain

Changes = dict[int, str | None]  # row number -> new label, None: leave the row out
Correction = Mapping[str, Any]  # a row of `labelsieve.tables.CORRECTIONS`


@dataclass(frozen=True)
class Plan:
    """How data are changed in place.

    Attributes:
        steps: what is done, in this order.
        patch: as it is recorded, with new places of files in `new_uri`.
        facts: what the way back will need to know; JSON-able.
        names: sample id -> what the data call the image now.
    """

    steps: list[Step]
    patch: pa.Table
    facts: Mapping[str, Any]
    names: Mapping[str, str]


class Writer(Protocol):
    """One data set that corrections can be written to.

    Patches are those of one scan: where an `earlier` one holds, the data are first thought back
    to as they were scanned.

    Attributes:
        state: the folder of the history (`labelsieve.corrections.history`). What is written lies
            in the folder that holds it, and nothing else is ever touched.
        table: name of the table that is corrected; None for a folder.
    """

    state: Path
    table: str | None

    # --- in place and back

    def present(self, earlier: Earlier) -> Earlier | None:
        """What the data still have of an earlier patch; None: they are as they were before.

        Data come back from a backup while the record of a patch stays.

        Raises:
            RunError, DataError: they are neither as the patch made them nor as before.
        """
        ...

    def check(self, patch: pa.Table, earlier: Earlier | None) -> Mapping[str, str]:
        """Whether the patch fits the data; writes nothing.

        Returns:
            Sample id -> what the data call the image now.

        Raises:
            DataError: an image or a label is not what it was, or a row leads out of the data.
        """
        ...

    def steps(self, patch: pa.Table, earlier: Earlier | None) -> Plan:
        """How the data are corrected in place; writes nothing outside `state`.

        Raises:
            DataError: as `check`.
        """
        ...

    def undo(self, earlier: Earlier) -> list[Step]:
        """How the data become again what they were before `earlier`.

        Raises:
            RunError, DataError: they are no longer what it made of them.
        """
        ...

    # --- copies, which leave the data alone

    def check_output(self, output: Path) -> None:
        """Whether a copy may be written there; raises OptionError."""
        ...

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """Write a corrected copy.

        Args:
            output: where it grows; what an interrupted call left there may be gone on with.
            links: files may become hard links.
            scan: which scan the patch is of.

        Raises:
            DataError: as `check`.
        """
        ...

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """Whether `copy` wrote what lies there, by this patch, and finished.

        Raises:
            OptionError: it did, and a file of it is missing or was changed since.
        """
        ...


def refuse_inside(output: Path, folder: Path) -> None:
    """Raises OptionError where a copy would lie in the data: the next scan would read it, too."""
    if output.resolve().is_relative_to(folder.resolve()):
        raise OptionError(
            f"-o '{readable(output)}' lies inside the data, '{readable(folder)}'.",
            "Choose a folder outside of it.",
        )


@dataclass(frozen=True, slots=True)
class Match:
    """A correction and the row of the data that it is about."""

    number: int
    sample_id: str
    label: str | None  # None: the row is left out
    path: str  # what the data call the image
    old: str | None = None  # the label that the row has


def find_rows(source: Source, corrections: Iterable[Correction]) -> Changes:
    """New labels by row number, as `match_rows` finds them."""
    return changes_of(match_rows(source, corrections))


def changes_of(matches: Iterable[Match]) -> Changes:
    """New labels by row number; a row that gets the label it has is not written anew."""
    return {m.number: m.label for m in matches if m.label is None or m.label != m.old}


def match_rows(source: Source, corrections: Iterable[Correction]) -> list[Match]:
    """Rows of corrections, found by id, or by where the image is, and what it was.

    Args:
        source: with the rows of every split.

    Raises:
        DataError: a row is gone, or has another label or another image than it had.
    """
    waiting = {str(c["sample_id"]): c for c in corrections}
    matches: dict[int, Match] = {}
    # `waiting` shrinks to the corrections that no row has fitted so far
    # a row is known by its key; in another copy of the data, without ids, by where it is
    for of_row, of_correction in ((_key_of, _key), (_uri_of, _uri)):
        # reading all rows again is only worth while where some are missing
        if waiting:
            groups = _grouped(waiting.values(), of_correction)
            for match in _matches(source, groups, of_row, matches):
                matches[match.number] = match
                del waiting[match.sample_id]
    for lacking in waiting.values():
        raise DataError(
            f"The data have no '{plain(str(lacking['path']))}' with the label"
            f" '{lacking['old_label']}' and the image that was scanned.",
            "Were they changed since the scan?",
        )
    return list(matches.values())


def _matches(
    source: Source,
    groups: Mapping[str, list[Correction]],
    of_row: Callable[[Row], str],
    known: Mapping[int, Match],
) -> Iterator[Match]:
    """Rows that fit a correction of their group; each row and each correction once."""
    for number, row in enumerate(source.rows()):
        alike = groups.get(of_row(row), [])
        fitting = None if number in known else _fitting(row, alike)
        if fitting is not None:
            # the next row with the same key, as of a twin, takes the next correction
            alike.remove(fitting)
            yield _match(number, row, fitting)


def _match(number: int, row: Row, correction: Correction) -> Match:
    new = correction["new_label"]
    return Match(number, correction["sample_id"], new, row.path, row.label)


def _grouped(
    corrections: Iterable[Correction], by: Callable[[Correction], str]
) -> dict[str, list[Correction]]:
    groups: dict[str, list[Correction]] = defaultdict(list)
    for correction in corrections:
        groups[by(correction)].append(correction)
    return groups


def _fitting(row: Row, corrections: list[Correction]) -> Correction | None:
    """The first correction that is about the label and the image of a row."""
    for correction in corrections:
        same_label = correction["old_label"] == row.label
        if same_label and _same_image(row, correction):
            return correction
    return None


def _key_of(row: Row) -> str:
    return row.key


def _uri_of(row: Row) -> str:
    return row.uri


def _key(correction: Correction) -> str:
    return str(correction["sample_id"]).rpartition("#")[0]


def _uri(correction: Correction) -> str:
    return str(correction["uri"])


def _same_image(row: Row, correction: Correction) -> bool:
    """Whether an image, or a box and what is in it, is the one of a correction.

    What is on another machine, or was never encoded, is not compared.
    """
    # ids of boxes may have changed hands, and two boxes may show the very same
    if isinstance(row.image, Crop) and _uri_of(row) != _uri(correction):
        return False
    digest = digest_of(str(correction["sample_id"]))
    # what could not be read when it was scanned has none
    if not digest or not _is_here(row.image):
        return True
    try:
        return digest == content_hash(read_bytes(row.image))[: len(digest)]
    except ImageError:
        return False


def _is_here(image: Any) -> bool:
    """Whether the encoded bytes of an image are on this machine."""
    if isinstance(image, Crop):
        image = image.member
    # labels may be corrected where their pictures are elsewhere
    if isinstance(image, str | Path):
        return Path(image).exists()
    encoded = isinstance(image, bytes) or hasattr(image, "read_bytes")
    return encoded and not isinstance(image, RemotePicture)


def digest_of(sample_id: str) -> str:
    """The part of a sample id that tells the content, twelve hex digits."""
    return sample_id.rpartition("#")[2][:12]
