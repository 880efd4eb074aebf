"""Options that several commands share, and how every command answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Folder = Annotated[Path, typer.Argument(help="Run folder that labelsieve scan wrote.")]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column of image paths or encoded images.")
]
LabelColumn = Annotated[str | None, typer.Option(help="Column of labels.")]
IdColumn = Annotated[str | None, typer.Option(help="Column of unique ids.")]
Root = Annotated[
    str | None, typer.Option(help="Folder that image paths in a table are relative to.")
]
Split = Annotated[str | None, typer.Option(help="Only this split.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of a summary.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")]


def answer(
    value: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> None:
    """Print one JSON object, or what `show` makes of it."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, default=str))
    else:
        show(value)
