"""Data in several files, of which only those are written anew that a correction is about.

The originals are kept; every patch is made from them.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections._copies import (
    check_copy,
    copy_file,
    read_mark,
    write_mark,
)
from labelsieve.corrections.history import Earlier, check_original, digest, state_of
from labelsieve.corrections.journal import Step, step
from labelsieve.corrections.patch import patch_id
from labelsieve.corrections.writers import (
    Changes,
    Plan,
    changes_of,
    match_rows,
    refuse_inside,
)
from labelsieve.data.sources import STATE, Source, open_source
from labelsieve.data.sources._layout import matching
from labelsieve.data.sources._unpacked import whole_suffix
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, RunError
from labelsieve.files import Bounds, path_to_uri, readable, remove, resolve_inside
from labelsieve.progress import counted, note
from labelsieve.runs.run import RECORD

ORIGINALS = "originals"  # folder in the history
NEW = ".new"  # folder in the history where files grow


class FilesWriter(ABC):
    """What the writers of several files share.

    Sources look up each file that they open in their `instead`, file -> what is read in its
    place, so that data are read as they were before a patch.
    """

    table: str | None = None  # it is a folder

    def __init__(self, spec: DataSpec, top: Path) -> None:
        # numbers count the rows of all splits, whichever was scanned
        self._spec = replace(spec, split=None)
        self._top = top
        self.state = state_of(top)

    # --- what a storage adds

    @abstractmethod
    def _by_file(self, source: Any, changes: Changes) -> Mapping[str, Changes]:
        """Changes of each file, by its uri below the top and what finds them in it."""

    @abstractmethod
    def _write(self, source: Any, file: Path, changes: Changes, target: Path) -> None:
        """One file with other labels; raises DataError where a label does not fit."""

    def _named(self, source: Any, path: Path) -> list[Path]:
        """The files that a list or a pattern stands for."""
        return [path] if path.is_file() else [Path(name) for name in matching(path)]

    def _images(self, source: Any) -> Iterator[Any]:
        """All pictures that the data name; those of the rows, where a storage has no others."""
        return (row.image for row in source.rows())

    # --- in place and back

    def present(self, earlier: Earlier) -> Earlier | None:
        """As `Writer.present`."""
        files = self._facts(earlier)
        # all of them as the patch made them, or all as before: anything else is an edit
        now = {uri: digest(self._file(uri)) for uri in files}
        if all(now[uri] == fact["result"] for uri, fact in files.items()):
            return earlier
        if all(now[uri] == fact["was"] for uri, fact in files.items()):
            return None
        changed = [u for u, fact in files.items() if now[u] != fact["result"]]
        raise DataError(
            f"'{readable(self._file(changed[0]))}' was changed after the patch.",
            f"The files as they were are in '{readable(self.state / ORIGINALS)}'.",
        )

    def check(self, patch: pa.Table, earlier: Earlier | None) -> Mapping[str, str]:
        """As `Writer.check`."""
        source = self._as_scanned(earlier)
        matches = match_rows(source, patch.to_pylist())
        # what cannot be done is told when it is listed
        files = self._by_file(source, changes_of(matches))
        self._refuse_links(files)
        return {match.sample_id: match.path for match in matches}

    def _refuse_links(self, uris: Iterable[str]) -> None:
        """Raises DataError for a link: a file would take its place, and stay there."""
        for uri in uris:
            file = self._file(uri)
            if file.is_symlink():
                raise DataError(
                    f"'{readable(file)}' is a link, and would not be one afterwards.",
                    "Put the file itself there, or write a corrected copy with -o.",
                )

    def steps(self, patch: pa.Table, earlier: Earlier | None) -> Plan:
        """As `Writer.steps`; corrected files lie in the history until they are exchanged."""
        folder = self.state / NEW
        # of an interrupted call
        remove(folder)
        folder.mkdir()
        names, written = self._rewrite(patch, folder, earlier)
        self._refuse_links(written)
        before = self._facts(earlier) if earlier else {}
        steps: list[Step] = []
        facts: dict[str, dict[str, Any]] = {}
        for uri, new in written.items():
            # what an earlier patch kept is still the original
            own = before.get(uri) or self._keep(patch, uri, len(facts))
            if uri not in before:
                steps.append(step("link", self._file(uri), self._kept(own)))
            steps.append(step("replace", new, self._file(uri)))
            facts[uri] = {**own, "result": digest(new)}
        # files that the earlier patch changed and this one does not
        for uri in before.keys() - written.keys():
            steps.append(step("replace", self._kept(before[uri]), self._file(uri)))
        steps.append(step("remove-empty", folder, self._top))
        return Plan(steps, patch, {"files": facts}, names)

    def undo(self, earlier: Earlier) -> list[Step]:
        """As `Writer.undo`."""
        steps = []
        for uri, fact in self._facts(earlier).items():
            kept = self._original(fact)
            if digest(self._file(uri)) != fact["result"]:
                raise DataError(
                    f"'{readable(self._file(uri))}' was changed after the patch.",
                    f"The file as it was is '{readable(kept)}'.",
                )
            steps.append(step("replace", kept, self._file(uri)))
        return steps

    # --- copies

    def check_output(self, output: Path) -> None:
        """As `Writer.check_output`."""
        refuse_inside(output, self._top)

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """As `Writer.copy`: the folder, or what was named, with other files where labels change."""
        remove(output)
        output.mkdir(parents=True)
        new = output / STATE
        new.mkdir()
        _, written = self._rewrite(patch, new, earlier)
        instead = self._instead(earlier)
        own = []
        for file in self._copied():
            relative = file.relative_to(self._top)
            target = output / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            made = written.get(path_to_uri(relative.as_posix()))
            # grown beside it, on the same file system
            if made is not None:
                made.rename(target)
                own.append(target)
            else:
                _put(instead.get(file, file), target, links)
        write_mark(output, patch, own)

    def _copied(self) -> Iterator[Path]:
        """Files that a copy holds, too."""
        bounds = Bounds(self._top, *([self._spec.root] if self._spec.root else []))
        left_out = 0
        for file in self._own_files():
            # a copy would hold what a link of a stranger leads to
            if bounds.hold(file):
                yield file
            else:
                left_out += 1
        if left_out:
            lead = counted(left_out, "link", "leads", "lead")
            note(f"{lead} out of the data, and stayed out of the copy.")

    def _own_files(self) -> Iterator[Path]:
        """All below a folder; of a list, a pattern or a file what it names, and its pictures."""
        path = self._spec.path()
        if path is None or path.is_dir():
            yield from _files(self._top)
            return
        source = open_source(self._spec)
        seen: set[Path] = set()
        pictures = map(_file_of, self._images(source))
        for file in itertools.chain(self._named(source, path), pictures):
            below = None if file is None else Path(os.path.relpath(file, self._top))
            # what lies elsewhere is named by its own path in a copy, too
            if below is None or ".." in below.parts or below in seen:
                continue
            seen.add(below)
            if (self._top / below).is_file():
                yield self._top / below

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """As `Writer.is_copy`; what was not written anew is compared with the data."""
        made = read_mark(output, patch)
        if made is None:
            return False
        instead = self._instead(earlier)
        listed = [
            (
                instead.get(file, file),
                path_to_uri(file.relative_to(self._top).as_posix()),
            )
            for file in self._copied()
        ]
        check_copy(output, made, [pair for pair in listed if pair[1] not in made])
        return True

    # --- the data as they were

    def _rewrite(
        self, patch: pa.Table, folder: Path, earlier: Earlier | None
    ) -> tuple[dict[str, str], dict[str, Path]]:
        """Write files anew; gives what the data call the images, and the files by uri."""
        source = self._as_scanned(earlier)
        matches = match_rows(source, patch.to_pylist())
        changes = changes_of(matches)
        instead = self._instead(earlier)
        written = {}
        for number, (uri, own) in enumerate(self._by_file(source, changes).items()):
            file = self._file(uri)
            new = folder / f"{number}{whole_suffix(file)}"
            self._write(source, instead.get(file, file), own, new)
            written[uri] = new
        return {match.sample_id: match.path for match in matches}, written

    def _as_scanned(self, earlier: Earlier | None) -> Source:
        source: Any = open_source(self._spec)
        # the original in the place of each file that was changed
        if earlier is not None:
            for fact in self._facts(earlier).values():
                self._original(fact)
            source.instead.update(self._instead(earlier))
        opened: Source = source
        return opened

    def _instead(self, earlier: Earlier | None) -> dict[Path, Path]:
        if earlier is None:
            return {}
        facts = self._facts(earlier)
        return {self._file(uri): self._kept(fact) for uri, fact in facts.items()}

    def _file(self, uri: str) -> Path:
        """A file of the data; its name may come from a stranger's history."""
        return resolve_inside(self._top, uri)

    def _keep(self, patch: pa.Table, uri: str, number: int) -> dict[str, Any]:
        """Where an original will be kept, and what it is."""
        suffix = whole_suffix(self._file(uri))
        stem = f"{patch_id(patch)}-file-{number}"
        name = f"{stem}{suffix}"
        # of a patch whose data were restored by hand
        while os.path.lexists(self.state / ORIGINALS / name):
            stem += "-again"
            name = f"{stem}{suffix}"
        return {"kept": name, "was": digest(self._file(uri))}

    def _kept(self, fact: Mapping[str, Any]) -> Path:
        return resolve_inside(self.state, f"{ORIGINALS}/{fact['kept']}")

    def _original(self, fact: Mapping[str, Any]) -> Path:
        """What was kept of a file, once it is known to be there, and as it was kept."""
        kept = self._kept(fact)
        if not kept.is_file():
            raise RunError(f"'{readable(kept)}' is gone.", "It was the original.")
        check_original(kept, fact["was"])
        return kept

    def _facts(self, earlier: Earlier) -> dict[str, dict[str, Any]]:
        """Uri -> what was kept of a file; raises DataError where the record is damaged."""
        files = earlier.facts.get("files")
        keys = {"kept", "was", "result"}
        if isinstance(files, dict) and all(
            isinstance(fact, dict) and keys <= fact.keys() for fact in files.values()
        ):
            names = [str(fact["kept"]) for fact in files.values()]
            if all("/" not in name and name for name in names):
                return files
        raise DataError(f"The history in '{readable(self.state)}' is damaged.")


def grouped() -> dict[str, Changes]:
    """A table to be filled: uri of a file -> its changes."""
    return defaultdict(dict)


def _files(top: Path) -> Iterator[Path]:
    """Files below a folder; hidden folders, as of histories, and runs are left out.

    Runs often lie beside what was scanned. They are no data, and a copy by hard links would share
    their decisions with them.
    """
    for where, folders, files in os.walk(top):
        if {RECORD, "scores.parquet"} <= set(files):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            yield Path(where, name)


def _file_of(image: Any) -> Path | None:
    """The file that a picture, or the picture of a box, is."""
    image = getattr(image, "member", image)
    return image if isinstance(image, Path) else None


def _put(old: Path, new: Path, links: bool) -> None:
    if links and not old.is_symlink():
        # another file system, or one without links
        with contextlib.suppress(OSError):
            os.link(old, new)
            return
    copy_file(old, new)
