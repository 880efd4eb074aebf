"""What the terminal shows of published figures."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column

from labelsieve.cli import show


def published(figures: dict[str, Any]) -> None:
    """Published figures beside the results; without results, all of them in percent."""
    out = show._console()
    if figures["results"] is None:
        _printed(out, figures["published"], "detection", ("precision", "recall", "f1"))
        _printed(out, figures["published"], "classification", ("best", "last"))
    elif figures["beside"]:
        _beside(out, figures["beside"])
    else:
        results = show._text(figures["results"])
        out.print(f"Nothing was published on the data, noise and rates in {results}.")


def _beside(out: Console, rows: list[dict[str, Any]]) -> None:
    # of keeping right labels, as the paper reports it
    names = {"P": "precision", "R": "recall", "F1": "f1"}
    pairs = []
    for name in names:
        pairs.append(Column(f"{name} there", justify="right"))
        pairs.append(Column(f"{name} here", justify="right"))
    table = show._table("data", "tower", "method there", "here", *pairs, "differs")
    for row in rows:
        figures = []
        for name in names.values():
            figures.append(show._figure(row[f"published_clean_{name}"]))
            figures.append(show._figure(row[f"clean_{name}"]))
        table.add_row(
            show._text(f"{row['data']}, {row['noise']}"),
            show._text(row["tower"]),
            show._text(row["published_method"]),
            show._text(row["method"] or "–"),
            *figures,
            show._text(row["differs"]),
        )
    out.print(table)


def _printed(
    out: Console, rows: list[dict[str, Any]], task: str, names: tuple[str, ...]
) -> None:
    """The published figures of one task."""
    columns = [Column(name, justify="right") for name in names]
    table = show._table("data", "noise", "method", "backbone", *columns, "from")
    for row in rows:
        if row["task"] != task:
            continue
        # real noise has no rate that was chosen
        rate = "" if row["rate"] is None else f" {100 * row['rate']:g} %"
        table.add_row(
            row["dataset"],
            row["noise"] + rate,
            row["method"],
            row["backbone"],
            *[show._figure(row[name], ".2f") for name in names],
            row["source"],
        )
    out.print(table)
