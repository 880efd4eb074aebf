"""Corrections put into data: into a copy, or into the data themselves with a way back.

A copy grows under another name and takes its own when it is whole. Changes in place are first
written down as steps, each of which either happened or did not; a call that finds steps left over
from one that was interrupted finishes them. What was done is kept beside the data
(`labelsieve.corrections.history`), so every patch can be reversed, byte for byte. A later patch of
the same scan takes the place of the earlier one: data are always as scanned plus one patch.
One process at a time reads, plans and writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from labelsieve import registry
from labelsieve.corrections import journal
from labelsieve.corrections.history import (
    LOCK,
    Earlier,
    Rows,
    describe,
    find_earlier,
    find_reversed,
    new_record,
    news,
    reversed_record,
    state_of,
)
from labelsieve.corrections.journal import step
from labelsieve.corrections.patch import write_patch
from labelsieve.corrections.writers import Plan, Writer
from labelsieve.data.sources import open_source
from labelsieve.data.sources._layout import fixed_part, has_pattern
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.files import locked, readable, remove


@dataclass(frozen=True)
class Result:
    """What was done: numbers, where the corrected data are, and a line per change."""

    relabelled: int
    dropped: int
    where: Path
    lines: list[str] = field(default_factory=list)
    already: bool = False  # it had been done before


def copy(
    spec: DataSpec,
    patch: pa.Table,
    output: Path,
    *,
    links: bool = True,
    scan: str | None = None,
    trusted: bool = False,
) -> Result:
    """Write a corrected copy: class folders, or a table or saved data set of the same format.

    Args:
        links: images become hard links where the file system allows it; they then share their
            bytes with the original.
        scan: which scan the patch is of (`labelsieve.corrections.patch.scan_of`).
        trusted: as in `labelsieve.corrections.journal.pending`.

    Raises:
        OptionError: something else lies there, or the table would change its format.
        DataError: the data are not what was scanned.
    """
    # two calls with one output would grow it under the same name
    with alone(spec), locked(output, f"'{readable(output)}'"):
        journal.finish(_state(spec), trusted=trusted)
        writer = _open(spec)
        # before anything is read from there: it may be the data themselves
        writer.check_output(output)
        earlier = _present(
            writer, find_earlier(writer.state, scan, patch, writer.table)
        )
        rows = patch.to_pylist()
        if _is_taken(output):
            if writer.is_copy(patch, output, earlier):
                return _result(rows, output, already=True)
            raise OptionError(
                f"'{output}' exists already.", "Choose another name with -o."
            )
        with _growing(output) as scratch:
            writer.copy(patch, scratch, earlier, links=links, scan=scan)
        return _result(rows, output)


def _is_taken(output: Path) -> bool:
    return output.exists() and (not output.is_dir() or any(output.iterdir()))


@contextlib.contextmanager
def _growing(output: Path) -> Iterator[Path]:
    """Where a copy grows; it takes its name when it is whole.

    Unlike `files.replacing`, always the same path, as an interrupted copy is gone on with.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.name}.labelsieve-partial{output.suffix}")
    yield scratch
    # an empty folder stands in the way of a folder on Windows, and of a file everywhere
    if output.exists():
        output.rmdir()
    scratch.rename(output)


def unfinished(spec: DataSpec, *, trusted: bool = False) -> list[str]:
    """A line per step that an interrupted call wrote down; writes nothing.

    Raises:
        RunError, DataError: as `labelsieve.corrections.journal.pending`.
    """
    with alone(spec):
        steps = journal.pending(_state(spec), trusted=trusted) or []
    return [journal.in_words(todo) for todo in steps]


def finish(spec: DataSpec, *, trusted: bool = False) -> bool:
    """Do what an interrupted call left undone; gives whether there was anything.

    Raises:
        RunError, DataError: as `labelsieve.corrections.journal.finish`.
    """
    with alone(spec, writing=True, trusted=trusted):
        return journal.finish(_state(spec), trusted=trusted)


