"""Data in one file that is written anew: a table, or annotations beside pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from labelsieve.corrections.history import Earlier, digest
from labelsieve.corrections.journal import Step, step
from labelsieve.corrections.writers._whole import WholeWriter
from labelsieve.data.sources._unpacked import whole_suffix
from labelsieve.errors import OptionError
from labelsieve.files import readable


class FileWriter(WholeWriter):
    """What the writers of single files share; `_root` and `_write` are theirs."""

    def _exchange(self, new: Path, kept: Path, earlier: Earlier | None) -> list[Step]:
        # the original gets a second name, so that there is no moment without a file
        keep = [] if earlier else [step("link", self._path, kept)]
        return [*keep, step("replace", new, self._path)]

    def _restore(self, kept: Path, earlier: Earlier) -> list[Step]:
        return [step("replace", kept, self._path)]

    def check_output(self, output: Path) -> None:
        """As `Writer.check_output`; another format is what `export` is for."""
        suffix = whole_suffix(self._path)
        if not output.name.lower().endswith(suffix.lower()):
            raise OptionError(
                f"-o '{readable(output)}' must end in {suffix}, like the {self._called}.",
                "Or use labelsieve export.",
            )

    _called = "file"  # what messages call the data

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """As `Writer.is_copy`; a file has no room for a mark, so it is written again."""
        if not output.is_file() or output.samefile(self._path):
            return False
        with tempfile.TemporaryDirectory(prefix="labelsieve-") as folder:
            again = Path(folder) / output.name
            self._rewrite(patch, again, earlier)
            return digest(again) == digest(output)
