"""`labelsieve apply` and `labelsieve.apply`: from a run or a patch to corrected data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections import write_back
from labelsieve.corrections.patch import patch_id, read_patch, scan_of, write_patch
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError, RunError
from labelsieve.files import read_json, write_json
from labelsieve.runs.decisions import open_decisions
from labelsieve.runs.pictures import spec_of
from labelsieve.runs.run import Run

PATCH = "corrections.parquet"
LISTED = "dry-run.json"  # what the last dry run listed; only that can be confirmed
SHOWN = 50  # changes that a terminal shows


@dataclass(frozen=True)
class Work:
    """A patch, the data it is for, the folder for the patch and the dry run, and the scan it is of."""

    patch: pa.Table
    spec: DataSpec
    folder: Path
    scan: str | None


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
    if run is None and (patch is None or data is None):
        raise OptionError(
            "A run folder is needed, or --patch with --data.",
            "Try 'labelsieve apply --help'.",
        )
    opened = None if run is None else run if isinstance(run, Run) else Run(run)
    given = {k: v for k, v in (columns or {}).items() if v is not None}
    if opened is not None:
        spec = replace(spec_of(opened), **({"data": data} if data else {}), **given)  # type: ignore[arg-type]
        folder = opened.folder
    else:
        assert patch is not None
        spec, folder = DataSpec(data, **given), patch.parent  # type: ignore[arg-type]
    if patch is not None:
        made, facts = read_patch(patch)
        return Work(made, spec, folder, facts.get("scan"))
    assert opened is not None
    if not opened.finished:
        raise RunError(
            f"'{opened.folder}' is not finished.",
            "Run labelsieve scan again; it continues.",
        )
    decisions = open_decisions(opened)
    made = plan(opened, decisions, policy)
    if decisions:
        decisions.close()
    return Work(made, spec, folder, scan_of(opened))


def carry_out(
    work: Work,
    *,
    output: Path | None = None,
    in_place: bool = False,
    yes: bool = False,
    reverse: bool = False,
    links: bool = True,
) -> dict[str, Any]:
    """Do it, or list what would be done.

    Raises:
        OptionError: --yes without a dry run of the very same changes.
        DataError: the data are not what was scanned.
    """
    if reverse:
        return _facts(
            write_back.reverse(work.spec, work.patch, work.scan), "reversed", work
        )
    if output is not None:
        result = write_back.copy(
            work.spec, work.patch, output, links=links, scan=work.scan
        )
        return _facts(_written(work, result), "copied", work)
    listed = {"patch": patch_id(work.patch), "data": str(work.spec.data)}
    if not yes:
        lines = write_back.check(work.spec, work.patch, work.scan)
        write_json(work.folder / LISTED, listed)
        return {
            "done": "listed",
            "changes": lines,
            "patch": None,
            "data": str(work.spec.data),
        }
    if not (work.folder / LISTED).exists() or read_json(work.folder / LISTED) != listed:
        raise OptionError(
            "These changes were not listed yet.", "Run the command without --yes first."
        )
    return _facts(
        _written(work, write_back.in_place(work.spec, work.patch, work.scan)),
        "changed",
        work,
    )


def _written(work: Work, result: write_back.Result) -> write_back.Result:
    """The patch that holds now, for others and for the way back."""
    write_patch(work.patch, work.folder / PATCH, {"scan": work.scan})
    return result


def _facts(result: write_back.Result, done: str, work: Work) -> dict[str, Any]:
    return {
        "done": done,
        "already": result.already,
        "relabelled": result.relabelled,
        "dropped": result.dropped,
        "data": str(result.where),
        "changes": result.lines,
        "patch": str(work.folder / PATCH),
    }


def in_words(found: Mapping[str, Any]) -> str:
    """What a terminal shows."""
    lines = list(found["changes"][:SHOWN])
    if len(found["changes"]) > SHOWN:
        lines.append(f"and {len(found['changes']) - SHOWN:,} more")
    if found["done"] == "listed":
        what = f"{len(found['changes']):,} changes would be made in {found['data']}. Do them with --in-place --yes."
        return "\n".join([*lines, what if found["changes"] else "Nothing to change."])
    if found["already"]:
        return "Done already; nothing was changed."
    verb = {
        "copied": "corrected copy",
        "changed": "corrected in place",
        "reversed": "as it was before",
    }[found["done"]]
    counts = (
        f"{found['relabelled']:,} labels changed, {found['dropped']:,} images left out"
    )
    return "\n".join(
        [*lines, f"{counts}: {found['data']} ({verb})", f"Patch  {found['patch']}"]
    )


def apply(
    run: str | Path | Run,
    output: str | Path | None = None,
    *,
    policy: Policy | None = None,
    links: bool = True,
) -> dict[str, Any]:
    """Write a corrected copy of a run's data set.

    Args:
        output: folder or table to write; None changes the data themselves (reversible, see `labelsieve.corrections.write_back`).
        policy: what to correct; None takes people's decisions.
        links: images become hard links where possible.

    Raises:
        LabelsieveError: what is wrong and what to do.
    """
    work = prepare(run if isinstance(run, Run) else Path(run), policy or Policy())
    if output is None:
        carry_out(work, in_place=True)
    return carry_out(
        work,
        output=None if output is None else Path(output),
        in_place=output is None,
        yes=True,
        links=links,
    )