def check(spec: DataSpec, patch: pa.Table, scan: str | None = None) -> list[str]:
    """What `in_place` would do, a line per change; writes nothing.

    Raises:
        RunError: changes are under way that an interrupted call has to finish first.
        DataError: the patch does not fit the data.
    """
    with alone(spec):
        # in between, files lie neither here nor there, and no patch fits
        if journal.pending(_state(spec)) is not None:
            raise RunError(f"Changes of '{spec.data}' are unfinished.", "Finish them.")
        writer = _open(spec)
        own = find_earlier(writer.state, None, patch, writer.table)
        if _holds(writer, own):
            return []
        scanned = find_earlier(writer.state, scan, None, writer.table)
        earlier = _present(writer, scanned or own)
        names = writer.check(patch, earlier)
        return describe(news(patch, earlier), names)


def require_writable(spec: DataSpec) -> None:
    """Raises DataError where no change at all could be written to data of this kind."""
    with alone(spec):
        # in the middle of changes, data cannot be opened, and are of a kind that is written
        if journal.pending(_state(spec), trusted=True) is None:
            _open(spec)


def in_place(
    spec: DataSpec, patch: pa.Table, scan: str | None = None, *, trusted: bool = False
) -> Result:
    """Correct the data themselves. Interrupted, the next call finishes.

    Args:
        scan: which scan the patch is of; an earlier patch of the same scan is taken back.
        trusted: as in `labelsieve.corrections.journal.pending`.

    Raises:
        DataError: the data are not what was scanned.
    """
    _make_room(spec)
    with alone(spec, writing=True, trusted=trusted):
        finished = journal.finish(_state(spec), trusted=trusted)
        writer = _open(spec)
        state = writer.state
        own = find_earlier(state, None, patch, writer.table)
        # the very same patch holds here
        if own is not None and _holds(writer, own):
            # what was interrupted and is finished now was done by this call
            return _result(own.rows, state.parent, already=not finished)
        # another patch of the same scan is taken back by the way
        recorded = find_earlier(state, scan, None, writer.table) or own
        earlier = _present(writer, recorded)
        with _leaving_nothing(state):
            plan = writer.steps(patch, earlier)
            record = own.path if own else new_record(state, patch, writer.table)
            ends = _record(plan, record, recorded, scan)
            journal.carry_out(state, [*plan.steps, *ends])
        return _result(news(patch, earlier), state.parent, plan.names)


@contextlib.contextmanager
def _leaving_nothing(state: Path) -> Iterator[None]:
    """What was prepared for changes that are refused goes again; begun ones need it."""
    try:
        yield
    except BaseException:
        if not journal.is_begun(state):
            for path in list(state.iterdir()):
                # as the writers, and `_record`, call what is not in its place yet
                if path.name.startswith(".") and path.name.endswith(".new"):
                    remove(path)
        raise


def _present(writer: Writer, recorded: Earlier | None) -> Earlier | None:
    """What the data still have of a recorded patch; they may come from a backup."""
    return None if recorded is None else writer.present(recorded)


def _holds(writer: Writer, recorded: Earlier | None) -> bool:
    """Whether the data are what a recorded patch made of them."""
    return recorded is not None and writer.present(recorded) == recorded


def _record(
    plan: Plan, record: Path, earlier: Earlier | None, scan: str | None
) -> list[journal.Step]:
    """Write what will hold; gives the last steps, by which it does."""
    # before the changes, as these need no more than renaming to be finished
    part = record.with_name(f".{record.name}.new")
    write_patch(plan.patch, part, {**plan.facts, "scan": scan})
    ends = [step("replace", part, record)]
    # a record of this very patch, of data that were restored since, is replaced by the new one
    if earlier is not None and earlier.path != record:
        # first of both: never do two patches of one scan hold
        taken_back = reversed_record(earlier.path)
        ends.insert(0, step("replace", earlier.path, taken_back))
    return ends


