"""A folder of class folders: a corrected image moves to the folder of its class."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections._copies import begin_copy, check_copy, put
from labelsieve.corrections.history import Earlier, Rows, by_id, record_of, state_of
from labelsieve.corrections.journal import Step, step
from labelsieve.corrections.patch import patch_id, write_patch
from labelsieve.corrections.writers import (
    Correction,
    Plan,
    Writer,
    digest_of,
    refuse_inside,
)
from labelsieve.corrections.writers._class_folders import ClassFolders
from labelsieve.data.images import content_hash
from labelsieve.data.sources import STATE, Source
from labelsieve.data.sources.folder import FolderSource
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable, resolve_inside, uri_to_path
from labelsieve.progress import plain

DROPPED = "dropped"  # folder in the history for files that were left out


def accepts(source: Source) -> bool:
    """Is this a folder of images?"""
    return isinstance(source, FolderSource)


def open_writer(spec: DataSpec, source: FolderSource) -> Writer:
    """Open it."""
    return FolderWriter(source)


@dataclass(frozen=True)
class Move:
    """One file that changes its class, as uris below the root; `new` None: it is left out."""

    sample_id: str
    old: str
    new: str | None


class FolderWriter:
    """Moves files between class folders."""

    table: str | None = None  # a folder has none

    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self._root = source.root
        self.state = state_of(source.root)

    # --- in place and back

    def present(self, earlier: Earlier) -> Earlier | None:
        """As `Writer.present`; file by file, as some may have been put back."""
        rows = [row for row in earlier.rows if not self._is_restored(row)]
        # with its facts, also where no row is left: folders that it made go with the last file
        return replace(earlier, rows=rows)

    def _is_restored(self, row: Correction) -> bool:
        """Whether the file that a patch moved is again where it was before."""
        then = self._inside(row["uri"])
        # where the new label is the old one, it never moved
        if then == self._place(row["uri"], row["new_uri"]) or not then.is_file():
            return False
        return content_hash(then.read_bytes())[:12] == digest_of(row["sample_id"])

    def check(self, patch: pa.Table, earlier: Earlier | None) -> Mapping[str, str]:
        """As `Writer.check`."""
        return self.steps(patch, earlier).names

    def steps(self, patch: pa.Table, earlier: Earlier | None) -> Plan:
        """As `Writer.steps`."""
        rows = patch.to_pylist()
        before = by_id(earlier)
        stay = _staying(rows, before)
        moving = [row for row in rows if row["sample_id"] not in stay]
        now = self._now(earlier)
        moves = self._moves(moving, now, self._inside, self._exists)
        wanted = {row["sample_id"] for row in rows}
        # first back, so that names are free again for what comes
        steps = self._back(row for i, row in before.items() if i not in wanted)
        for move in moves:
            old = now.get(move.old) or self._inside(move.old)
            target = self._place(move.old, move.new)
            if old == target:
                continue
            # restored after it was left out: the very same file lies there already
            again = move.new is None and _is_same(old, target)
            steps.append(step("replace" if again else "move", old, target))
        # folders may be left empty now; those that are not stay
        steps += self._tidy(earlier)
        facts = {"made_folders": self._new_folders(moves, earlier)}
        places = {**stay, **{m.sample_id: m.new for m in moves}}
        names = _names([*before.values(), *rows])
        return Plan(steps, _with_places(patch, places), facts, names)

    def undo(self, earlier: Earlier) -> list[Step]:
        """As `Writer.undo`."""
        return [*self._back(earlier.rows), *self._tidy(earlier)]

    def _back(self, rows: Iterable[Correction]) -> list[Step]:
        steps = []
        for row in rows:
            now = self._place(row["uri"], row["new_uri"])
            then = self._inside(row["uri"])
            # the new label was the old one
            if now == then:
                continue
            # a folder, or a link to one, is nothing that a patch ever moved
            if not now.is_file() or os.path.lexists(then):
                raise DataError(
                    f"'{readable(now)}' is not where the patch put it,"
                    " or where it was before is taken.",
                    "Nothing was changed.",
                )
            # out of everybody's sight: nobody else would see that it was damaged
            if row["new_uri"] is None:
                _check_unchanged(now, row)
            steps.append(step("move", now, then))
        return steps

    def _tidy(self, earlier: Earlier | None) -> list[Step]:
        """Folders that a patch made go where they are empty."""
        folders = _made_folders(earlier)
        return [step("remove-empty", self._inside(f), self._root) for f in folders]

    # Also those of the earlier patch: the way back ends with the data as scanned.
    def _new_folders(self, moves: list[Move], earlier: Earlier | None) -> list[str]:
        folders = {f for f in _folders(moves) if not self._inside(f).exists()}
        return sorted(folders.union(_made_folders(earlier)))

    # --- where files are

    def _inside(self, uri: str) -> Path:
        """A path below the root, for a name that a patch or a history gives."""
        path = resolve_inside(self._root, uri)
        hidden = any(part.startswith(".") for part in uri.split("/"))
        if hidden:  # the history itself, or what is never listed as an image
            raise DataError(f"'{plain(uri)}' is hidden, and not an image of the data.")
        return path

    def _place(self, old: str, new: str | None) -> Path:
        """Where a patch puts the file that was `old`."""
        if new is not None:
            return self._inside(new)
        # below the history it would be inside, too, whatever it is
        self._inside(old)
        return resolve_inside(self._root, f"{STATE}/{DROPPED}/{old}")

    def _exists(self, uri: str) -> bool:
        return os.path.lexists(self._root / uri_to_path(uri))

    def _now(self, earlier: Earlier | None) -> dict[str, Path]:
        """Where files are that an earlier patch moved, by where they were."""
        places = {}
        for row in earlier.rows if earlier else ():
            # checked here, as a copy is written to what these are called
            self._inside(row["uri"])
            places[row["uri"]] = self._place(row["uri"], row["new_uri"])
        return places

    def _moves(
        self,
        corrections: Iterable[Correction],
        now: Mapping[str, Path],
        locate: Callable[[str], Path],
        is_taken: Callable[[str], bool],
    ) -> list[Move]:
        """Where each corrected file belongs. A name that is taken there gets a number.

        Args:
            now: old uri -> where the file is, if that is known; such names stay theirs.
            locate: uri -> where any other file is; raises DataError.
            is_taken: whether a file that is not known has this uri.
        """
        classes = ClassFolders(self._source)
        taken = set(now)
        moves: dict[str, Move] = {}
        for row in corrections:
            old = str(row["uri"])
            with _naming(row):
                # the second move would find nothing, half-way through
                if old in moves:
                    raise DataError(f"'{plain(old)}' has two rows.")
                _check_unchanged(now.get(old) or locate(old), row)
                new = classes.target(row)
            if new is not None and new != old:
                new = _free(new, lambda uri: uri in taken or is_taken(uri))
                taken.add(new)
            moves[old] = Move(row["sample_id"], old, new)
        return list(moves.values())

    # --- a copy

    def check_output(self, output: Path) -> None:
        """As `Writer.check_output`."""
        refuse_inside(output, self._root)

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """As `Writer.is_copy`."""
        if not record_of(output / STATE, patch).is_file():
            return False
        _, copied = self._copied(patch.to_pylist(), earlier)
        check_copy(output, {}, copied)
        return True

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """As `Writer.copy`; goes on where an interrupted call stopped."""
        moves, copied = self._copied(patch.to_pylist(), earlier)
        mark = begin_copy(output, patch_id(patch), [uri for _, uri in copied])
        for path, uri in copied:
            put(path, output / uri_to_path(uri), links)
        places = {move.sample_id: move.new for move in moves}
        facts = {"made_folders": self._copied_folders(moves, earlier), "scan": scan}
        # so a copy can be reversed, and is known when it is finished
        record = record_of(output / STATE, patch)
        write_patch(_with_places(patch, places), record, facts)
        mark.unlink()

    def _copied(
        self, rows: Rows, earlier: Earlier | None
    ) -> tuple[list[Move], list[tuple[Path, str]]]:
        """What moves in a copy, and all that it holds: files of the data, and uris there."""
        # links in the data are followed as the scan followed them: they are only read
        present = {**self._listed(earlier), **self._now(earlier)}
        moves = self._moves(rows, present, _not_listed, lambda uri: False)
        planned = {move.old: move for move in moves}
        copied = []
        for uri, path in present.items():
            # None is left out; what is in no row stays where it was
            target = planned[uri].new if uri in planned else uri
            if target is not None:
                copied.append((path, target))
        return moves, copied

    def _listed(self, earlier: Earlier | None) -> dict[str, Path]:
        """Every image by its uri, without those that an earlier patch put elsewhere."""
        moved = {row["new_uri"] for row in earlier.rows} if earlier else set()
        images = {}
        for row in self._source.rows():
            if row.uri not in moved:
                images[row.uri] = self._root / uri_to_path(row.uri)
        return images

    def _copied_folders(self, moves: list[Move], earlier: Earlier | None) -> list[str]:
        """Class folders that the copy has and the data as scanned had not."""
        ours = _made_folders(earlier)
        sources = {move.old.rpartition("/")[0] for move in moves}
        folders = []
        for folder in sorted(_folders(moves) - sources):
            if folder in ours or not (self._root / uri_to_path(folder)).is_dir():
                folders.append(folder)
        return folders


@contextlib.contextmanager
def _naming(row: Correction) -> Iterator[None]:
    """Errors say which row of the patch they are about."""
    try:
        yield
    except DataError as error:
        name = plain(str(row["path"]))
        raise DataError(
            f"The row of '{name}' does not fit the data: {error.what}",
            error.do or "Was the patch made for other data?",
        ) from error


def _check_unchanged(path: Path, row: Correction) -> None:
    try:
        # a pipe would be read for ever
        if path.exists() and not path.is_file():
            raise DataError(f"'{readable(path)}' is not a file.")
        digest = content_hash(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"'{readable(path)}' cannot be opened: {error.strerror}.",
            "Was the folder changed since the scan?",
        ) from error
    if digest[:12] != digest_of(row["sample_id"]):
        raise DataError(
            f"'{readable(path)}' is not the file that was scanned.",
            "Scan again, or restore the file.",
        )


def _is_same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _free(uri: str, is_taken: Callable[[str], bool]) -> str:
    """`uri`, or with a number before its suffix, so that no file there is replaced."""
    stem, dot, suffix = uri.rpartition(".")
    free = uri
    # the first file has no number, so that the next is the second
    number = 2
    while is_taken(free):
        free = f"{stem}-{number}{dot}{suffix}"
        number += 1
    return free


def _staying(
    rows: Rows, before: Mapping[str, Mapping[str, Any]]
) -> dict[str, str | None]:
    """Images that an earlier patch put where this one wants them, too: id -> uri there."""
    stay = {}
    for row in rows:
        was = before.get(row["sample_id"])
        if was is not None and was["new_label"] == row["new_label"]:
            stay[row["sample_id"]] = was["new_uri"]
    return stay


def _names(rows: Iterable[Correction]) -> dict[str, str]:
    """Sample id -> name on the disk, whatever a patch calls it."""
    return {row["sample_id"]: readable(uri_to_path(row["uri"])) for row in rows}


def _made_folders(earlier: Earlier | None) -> list[str]:
    """Folders that an earlier patch made, as its facts name them."""
    folders = earlier.facts.get("made_folders", []) if earlier else []
    # of a stranger's record; what is in the list is checked where it is used
    if not isinstance(folders, list):
        raise DataError(
            f"The list of new folders in '{earlier and earlier.path}' is damaged."
        )
    return folders


def _folders(moves: Iterable[Move]) -> set[str]:
    """Folders that files move to."""
    return {move.new.rpartition("/")[0] for move in moves if move.new is not None}


def _with_places(patch: pa.Table, places: Mapping[str, str | None]) -> pa.Table:
    # the way back starts from these
    values = [places[i] for i in patch["sample_id"].to_pylist()]
    column = patch.column_names.index("new_uri")
    return patch.set_column(column, "new_uri", pa.array(values, pa.string()))


def _not_listed(uri: str) -> Path:
    raise DataError(f"'{plain(uri)}' is not an image of the data.")
