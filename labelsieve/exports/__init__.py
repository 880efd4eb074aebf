"""What other tools read: one format per file.

A file of this room offers

    TARGET: str                                        a folder ("folder") or the suffix of a
                                                       file (".csv")
    write(rows: Rows, target: Path) -> list[Path]      writes the format, gives the files a
                                                       person should know of
    HOLDS: tuple[str, ...]                             optional: ("single", "set") where the
                                                       format can hold sets of labels
    write_boxes(pictures: BoxedPictures, target: Path) -> list[Path]
                                                       optional: in the place of `write` where
                                                       boxes were judged (`_boxes`)
    ITEMS: tuple[str, ...]                             optional: ("images", "texts"), kinds of
                                                       items that it can hold; images if left out

`target` is where the export grows; it takes its name when it is whole, and what is written about
its own files names them by `Rows.final`. Labels are those that hold after people's decisions; the
given ones stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import registry
from labelsieve.audits import guarantee
from labelsieve.corrections.patch import labels_after
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.labels import SINGLE
from labelsieve.data.load import refuse_input
from labelsieve.errors import DataError, ImageError, OptionError, RunError, unknown
from labelsieve.exports._labels import check_items, check_kind
from labelsieve.exports._late import LatePictures
from labelsieve.exports._names import Names, safe_name
from labelsieve.exports._target import check_target, final, put_file, put_folder
from labelsieve.files import fingerprint, locked, readable, replacing
from labelsieve.progress import note
from labelsieve.runs import pictures as of_run
from labelsieve.runs import standing
from labelsieve.runs.decisions import SETTLED, WRONG, open_decisions
from labelsieve.runs.pictures import Pictures, original
from labelsieve.runs.run import Run, alone
from labelsieve.tables import CORRUPT

__all__ = ["Names", "Rows", "collect", "export", "safe_name"]

KEEP = ("all", "clean", "issues", "certified")
# Of the table of scores, in the order in which tables show them.
SCORE_COLUMNS = (
    "p_clean",
    "is_label_issue",
    "suggested_label",
    "suggested_prob",
    "rank",
    "status",
    "reason",
)


@dataclass(frozen=True)
class Rows:
    """What is exported.

    Attributes:
        table: sample_id, path, given_label, label (after decisions; null: none), verdict,
            split, and the scores; one row per image.
        classes: in the order that the data declare, also those without an image.
        pictures: by sample id.
        probs: sample id -> class probabilities [k].
        model_version: what found the errors, for tools that compare models.
        kind: of the labels; a set is a text of `labelsieve.data.labels.write_set`.
        grows: where the export is written, and what that will be called.
        safe_formulas: no cell of a CSV begins like a formula.
    """

    table: pa.Table
    classes: list[str]
    pictures: Pictures
    probs: Mapping[str, np.ndarray]
    model_version: str
    kind: str = SINGLE
    grows: tuple[Path, Path] | None = None
    safe_formulas: bool = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Python values, as JSON and other libraries take them
        return iter(self.table.to_pylist())

    def final(self, path: Path) -> Path:
        """What a file of the export will be called when it is whole."""
        return final(path, *(self.grows or (path, path)))

    def file(self, sample_id: str, folder: Path) -> Path | None:
        """The image as a file, by its last name: its own, or one written into `folder`.

        It is written where images are embedded in a table. None when it cannot be read, or
        could not when it was scanned.
        """
        if sample_id in self._corrupt:
            return None
        try:
            item = self.pictures.read(sample_id)
            if isinstance(item, str | Path):
                return Path(item).absolute()
            data, suffix = original(self.pictures, sample_id)
        # the data are gone, or a library is missing: no row will do better
        except (OptionError, RunError):
            raise
        except Exception:
            # whatever its source or decoder says: a row without a picture stays a row
            return None
        target = folder / (safe_name(sample_id) + suffix)
        # whole or not at all: some folders keep what a killed call wrote
        with replacing(target) as scratch:
            scratch.write_bytes(data)
        return self.final(target).absolute()

    def encoded(self) -> Iterator[tuple[dict[str, Any], tuple[bytes, str] | None]]:
        """Each row with its image as it was encoded and its suffix; None when unreadable.

        So it is also for what was no image when it was scanned.

        Raises:
            DataError: not one of the scanned images can be read.
        """
        # one broken picture is nothing; none at all means that the data are elsewhere
        read = False
        for row in self:
            picture = self._original(row["sample_id"])
            read = read or picture is not None
            yield row, picture
        if not read and len(self.table) > len(self._corrupt):
            raise DataError(
                "None of the images can be read.",
                "Name the folder or table that they are in now with --data.",
            )

    @property
    def modality(self) -> str:
        """The kind of items: a file of `labelsieve.data.modalities`."""
        return getattr(self.pictures, "modality", "images")

    @property
    def class_ids(self) -> Mapping[str, int]:
        """Numbers of classes where the data give them, as COCO and YOLO do; else empty."""
        return getattr(self.pictures, "class_ids", {})

    @cached_property
    def _corrupt(self) -> set[str]:
        """Ids of rows whose file the scan could not decode.

        Such a file may be anything: a row of a table that names a file with secrets would
        carry its bytes, or its path, into what is shared.
        """
        lost = pc.equal(self.table["status"], CORRUPT)
        return set(self.table["sample_id"].filter(lost).to_pylist())

    def _original(self, sample_id: str) -> tuple[bytes, str] | None:
        if sample_id in self._corrupt:
            return None
        try:
            # a cell of a table has no suffix, and of a text none can be seen
            item = self.pictures.read(sample_id) if self.modality == "texts" else None
            if isinstance(item, bytes):
                return item, ".txt"
            return original(self.pictures, sample_id)
        except ImageError:
            return None


def export(
    opened: str | Path | Run,
    to: str,
    target: str | Path,
    *,
    only: str = "all",
    data: Any = None,
    root: str | Path | None = None,
    safe_formulas: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write a run in the format of another tool.

    It grows under another name. A folder that this call wrote before is compared file by file
    with what was written, and gets what is missing in it.

    Args:
        to: a file of `labelsieve/exports`.
        target: file or folder to write.
        only: "all" images, "clean" ones (settled by people, or not flagged), "issues", or
            "certified": settled by people, or in the clean part that an audit promises.
        data: where the images are now, if not where they were scanned, or themselves where they
            were in memory; tables need none.
        root: a folder beside the data that a table's pictures may come from.
        safe_formulas: of CSV: see `labelsieve.exports.csv`.
        force: replace a file that is no earlier export, or in a folder that is one, the files
            that were changed; other folders never are.

    Returns:
        Files that a person should know of.

    Raises:
        OptionError: an unknown format, a suffix that does not fit, a name that is taken,
            that of the scanned table, or a table names pictures outside of its folder.
        RunError, DataError: the format holds images, and they cannot be read.
    """
    opened = opened if isinstance(opened, Run) else Run(opened)
    room = registry.load("exports", to)
    if only not in KEEP:
        raise OptionError(unknown("--only", only, KEEP))
    check_kind(room, to, opened.kind)
    target = Path(target)
    check_target(room.TARGET, target)
    if isinstance(data, Path):
        data = str(data)
    # where the scan read them, and where they are now
    for named in (None, data):
        refuse_input(target, of_run.spec_of(opened, named).path())
    with alone(opened):
        rows = collect(opened, only, data=data, root=root)
    check_items(room, to, rows.pictures)
    rows = replace(rows, safe_formulas=safe_formulas)
    # two calls at once: the second finds the work of the first
    with locked(target, f"'{readable(target)}'"):

        def write(scratch: Path) -> list[Path]:
            grown = replace(rows, grows=(scratch, target))
            boxed = _with_boxes(opened, room, grown, data, whole=only == "all")
            written: list[Path] = (
                room.write_boxes(boxed, scratch)
                if boxed
                else room.write(grown, scratch)
            )
            return written

        if room.TARGET == "folder":
            return put_folder(target, _content_of(rows, to), write, force=force)
        return put_file(target, room.TARGET, write, force=force)


