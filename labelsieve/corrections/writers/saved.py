"""The same saved Hugging Face data set with other labels: all else stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve import registry
from labelsieve.corrections._copies import check_copy, read_mark, write_mark
from labelsieve.corrections.history import Earlier
from labelsieve.corrections.journal import Step, step
from labelsieve.corrections.writers import Changes, Writer, refuse_inside
from labelsieve.corrections.writers._whole import WholeWriter
from labelsieve.corrections.writers.table import relabelled
from labelsieve.data.sources import STATE, Source
from labelsieve.data.sources.hub import HubSource, from_disk
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import remove

SUPERSEDED = "superseded"  # folder in the history: data as an earlier patch made them


def accepts(source: Source) -> bool:
    """Is this a data set that lies in a `save_to_disk` folder?"""
    return isinstance(source, HubSource) and source.folder is not None


def open_writer(spec: DataSpec, source: HubSource) -> Writer:
    """Open it."""
    return SavedWriter(spec, Path(str(source.folder)), None)


class SavedWriter(WholeWriter):
    """Saves the data set anew."""

    @property
    def _root(self) -> str | None:
        return self._spec.root

    def _write(self, source: Any, changes: Changes, target: Path) -> None:
        resave(source, changes, target)

    def _exchange(self, new: Path, kept: Path, earlier: Earlier | None) -> list[Step]:
        aside = kept if earlier is None else self._aside(earlier)
        return _swaps(self._path, new, aside)

    def _restore(self, kept: Path, earlier: Earlier) -> list[Step]:
        # what the patch made of the data is kept until it is made again
        return _swaps(self._path, kept, self._aside(earlier))

    def _aside(self, earlier: Earlier) -> Path:
        """Room for the data as an earlier patch made them; they can be made again."""
        folder = self._inside(SUPERSEDED, earlier.path.stem)
        remove(folder)
        return folder

    def check_output(self, output: Path) -> None:
        """As `Writer.check_output`."""
        refuse_inside(output, self._path)

    def copy(
        self,
        patch: pa.Table,
        output: Path,
        earlier: Earlier | None,
        *,
        links: bool,
        scan: str | None,
    ) -> None:
        """As `Writer.copy`."""
        super().copy(patch, output, earlier, links=links, scan=scan)
        # libraries leave out hidden folders, and the next call knows its own copy by it
        write_mark(output, patch, [p for p in output.rglob("*") if p.is_file()])

    def is_copy(self, patch: pa.Table, output: Path, earlier: Earlier | None) -> bool:
        """As `Writer.is_copy`."""
        made = read_mark(output, patch)
        check_copy(output, made or {})
        return made is not None


def _swaps(folder: Path, new: Path, aside: Path) -> list[Step]:
    """What lies in `new` takes the place of what lies in `folder`, which goes to `aside`."""
    # one by one, as the folder itself may be a mount, or somebody's working folder
    incoming = sorted(path.name for path in new.iterdir())
    present = sorted({path.name for path in folder.iterdir()} - {STATE, *incoming})
    steps = [step("swap", new / n, folder / n, aside / n) for n in incoming]
    steps += [step("move", folder / n, aside / n) for n in present]
    # removed at last, and only where nothing is left in it
    return [*steps, step("remove-empty", new, folder)]


def resave(source: HubSource, changes: Changes, target: Path) -> None:
    """Write the data set with changed labels to the folder `target`.

    Args:
        changes: by row number, counted over the splits in their order.

    Raises:
        DataError: a label that the label feature cannot hold.
    """
    datasets = registry.need("datasets")
    if source.label_column is None:
        raise DataError(
            f"'{source.folder}' has no label column.", "Name it with --label-column."
        )
    # with all columns and decoding as saved; `source` knows only those that are scanned
    saved = from_disk(str(source.folder))
    parts = dict(saved) if isinstance(saved, dict) else {None: saved}
    changed = {}
    start = 0
    for split, part in parts.items():
        end = start + len(part)
        # row numbers count over all splits, those of a part begin at 0
        mine = {r - start: label for r, label in changes.items() if start <= r < end}
        start = end
        changed[split] = _relabel(part, source.label_column, mine) if mine else part
    whole = changed[None] if None in changed else datasets.DatasetDict(changed)
    whole.save_to_disk(str(target))


def _relabel(part: Any, column: str, changes: Changes) -> Any:
    """One split with other labels; rows with the label None are left out."""
    datasets = registry.need("datasets")
    names = getattr(part.features[column], "names", None)
    table: pa.Table = part.with_format("arrow")[:]
    table, kept = relabelled(table, column, changes, names)
    # features come from `info`: metadata of the table would be a second word on them
    plain = table.replace_schema_metadata(None)
    whole = datasets.Dataset(plain, info=part.info, split=part.split)
    return whole if len(kept) == len(table) else whole.select(kept)
