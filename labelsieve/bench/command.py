"""`labelsieve bench`: plan, run what is not done, and write what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve import registry, tables
from labelsieve.bench import plan, published, schedule, steps
from labelsieve.bench import results as collect
from labelsieve.bench.render import FORMATS, sheets
from labelsieve.bench.steps import Place, Step
from labelsieve.errors import MissingExtra, RunError


def run(
    wanted: str,
    place: Place,
    *,
    towers: Sequence[str] = (),
    only: Sequence[str] = (),
    jobs: str = "auto",
) -> dict[str, Any]:
    """Run a configuration's cells that are not done yet, and write tables and plots of all that are.

    Killed at any time, the same call goes on: what is done is not done again, and an interrupted scan continues.

    Args:
        wanted: the name of a ready configuration, or a TOML file.
        towers: further ones, "NAME=DIR".
        only: filters, see `labelsieve.bench.plan.narrow`.
        jobs: processes at once, or "auto".

    Returns:
        What the terminal shows: counts, who leads, what did not run and why, and files.

    Raises:
        OptionError: a mistake in configuration or options; nothing has been written then.
        RunError: another bench works in the folder, or no cell could run at all.
    """
    planned = plan.read(wanted, towers)
    cells = list(planned.cells())
    chosen = {id(c) for c in plan.narrow(cells, only)}
    limits = schedule.limits(jobs)
    place.output.mkdir(parents=True, exist_ok=True)
    every = steps.of(cells, place)
    with schedule.alone(place.output):
        outcomes = schedule.run(_needed(every, chosen), *limits)
        order = {
            id(c): number for number, c in enumerate(cells)
        }  # of the configuration, not the one in which cells ran
        every = sorted(every, key=lambda s: order.get(id(s.cell), -1))
        outcomes = {s: outcomes.get(s) or s.result() or {} for s in every}
        return _write(planned.name, outcomes, place.output)


def _needed(every: Sequence[Step], chosen: set[int]) -> list[Step]:
    """Steps of the chosen cells, and what these need."""
    wanted = [s for s in every if s.cell is not None and id(s.cell) in chosen]
    needed = {n for s in wanted for n in schedule.all_needs(s)}
    return [s for s in every if s in needed or s in wanted]


def _write(
    name: str, outcomes: Mapping[Step, Mapping[str, Any]], output: Path
) -> dict[str, Any]:
    results = collect.results(outcomes)
    headroom = collect.headroom(results, outcomes)
    tables.write_parquet(results, output / "results.parquet")
    tables.write_parquet(headroom, output / "headroom.parquet")
    done = collect.finished(results)
    made = [*sheets(results, headroom), *published.sheets(results)]
    for file, render in FORMATS.items():
        (output / file).write_text(
            render(f"labelsieve bench {name}", made), encoding="utf-8"
        )
    lacking = [r for r in results.to_pylist() if r["state"] != "done"]
    if not len(done) and lacking:
        raise RunError(
            f"None of {len(lacking)} cells could run.",
            f"The first one: {lacking[0]['message']}",
        )
    plots, warnings = _plots(results, outcomes, output)
    files = ["results.parquet", "headroom.parquet", *FORMATS, *plots]
    return {
        "config": name,
        "output": str(output),
        "cells": len([s for s in outcomes if s.cell]),
        "done": len(done),
        "not_run": [
            {k: r[k] for k in (*plan.AXES, "state", "message")} for r in lacking
        ],
        "headroom": headroom.to_pylist(),
        "rank_correlation": {
            n: collect.rank_correlation(headroom, n) for n in ("lead", "pictures")
        },
        "warnings": warnings,
        "files": {f: str(output / f) for f in files},
    }


def _plots(
    results: pa.Table, outcomes: Mapping[Step, Mapping[str, Any]], output: Path
) -> tuple[list[str], list[str]]:
    """Names of plots, and what stood in their way."""
    try:
        plots = registry.need("labelsieve.bench.plots")
    except MissingExtra as error:
        return [], [f"There are no plots: {error}"]
    curves = {
        f"cells/{s.folder.name}": o["curve"]
        for s, o in outcomes.items()
        if s.cell and o.get("curve")
    }
    return [p.name for p in plots.write(results, curves, output)], []