def _with_boxes(
    opened: Run, room: Any, rows: Rows, data: str | None, *, whole: bool
) -> Any:
    """Pictures with their boxes, for a format that has a place for these; else None."""
    # here, as it needs the rows of this module
    from labelsieve.exports._boxes import BoxedPictures, holds_boxes

    if not holds_boxes(str(uri) for uri in opened.manifest["uri"].slice(0, 1)):
        return None
    if hasattr(room, "write_boxes"):
        return BoxedPictures(rows, of_run.spec_of(opened, data), whole=whole)
    if room.TARGET == "folder":
        note(
            "Every box is written as a picture of its own. To keep boxes: --to coco, cvat, "
            "label-studio or yolo, or labelsieve apply with -o, which keeps the format of the data."
        )
    return None


def _content_of(rows: Rows, to: str) -> str:
    """Names an export by its format and all that it is written from."""
    # column by column: half a million rows as text take a gigabyte
    columns = [fingerprint(column.to_pylist()) for column in rows.table.columns]
    return fingerprint([to, rows.model_version, rows.classes, columns])


def collect(
    opened: Run,
    only: str = "all",
    *,
    data: Any = None,
    root: str | Path | None = None,
) -> Rows:
    """Scores, decisions and pictures of a run, ready to be written; arguments as of `export`."""
    command = opened.record["command"]
    return Rows(
        _kept(opened, _table(opened), only),
        opened.all_classes,
        LatePictures(opened, data, root),
        _probs(opened),
        f"labelsieve-{command['method']}-{Path(command['model']).name}",
        opened.kind,
    )


