"""Options about several processes and machines, and the command of a worker: work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelsieve.cli.options import Json, Quiet, answer, say

if TYPE_CHECKING:
    from labelsieve.data.spec import DataSpec

app = typer.Typer()
SEVERAL = "Several processes or machines"

Engine = Annotated[
    str | None,
    typer.Option(
        help="processes, ray, ray-train, slurm or folder.",
        rich_help_panel=SEVERAL,
    ),
]
Count = Annotated[
    int | None,
    typer.Option(help="Workers at a time; as many as fit.", rich_help_panel=SEVERAL),
]
Gpus = Annotated[
    float,
    typer.Option(help="GPUs, or a share, of each worker.", rich_help_panel=SEVERAL),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray's: auto or ray://HOST:PORT; none: start one.",
        rich_help_panel=SEVERAL,
    ),
]
Shared = Annotated[
    str | None,
    typer.Option(
        help="For folder, slurm: folder or s3:// seen by all.",
        rich_help_panel=SEVERAL,
    ),
]
Shard = Annotated[
    int,
    typer.Option(help="Images of a task: 256, 512, ...", rich_help_panel=SEVERAL),
]


def launched(
    engine: str | None,
    workers: int | None,
    gpus: float,
    shared: str | None,
    address: str | None = None,
) -> bool:
    """Whether an engine took the whole command to do it somewhere else; says so."""
    if engine is None:
        return False
    # read from files: nothing heavy is imported for a script
    from labelsieve import registry
    from labelsieve.engines import Options

    module = registry.load("engines", engine)
    if not hasattr(module, "launch"):
        return False
    options = Options(workers, gpus, address, shared)
    # the words as they were typed: they are typed again there
    typer.echo(module.launch(sys.argv[1:], options))
    return True


@contextmanager
def placed(output: Path) -> Iterator[Path | None]:
    """Where this process writes: `output`, a folder that is put to a URL, or one of its own.

    Yields:
        None where `torchrun` started it beside one that has nothing left to do.
    """
    # pathlib makes one slash of two
    if str(output).startswith(("s3:/", "gs:/", "gcs:/", "az:/", "abfs:/")):
        from labelsieve.data.sources._remote import url_of
        from labelsieve.engines._mirror import mirrored

        with mirrored(str(url_of(output))) as folder:
            yield folder
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from labelsieve.training.distributed import joined

        with joined(output) as own:
            yield own
    else:
        yield output


def answers() -> bool:
    """Whether this process prints the answer: of several by `torchrun`, the first."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def working(
    engine: str | None,
    spec: DataSpec,
    workers: int | None,
    gpus: float,
    address: str | None,
    shared: str | None,
    shard: int,
) -> Iterator[None]:
    """Let an engine work on rows, where one is named, while the block runs."""
    if engine is None:
        yield
        return
    # imports all that workers do
    from labelsieve.engines import Options, _elsewhere

    options = Options(workers, gpus, address, shared, shard)
    with _elsewhere.working(engine, spec, options):
        yield


@app.command()
def work(
    shared: Annotated[str, typer.Argument(help="Folder or URL named by --shared.")],
    idle: Annotated[
        float, typer.Option(help="Seconds without work after which it ends.")
    ] = 600.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Work for a scan that runs elsewhere with --engine folder or slurm."""
    from labelsieve import progress
    from labelsieve.engines import folder

    progress.be_quiet(quiet)
    done = folder.serve(shared, idle)
    answer({"shards": done}, as_json, _show)


def _show(done: dict[str, int]) -> None:
    say(f"{done['shards']:,} shards were worked on.")
