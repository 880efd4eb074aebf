"""Options about several processes and machines, and the command of a worker: work."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelsieve.cli.options import Json, Quiet, answer, say, spread

if TYPE_CHECKING:
    from labelsieve.data.spec import DataSpec
    from labelsieve.engines import Options

app = typer.Typer()
SEVERAL = "Several processes or machines"


def _of_several(help: str) -> Any:
    """An option about several processes, shown with the others of its kind."""
    return typer.Option(help=help, rich_help_panel=SEVERAL)


@dataclass(frozen=True)
class EngineOptions:
    """Who works on the rows of a command; None for `engine` is this process."""

    engine: Annotated[
        str | None, _of_several("processes, ray, ray-train, slurm or folder.")
    ] = None
    workers: Annotated[
        int | None, _of_several("Workers at a time; as many as fit.")
    ] = None
    gpus_per_worker: Annotated[
        float, _of_several("GPUs, or a share, of each worker.")
    ] = 0.0
    address: Annotated[
        str | None, _of_several("Ray's: auto or ray://HOST:PORT; none: start one.")
    ] = None
    shared: Annotated[
        str | None, _of_several("For folder, slurm: folder or s3:// seen by all.")
    ] = None
    shard: Annotated[int, _of_several("Images of a task: 256, 512, ...")] = 1024

    def options(self) -> Options:
        """The same for the engine."""
        from labelsieve.engines import Options

        words = asdict(self)
        del words["engine"]
        return Options(**words)

    def launched(self) -> bool:
        """Whether an engine took the whole command to do it somewhere else; says so."""
        if self.engine is None:
            return False
        # read from files: nothing heavy is imported for a script
        from labelsieve import registry

        module = registry.load("engines", self.engine)
        if not hasattr(module, "launch"):
            return False
        # the words as they were typed: they are typed again there
        typer.echo(module.launch(sys.argv[1:], self.options()))
        return True

    @contextmanager
    def working(self, spec: DataSpec) -> Iterator[None]:
        """Let an engine work on rows, where one is named, while the block runs."""
        if self.engine is None:
            yield
            return
        # imports all that workers do
        from labelsieve.engines import _elsewhere

        with _elsewhere.working(self.engine, spec, self.options()):
            yield


def engine_options() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `EngineOptions` in place of its parameter `several`."""
    # the annotations as objects: this module's are text until they are evaluated
    hints = inspect.signature(EngineOptions, eval_str=True).parameters.values()
    kind = inspect.Parameter.KEYWORD_ONLY
    return spread("several", EngineOptions, [p.replace(kind=kind) for p in hints])


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