def _table(opened: Run) -> pa.Table:
    after, verdicts = _decided(opened)
    scores = standing.scores_of(opened)
    ids = scores["sample_id"].to_pylist()
    given = scores["given_label"].to_pylist()
    labels = [after.get(i, label) for i, label in zip(ids, given, strict=True)]
    columns = {
        "sample_id": scores["sample_id"],
        "path": scores["path"],
        "given_label": scores["given_label"],
        "label": pa.array(labels, pa.string()),
        "verdict": pa.array([verdicts.get(i) for i in ids], pa.string()),
        "split": _split_of_each(opened, scores["sample_id"]),
    }
    for name in SCORE_COLUMNS:
        columns[name] = scores[name]
    return pa.table(columns)


def _split_of_each(opened: Run, sample_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The split of each image as the data have it; null where they have none."""
    manifest = opened.manifest
    at = pc.index_in(sample_ids, manifest["sample_id"])
    return manifest["split"].take(at)


def _decided(opened: Run) -> tuple[dict[str, str | None], dict[str, str]]:
    """Labels after decisions, None for no class, and verdicts; by sample id."""
    decisions = open_decisions(opened)
    # with `drop`, an image whose label is wrong loses it where no right one is known
    after = labels_after(plan(opened, decisions, Policy(drop=True)))
    verdicts = {}
    if decisions:
        for sample_id, decision in decisions.all_current().items():
            verdicts[sample_id] = decision.verdict
        decisions.close()
    return after, verdicts


def _kept(opened: Run, table: pa.Table, only: str) -> pa.Table:
    """The rows that were asked for with --only."""
    # null where nothing could be said about an image
    issue = pc.fill_null(table["is_label_issue"], False)
    if only == "issues":
        return table.filter(issue)
    if only in ("clean", "certified"):
        settled = pc.is_in(table["verdict"], pa.array(SETTLED))
        trusted = pc.invert(issue)
        if only == "certified":
            promised = guarantee.of_run(opened).clean.require_rows()
            # what somebody judged wrong since is known, whatever was promised
            doubted = pc.is_in(table["verdict"], pa.array(WRONG))
            listed = pc.is_in(table["sample_id"], pa.array(promised.ids, pa.string()))
            trusted = pc.and_(listed, pc.invert(doubted))
        clean = pc.or_(settled, trusted)
        # a picture that belongs to no class is settled, and has no label
        return table.filter(pc.and_(clean, pc.is_valid(table["label"])))
    return table


def _probs(opened: Run) -> dict[str, np.ndarray]:
    table = opened.probs()
    values = table["probs"].combine_chunks()
    scored = values.flatten().to_numpy().reshape(len(table), -1)
    # methods see the classes that occur, sorted; others want them as they were declared
    columns = [opened.all_classes.index(name) for name in opened.classes]
    probs = np.zeros((len(table), len(opened.all_classes)), dtype=scored.dtype)
    probs[:, columns] = scored
    return dict(zip(table["sample_id"].to_pylist(), probs, strict=True))
