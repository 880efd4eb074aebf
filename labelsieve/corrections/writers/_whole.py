"""Data that are written anew as a whole beside themselves, and then take their own place.

Tables and saved data sets have this in common. The original is kept; every patch is made from it.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections._copies import copy_file
from labelsieve.corrections.history import Earlier, check_original, digest, state_of
from labelsieve.corrections.journal import Step
from labelsieve.corrections.patch import patch_id, read_patch
from labelsieve.corrections.writers import Changes, Match, Plan, changes_of, match_rows
from labelsieve.data.sources import STATE, Source, open_source
from labelsieve.data.sources._history import records
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, RunError
from labelsieve.files import (
    fingerprint,
    path_to_uri,
    readable,
    remove,
    resolve_inside,
)
from labelsieve.tables import CORRECTIONS

ORIGINALS = "originals"  # folder in the history: data as they were


class WholeWriter(ABC):
    """What tables and saved data sets share.

    Args:
        spec: without a split: rows are counted over all of them.
        path: the table, or the folder of the saved data set.
        table: name of the table, None for a folder. Tables share the history of their folder.
    """

    def __init__(self, spec: DataSpec, path: Path, table: str | None) -> None:
        # row numbers count the rows of all splits, whichever was scanned
        self._spec = replace(spec, split=None)
        self._path = path
        self.table = table
        self.state = state_of(path)

    # --- what a storage adds

    @property
    @abstractmethod
    def _root(self) -> str | None:
        """What image paths in the data are relative to, also when these lie elsewhere."""

    @abstractmethod
    def _write(self, source: Source, changes: Changes, target: Path) -> None:
        """The data with other labels; raises DataError where a label does not fit."""

    @abstractmethod
    def _exchange(self, new: Path, kept: Path, earlier: Earlier | None) -> list[Step]:
        """`new` takes the place of the data, which go to `kept` if no earlier patch holds."""

    @abstractmethod
    def _restore(self, kept: Path, earlier: Earlier) -> list[Step]:
        """The original takes its place again."""

    # --- in place and back

    def present(self, earlier: Earlier) -> Earlier | None:
        """As `Writer.present`."""
        if digest(self._path) in self._results(earlier):
            return earlier
        patch = pa.Table.from_pylist(earlier.rows, schema=CORRECTIONS)
        try:
            # labels as they were before it: its original, or another version of that
            self.check(patch, None)
        except DataError:
            # says what was changed, and where the original is
            self._kept(earlier)
            raise
        return None

    def _results(self, earlier: Earlier) -> set[str | None]:
        """Digests of the data after a patch, and after those of other scans on top of it."""
        results = {earlier.facts.get("result")}
        known = records(self.state)
        for later in known[known.index(earlier.path) + 1 :]:
            facts = read_patch(later)[1]
            if facts.get("table") == self.table:
                results.add(facts.get("result"))
        return results

    def check(self, patch: pa.Table, earlier: Earlier | None) -> Mapping[str, str]:
        """As `Writer.check`."""
        return _names(match_rows(self._as_scanned(earlier), patch.to_pylist()))

    def steps(self, patch: pa.Table, earlier: Earlier | None) -> Plan:
        """As `Writer.steps`; the corrected data lie in the history until they are exchanged."""
        new = self.state / (f".{self.table}.new" if self.table else ".new")
        # a file that an interrupted call, or a stranger, left under this name
        remove(new)
        names = self._rewrite(patch, new, earlier)
        kept = self._free_original(patch_id(patch))
        # the first patch kept it, and the next ones start from it
        before = (
            earlier.facts
            if earlier
            else {"original": kept.name, "was": digest(self._path)}
        )
        facts = {"original": str(before["original"]), "was": before.get("was")}
        facts |= {"table": self.table, "result": digest(new)}
        return Plan(self._exchange(new, kept, earlier), patch, facts, names)

    def undo(self, earlier: Earlier) -> list[Step]:
        """As `Writer.undo`."""
        return self._restore(self._kept(earlier), earlier)

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """As `Writer.copy`; there are no files to link."""
        remove(output)
        self._rewrite(patch, output, earlier)

    def _rewrite(
        self, patch: pa.Table, target: Path, earlier: Earlier | None
    ) -> dict[str, str]:
        """Write the data anew; gives what they call the images of the patch."""
        source = self._as_scanned(earlier)
        matches = match_rows(source, patch.to_pylist())
        changes = changes_of(matches)
        if changes:
            self._write(source, changes, target)
        else:
            # another library, or another version of one, would write other bytes
            self._copy_as_it_is(self._original(earlier), target)
        return _names(matches)

    def _copy_as_it_is(self, path: Path, target: Path) -> None:
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns(STATE))
        else:
            copy_file(path, target)

    # --- the data as they were

    def _as_scanned(self, earlier: Earlier | None) -> Source:
        """The data as they were before an earlier patch.

        Raises:
            RunError, DataError: they were edited since, or the original is gone or damaged.
        """
        path = str(self._original(earlier))
        return open_source(replace(self._spec, data=path, root=self._root))

    def _original(self, earlier: Earlier | None) -> Path:
        return self._path if earlier is None else self._kept(earlier)

    def _kept(self, earlier: Earlier) -> Path:
        """The original, while the data still are what the patch made of it."""
        name = earlier.facts.get("original")
        kept = self._inside(ORIGINALS, name)
        # a file for a table, a folder for a saved data set
        same_kind = kept.exists() and kept.is_dir() == self._path.is_dir()
        if not same_kind or earlier.facts.get("table") != self.table:
            raise RunError(
                f"The data as they were are not in '{readable(kept.parent)}'.",
                "The patch was applied to other data.",
            )
        if digest(self._path) != earlier.facts.get("result"):
            raise DataError(
                f"'{readable(self._path)}' was changed after the patch.",
                f"The data as they were are in '{readable(kept)}'.",
            )
        # whatever is made from it, or takes the place of the data, would be damaged, too
        check_original(kept, earlier.facts.get("was"))
        return kept

    def _free_original(self, name: str) -> Path:
        """Where the data as they were are kept.

        Earlier versions read these names, too, to show images as they were scanned.
        """
        suffix = f"-{self.table}" if self.table else ""
        kept = self._inside(ORIGINALS, name + suffix)
        # of a patch whose data were restored by hand: they may be of another version
        while os.path.lexists(kept):
            # readers expect as many hex digits as a patch's id has
            name = fingerprint(name)[: len(name)]
            kept = self._inside(ORIGINALS, name + suffix)
        return kept

    def _inside(self, folder: str, name: Any) -> Path:
        """A file or folder in the history, whose name may come from a stranger's patch."""
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise DataError(f"The history in '{readable(self.state)}' is damaged.")
        return resolve_inside(self.state, f"{folder}/{path_to_uri(name)}")


def _names(matches: Iterable[Match]) -> dict[str, str]:
    return {match.sample_id: match.path for match in matches}
