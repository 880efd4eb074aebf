"""`labelsieve bench`: plan, run what is not done, and write what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve import registry, tables
from labelsieve.bench import plan, published, results, schedule, steps
from labelsieve.bench.material import with_own
from labelsieve.bench.render import FORMATS, sheets
from labelsieve.bench.steps import Step, Workspace
from labelsieve.errors import MissingExtra, RunError
from labelsieve.files import replacing

Outcomes = Mapping[Step, Mapping[str, Any]]


def run(
    config: str,
    workspace: Workspace,
    *,
    towers: Sequence[str] = (),
    only: Sequence[str] = (),
    jobs: str = "auto",
    own: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Run a configuration's cells that are not done yet; tables and plots of all that are.

    Killed at any time, the same call goes on: what is done is not done again, and an
    interrupted scan continues.

    Args:
        config: the name of a ready configuration, or a TOML file.
        towers: further ones, "NAME=DIR".
        only: filters, see `labelsieve.bench.steps.narrow`.
        jobs: processes at once, or "auto".
        own: files of the user's own "embeddings" and "pred_probs" of the one data set.

    Returns:
        What the terminal shows: counts, who leads, what did not run and why, and files.

    Raises:
        OptionError: a mistake in configuration or options; nothing has been written then.
        RunError: another bench works in the folder, or no cell could run at all.
    """
    planned = with_own(plan.read(config, towers), workspace.data_root, own or {})
    cells = list(planned.cells())
    chosen = {id(cell) for cell in steps.narrow(cells, only)}
    limits = schedule.limits(jobs)  # the last option that can be wrong
    workspace.output.mkdir(parents=True, exist_ok=True)
    # of all cells, not only the chosen: tables show what earlier calls finished, too
    every = steps.of(cells, workspace)
    with schedule.alone(workspace.output):
        outcomes = schedule.run(_needed(every, chosen), *limits)
        # of the configuration, not the order in which cells ran
        order = {id(cell): number for number, cell in enumerate(cells)}
        in_order: dict[Step, Mapping[str, Any]] = {}
        for step in sorted(every, key=lambda s: order.get(id(s.cell), -1)):
            in_order[step] = outcomes.get(step) or step.result() or {}
        return _write(planned.name, in_order, workspace.output)


def _needed(every: Sequence[Step], chosen: set[int]) -> list[Step]:
    """Steps of the chosen cells, and what these need."""
    needed: set[Step] = set()
    for step in every:
        if step.cell is not None and id(step.cell) in chosen:
            needed |= {step, *schedule.all_needs(step)}
    return [step for step in every if step in needed]


def _write(name: str, outcomes: Outcomes, output: Path) -> dict[str, Any]:
    """Tables and plots, and what the terminal shows."""
    table = results.results(outcomes)
    headroom = results.headroom(table, outcomes)
    files = _write_tables(name, table, headroom, output)
    done = results.finished(table)
    # written all the same: a table that says why nothing ran
    lacking = [row for row in table.to_pylist() if row["state"] != "done"]
    if not len(done) and lacking:
        raise RunError(
            f"None of {len(lacking)} cells could run.",
            f"The first one: {lacking[0]['message']}",
        )
    plots, warnings = _plots(table, outcomes, output)
    told = (*plan.AXES, "state", "message")
    correlations = {}
    for column in ("lead", "pictures"):
        correlations[column] = results.rank_correlation(headroom, column)
    return {
        "config": name,
        "output": str(output),
        "cells": sum(step.cell is not None for step in outcomes),
        "done": len(done),
        "not_run": [{key: row[key] for key in told} for row in lacking],
        "headroom": headroom.to_pylist(),
        "rank_correlation": correlations,
        "warnings": warnings,
        "files": {file: str(output / file) for file in [*files, *plots]},
    }


def _write_tables(
    name: str, table: pa.Table, headroom: pa.Table, output: Path
) -> list[str]:
    """Names of the files: for programs, and for people."""
    tables.write_parquet(table, output / "results.parquet")
    tables.write_parquet(headroom, output / "headroom.parquet")
    pages = [*sheets(table, headroom), *published.sheets(table)]
    for file, render in FORMATS.items():
        with replacing(output / file) as scratch:
            text = render(f"labelsieve bench {name}", pages)
            scratch.write_text(text, encoding="utf-8")
    return ["results.parquet", "headroom.parquet", *FORMATS]


def _plots(
    table: pa.Table, outcomes: Outcomes, output: Path
) -> tuple[list[str], list[str]]:
    """Names of plots, and what stood in their way."""
    # matplotlib is an extra; tables do not need it
    try:
        plots = registry.need("labelsieve.bench.plots")
    except MissingExtra as error:
        return [], [f"There are no plots: {error}"]
    curves = {}
    for step, outcome in outcomes.items():
        if step.cell and outcome.get("curve"):
            curves[f"cells/{step.folder.name}"] = outcome["curve"]
    return [path.name for path in plots.write(table, curves, output)], []
