"""The whole comparison on real CLIP models, and the table to paste into the README.

    python tools/clip_check.py --data-root DATA
    python tools/clip_check.py --data-root DATA --model "CLIP ViT-B/32=FOLDER" --model ...

Every cell is one scan of `labelsieve bench` (configuration `clip`). Killed at any time, the same
command goes on. Models come from the hub, or from folders in Hugging Face's layout; each is opened
before anything else, so that a missing one is known at once and not after hours.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelsieve.bench import command, plan
from labelsieve.bench.steps import Workspace
from labelsieve.errors import LabelsieveError
from labelsieve.models.load import load_encoder
from labelsieve.versions import environment

Row = dict[str, Any]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data-root", type=Path, required=True, help="see the configuration")
    add("--out", type=Path, default=Path("clip-check"), help="cells and tables")
    add("--model", action="append", default=[], help="NAME=FOLDER or NAME=HUB-ID")
    add("--only", action="append", default=[], help="some cells, as in bench")
    add("--config", default="clip", help="another configuration")
    add("--device", default="auto")
    add("--precision", default="auto")
    add("--jobs", default="auto", help="cells at once")
    return parser.parse_args(words)


def open_all(config: str, models: Sequence[str]) -> None:
    """Open every model once: downloads and mistakes come first."""
    for tower in plan.read(config, models).towers:
        encoder = load_encoder(tower.model or tower.name)
        print(f"{tower.name}: {encoder.name}, {encoder.dtype}", file=sys.stderr)


def table(rows: Sequence[Row]) -> str:
    """F1 / AUROC of each method, one Markdown table per model; means over seeds."""
    done = [row for row in rows if row["state"] == "done"]
    pages = []
    for tower in _in_order(row["tower"] for row in done):
        mine = [row for row in done if row["tower"] == tower]
        columns = _in_order((row["data"], row["noise"]) for row in mine)
        heads = [f"{data}, {noise}" for data, noise in columns]
        lines = [f"**{tower}**", "", _line(["method", *heads])]
        lines.append("| --- |" + " ---: |" * len(heads))
        for method in _in_order(row["method"] for row in mine):
            figures = [_figures(mine, method, column) for column in columns]
            lines.append(_line([method, *figures]))
        pages.append("\n".join(lines))
    return "\n\n".join(pages)


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Each once, as they come."""
    return list(dict.fromkeys(values))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figures(rows: Sequence[Row], method: str, column: tuple[str, str]) -> str:
    cells = []
    for row in rows:
        if row["method"] == method and (row["data"], row["noise"]) == column:
            cells.append(row)
    if not cells:
        return "–"
    f1, auroc = (
        statistics.mean(row[key] or 0.0 for row in cells) for key in ("f1", "auroc")
    )
    # without a leading zero, as everywhere in the README
    return f"{f1:.3f} / {auroc:.3f}".replace("0.", ".")


def footer(rows: Sequence[Row]) -> str:
    """What the figures were computed with, and what did not run."""
    done = [row for row in rows if row["state"] == "done"]
    devices = ", ".join(_in_order(str(row["device"]) for row in done))
    versions = environment()
    missing = len(rows) - len(done)
    text = f"F1 / AUROC for finding wrong labels, on {devices}; {versions}."
    return text if not missing else f"{text} {missing} cells did not run, see table.md."


def main(words: Sequence[str] | None = None) -> int:
    args = arguments(words)
    workspace = Workspace(args.out, args.data_root, args.device, args.precision)
    try:
        open_all(args.config, args.model)
        command.run(
            args.config, workspace, towers=args.model, only=args.only, jobs=args.jobs
        )
    except LabelsieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = pq.read_table(args.out / "results.parquet").to_pylist()
    print(table(rows), footer(rows), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
