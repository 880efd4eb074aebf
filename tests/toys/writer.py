"""Corrections of notes: the same lines with other labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from labelsieve.corrections.history import Earlier, digest, state_of
from labelsieve.corrections.journal import Step, step
from labelsieve.corrections.writers import Plan, Writer, match_rows, refuse_inside
from labelsieve.data.sources import Source
from labelsieve.data.spec import DataSpec
from toys.source import NotesSource


def accepts(source: Source) -> bool:
    """Is this a file of notes?"""
    return isinstance(source, NotesSource)


def open_writer(spec: DataSpec, source: NotesSource) -> Writer:
    """Open it."""
    return NotesWriter(source)


class NotesWriter:
    """Writes the file anew; the original goes into the history."""

    def __init__(self, source: NotesSource) -> None:
        self._source = source
        self.state = state_of(source.path)
        self.table: str | None = source.path.name
        self._kept = self.state / f"original-{source.path.name}"

    def present(self, earlier: Earlier) -> Earlier | None:
        """The patch, while the file is what it made."""
        return earlier if digest(self._source.path) == earlier.facts["result"] else None

    def check(self, patch: pa.Table, earlier: Earlier | None) -> Mapping[str, str]:
        """What the lines are called."""
        matches = match_rows(self._source, patch.to_pylist())
        return {match.sample_id: match.path for match in matches}

    def steps(self, patch: pa.Table, earlier: Earlier | None) -> Plan:
        """The new file takes the old one's name."""
        new = self.state / "new.notes"
        new.parent.mkdir(exist_ok=True)
        self._write(patch, new)
        path = self._source.path
        steps = [step("link", path, self._kept), step("replace", new, path)]
        return Plan(
            steps,
            patch,
            {"result": digest(new), "table": self.table},
            self.check(patch, earlier),
        )

    def undo(self, earlier: Earlier) -> list[Step]:
        """The original takes its name again."""
        return [step("replace", self._kept, self._source.path)]

    def check_output(self, output: Path) -> None:
        """Anywhere but in the history."""
        refuse_inside(output, self.state)

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """Write a corrected copy."""
        self._write(patch, output)

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """It is written again each time."""
        return False

    def _write(self, patch: pa.Table, target: Path) -> None:
        lines = self._source.lines()
        matches = match_rows(self._source, patch.to_pylist())
        for match in matches:
            text = lines[match.number].partition("\t")[2]
            lines[match.number] = f"{match.label or ''}\t{text}"
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