def reverse(
    spec: DataSpec, patch: pa.Table, scan: str | None = None, *, trusted: bool = False
) -> Result:
    """Undo a patch that was applied to these data, or the one of the same scan.

    Interrupted, the next call finishes.

    Raises:
        RunError: it was not applied here.
        DataError: files it moved are no longer where it put them, or a table was changed since.
    """
    with alone(spec, writing=True, trusted=trusted):
        finished = journal.finish(_state(spec), trusted=trusted)
        writer = _open(spec)
        state = writer.state
        earlier = find_earlier(state, scan, patch, writer.table)
        if earlier is None:
            # a call that was killed after the last step ends like this one
            if find_reversed(state, scan, patch, writer.table) is not None:
                already = not finished
                return _result(patch.to_pylist(), state.parent, already=already)
            raise RunError(
                f"The patch was not applied to '{spec.data}'.",
                f"'{state}' holds no record of it. -o leaves the data as they were; a folder that"
                " it wrote is put back with --data FOLDER --reverse.",
            )
        end = step("replace", earlier.path, reversed_record(earlier.path))
        journal.carry_out(state, [*writer.undo(earlier), end])
        result = _result(earlier.rows, state.parent)
        # the way that the labels went: from the new ones to the old ones
        turned = describe(news(patch.slice(0, 0), earlier), {})
        return replace(result, lines=turned)


@contextlib.contextmanager
def alone(
    spec: DataSpec, *, writing: bool = False, trusted: bool = False
) -> Iterator[None]:
    """No other process reads, plans or writes changes of these data meanwhile.

    Args:
        writing: the data will be changed; other users of a shared folder are kept out, too.
        trusted: as in `labelsieve.corrections.journal.pending`.

    Raises:
        RunError: one does for more than some minutes; or, with `writing`, somebody else's
            changes are unfinished.
        DataError: the data are nowhere that could be written to.
    """
    state = _state(spec)
    what = f"'{readable(state.parent)}'"
    with contextlib.ExitStack() as held:
        held.enter_context(locked(state.parent, what))
        if writing and state.is_dir():
            beside = _lock_beside(state)
            # another user who works here has it, and unfinished changes are then theirs; where
            # nobody had one, a folder that is refused is left as it came, to the byte
            if not (beside.is_file() and not beside.stat().st_size):
                journal.pending(state, trusted=trusted)
            held.enter_context(locked(state.parent, what, beside))
        yield


def _lock_beside(state: Path) -> Path:
    """The lock of other users, in the data themselves."""
    beside = state / LOCK
    # opening a lock may empty it, and a second name of a file is that file
    is_other = os.path.lexists(beside) and beside.lstat().st_nlink > 1
    if is_other or beside.is_symlink():
        raise DataError(f"'{readable(beside)}' is a link.", "Delete it.")
    return beside


def _state(spec: DataSpec) -> Path:
    path = spec.path()
    if path is not None and has_pattern(path):
        # files of one folder, or of several below it
        path = fixed_part(path)
    if path is None or not path.exists():
        raise _not_writable(spec, "it does not exist on this machine")
    return state_of(path)


def _make_room(spec: DataSpec) -> None:
    state = _state(spec)
    try:
        state.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"'{readable(state.parent)}' cannot be written to: {error.strerror}.",
            "Write a corrected copy with -o.",
        ) from error


def _open(spec: DataSpec) -> Writer:
    """The writer of the storage that these data lie in."""
    source = open_source(spec)
    # the first storage that knows the source, as sources themselves are found
    for name in registry.names("corrections/writers"):
        storage = registry.load("corrections/writers", name)
        if storage.accepts(source):
            writer: Writer = storage.open_writer(spec, source)
            return writer
    # a source that cannot be corrected may say why
    raise _not_writable(spec, getattr(source, "not_writable", "nothing can write it"))


def _not_writable(spec: DataSpec, why: str) -> DataError:
    return DataError(
        f"'{spec.data}' cannot be written back to: {why}.",
        "Write a corrected copy with labelsieve export --to hf, imagefolder or parquet.",
    )


def _result(
    rows: Rows,
    where: Path,
    names: Mapping[str, str] | None = None,
    *,
    already: bool = False,
) -> Result:
    dropped = sum(row["new_label"] is None for row in rows)
    lines = describe(rows, names or {})
    return Result(len(rows) - dropped, dropped, where, lines, already)
