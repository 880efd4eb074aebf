"""`labelsieve apply` and `labelsieve.apply`: from a run or a patch to corrected data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from labelsieve.corrections import write_back
from labelsieve.corrections.patch import patch_id, read_patch, scan_of, write_patch
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError, RunError
from labelsieve.files import fingerprint, read_json, state_folder, write_json
from labelsieve.progress import counted, note
from labelsieve.runs.decisions import open_decisions
from labelsieve.runs.pictures import require_there, spec_of
from labelsieve.runs.run import Run, alone

PATCH = "corrections.parquet"
LISTED = "dry-run.json"  # what was listed last; only that can be confirmed
LIST_FIRST = "Run the command without --yes first."
SHOWN = 50  # changes that a terminal shows
NO_PROMISE = (
    "--policy auto promises nothing: how many of these suggestions are right, nobody has checked "
    "at random. labelsieve audit begins such a check; --policy certified then takes what it "
    "promises."
)


@dataclass(frozen=True)
class Work:
    """What to change where.

    Attributes:
        patch: the corrections.
        spec: the data that they are for.
        run: folder of the run that they come from; None for the patch of somebody else.
        scan: which scan the patch is of, where that is known.
        file: where the patch lies afterwards, for others and for the way back.
        noun: what people call an item of these data.
    """

    patch: pa.Table
    spec: DataSpec
    run: Path | None
    scan: str | None
    file: Path
    noun: str = "image"

    def identity(self) -> dict[str, str]:
        """What a listing is of."""
        return {"patch": patch_id(self.patch), "data": str(self.spec.data)}

    def listing(self) -> Path:
        """Where it is noted what was listed.

        In the user's own run; a patch of somebody else lies in no folder of ours.
        """
        if self.run is not None:
            return self.run / LISTED
        # relative names mean other data from another folder
        where = os.path.abspath(str(self.spec.data))
        name = fingerprint({**self.identity(), "data": where})
        return state_folder() / "listed" / f"{name}.json"


def prepare(
    run: Path | Run | None,
    policy: Policy,
    *,
    patch: Path | None = None,
    data: str | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> Work:
    """What to change where.

    Args:
        run: the run whose decisions and scores decide; None with `patch`.
        patch: a file that an earlier call wrote.
        data: a data set elsewhere that the patch is for; None: the one that was scanned.
        columns: fields of DataSpec for `data`, where it is a table.

    Raises:
        OptionError: neither run nor patch, or a patch without data.
        RunError: the run is not finished.
    """
    given = _given(data, columns or {})
    if run is None:
        return _of_patch(patch, given)
    opened = run if isinstance(run, Run) else Run(run)
    # what is named here stands above what the scan was given
    spec = replace(spec_of(opened), **given)
    require_there(spec)
    scan: str | None = scan_of(opened)
    if patch is None:
        table = _planned(opened, policy)
    else:
        table, facts = read_patch(patch)
        # of an earlier version, it does not say which scan it is of
        scan = facts.get("scan")
    # runs of earlier versions do not say
    noun = opened.record.get("noun", "image")
    return Work(table, spec, opened.folder, scan, opened.folder / PATCH, noun)


def _given(data: str | None, columns: Mapping[str, str | None]) -> dict[str, Any]:
    """Fields of DataSpec that the user named."""
    given = {"data": data, **columns}
    return {name: value for name, value in given.items() if value}


def _of_patch(patch: Path | None, given: Mapping[str, Any]) -> Work:
    """A patch alone, of a run that is somewhere else."""
    if patch is None or "data" not in given:
        raise OptionError(
            "A run folder is needed, or --patch with --data.",
            "Try 'labelsieve apply --help'.",
        )
    table, facts = read_patch(patch)
    # a patch says nothing of the kind of items; a column of texts does
    noun = "text" if "text_column" in given else "image"
    return Work(table, DataSpec(**given), None, facts.get("scan"), patch, noun)


def _planned(opened: Run, policy: Policy) -> pa.Table:
    if not opened.finished:
        raise RunError(
            f"'{opened.folder}' is not finished.",
            "Run labelsieve scan again; it continues.",
        )
    if policy.source == "auto":
        note(NO_PROMISE)
    decisions = open_decisions(opened)
    table = plan(opened, decisions, policy)
    if decisions:
        decisions.close()
    return table


def carry_out(
    work: Work,
    *,
    output: Path | None = None,
    yes: bool = False,
    reverse: bool = False,
    links: bool = True,
    finish: bool = False,
) -> dict[str, Any]:
    """Do it, or list what would be done.

    Args:
        output: write a copy there; None: the data themselves.
        yes: change the data themselves, as it was listed.
        reverse: take back what was changed in the data.
        links: images of a copy become hard links where possible.
        finish: unfinished changes that somebody else began may be finished.

    Raises:
        OptionError: `yes` without a listing of the very same changes.
        DataError: the data are not what was scanned.
        RunError: somebody else began changes and did not finish them.
    """
    spec, patch = work.spec, work.patch
    words: dict[str, Any] = {"scan": work.scan, "trusted": finish}
    # from reading to the patch in the run: what holds in the data is what the patch says
    with write_back.alone(spec):
        if reverse:
            return _facts(write_back.reverse(spec, patch, **words), "reversed", work)
        if output is not None:
            result = write_back.copy(spec, patch, output, links=links, **words)
            return _written(result, "copied", work)
        if yes:
            return _confirmed(work, finish)
        return _list(work, finish)


def _list(work: Work, finish: bool) -> dict[str, Any]:
    """What would be done, and a note of it; the data are not touched."""
    lines = write_back.unfinished(work.spec, trusted=finish)
    listed: dict[str, Any] = work.identity()
    if lines:
        # what follows can only be listed when this is done
        listed["unfinished"] = fingerprint(lines)
    else:
        lines = write_back.check(work.spec, work.patch, work.scan)
    _note(work.listing(), listed)
    about = {"done": "listed", "changes": lines, "patch": None}
    return {**about, "data": str(work.spec.data), "unfinished": "unfinished" in listed}


def _note(path: Path, listed: Mapping[str, Any]) -> None:
    try:
        write_json(path, listed, private=True)
    # a run on a disk that may only be read; or no home for the patch of somebody else
    except OSError as error:
        raise OptionError(
            f"'{path}' cannot be written: {error.strerror}.",
            "What was listed is noted there, to be confirmed with --yes.",
        ) from error


def _confirmed(work: Work, finish: bool) -> dict[str, Any]:
    """Do what was listed, and nothing else."""
    note = work.listing()
    listed = read_json(note) if note.exists() else {}
    interrupted = listed.pop("unfinished", None)
    # others, or none at all, were listed
    if listed != work.identity():
        # to list them would be no help where they can never be made
        write_back.require_writable(work.spec)
        raise OptionError("These changes were not listed yet.", LIST_FIRST)
    if interrupted is None:
        return _change(work, finish)
    lines = write_back.unfinished(work.spec, trusted=finish)
    if lines and fingerprint(lines) != interrupted:
        raise OptionError("Other changes are unfinished now.", LIST_FIRST)
    write_back.finish(work.spec, trusted=finish)
    # the changes themselves were not listed: they could not be, in the middle of others
    note.unlink()
    data = str(work.spec.data)
    return {"done": "finished", "changes": lines, "patch": None, "data": data}


def _change(work: Work, finish: bool = False) -> dict[str, Any]:
    result = write_back.in_place(work.spec, work.patch, work.scan, trusted=finish)
    return _written(result, "changed", work)


def _written(result: write_back.Result, done: str, work: Work) -> dict[str, Any]:
    """The patch that holds now lies in the run, for others and for the way back."""
    if work.run is not None:
        write_patch(work.patch, work.file, {"scan": work.scan})
    return _facts(result, done, work)


# Keys are those of `labelsieve apply --json`, which programs read.
def _facts(result: write_back.Result, done: str, work: Work) -> dict[str, Any]:
    return {
        "done": done,
        "already": result.already,
        "relabelled": result.relabelled,
        "dropped": result.dropped,
        "noun": work.noun,
        "data": str(result.where),
        "changes": result.lines,
        "patch": str(work.file),
    }


# How the end of a call is called on a terminal, and what became of labels and items there.
ENDS = {
    "copied": ("corrected copy", "changed", "left out"),
    "changed": ("corrected in place", "changed", "left out"),
    "reversed": ("as it was before", "changed back", "put back"),
}


def in_words(facts: Mapping[str, Any]) -> str:
    """What a terminal shows of what `carry_out` returned."""
    # of work that had been done before, nothing new can be told
    if facts.get("already"):
        return "Done already; nothing was changed."
    changes = facts["changes"]
    lines = list(changes[:SHOWN])
    if len(changes) > SHOWN:
        lines.append(f"and {len(changes) - SHOWN:,} more")
    if facts["done"] == "listed":
        lines.append(_listed_in_words(facts))
    elif facts["done"] == "finished":
        done = f"The changes that were interrupted are finished in {facts['data']}."
        lines.append(f"{done} Run the command without --yes to see what is left to do.")
    else:
        lines += _done_in_words(facts)
    return "\n".join(lines)


def _done_in_words(facts: Mapping[str, Any]) -> list[str]:
    end, of_labels, of_items = ENDS[facts["done"]]
    labels = f"{counted(facts['relabelled'], 'label')} {of_labels}"
    items = f"{counted(facts['dropped'], facts['noun'])} {of_items}"
    where = f"{facts['data']} ({end})"
    return [f"{labels}, {items}: {where}", f"Patch  {facts['patch']}"]


def _listed_in_words(facts: Mapping[str, Any]) -> str:
    count = len(facts["changes"])
    if not count:
        return "Nothing to change."
    how = f"Do {'it' if count == 1 else 'them'} with --in-place --yes."
    if facts["unfinished"]:
        state = f"of an interrupted call {'is' if count == 1 else 'are'} unfinished"
        return f"{counted(count, 'step')} {state} in {facts['data']}. {how}"
    return f"{counted(count, 'change')} would be made in {facts['data']}. {how}"


def apply(
    run: str | Path | Run,
    output: str | Path | None = None,
    *,
    policy: Policy | Literal["reviewed", "certified", "auto"] | None = None,
    in_place: bool = False,
    yes: bool = False,
    links: bool = True,
) -> dict[str, Any]:
    """Write a corrected copy of a run's data set, or list what would change in the data.

    Args:
        output: folder or table to write a copy to.
        policy: what to correct, or the word of `--policy`; None takes people's decisions.
        in_place: change the data themselves, with `yes` (reversible, see
            `labelsieve.corrections.write_back`); without `yes`, list the changes.
        yes: with `in_place`: make the changes.
        links: images of a copy become hard links where possible.

    Returns:
        What was done, as `labelsieve apply --json` prints it. Without `output`, and without
        `in_place` and `yes`, this is a list of changes, and the data are not touched.

    Raises:
        LabelsieveError: what is wrong and what to do.
    """
    # what contradicts itself changes nothing
    if output is not None and (in_place or yes):
        raise OptionError("`output` writes a copy; leave `in_place` and `yes` out.")
    if yes and not in_place:
        raise OptionError("`yes` goes with in_place=True.", "Nothing was changed.")
    if isinstance(policy, str):  # the command line's word; other words are refused
        policy = Policy(policy)
    with alone(run):
        work = prepare(run if isinstance(run, Run) else Path(run), policy or Policy())
        if output is not None:
            return carry_out(work, output=Path(output), links=links)
        if not yes:
            return carry_out(work)
        # a program has no terminal on which the changes could be read and confirmed
        with write_back.alone(work.spec):
            return _change(work)
