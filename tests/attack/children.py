"""The command line in child processes that are killed, or that may crash."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from attack import scratch

# Processes are forked from one that has imported everything: a kill hits work, not imports.
FORKED = multiprocessing.get_context("forkserver")
PATIENCE = 600.0  # seconds; on a busy machine the bench takes minutes
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# What Python reports before it changes a file system, besides `open` for writing.
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: a signal), changes of files that it began."""

    code: int
    out: str
    err: str
    changes: int


def start_forking() -> None:
    """To be called before the first child, in the main process."""
    # A process that has threads cannot be forked safely, and children share few cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # locks, secrets and receipts of an attack are not the user's
    if "LABELSIEVE_STATE" not in os.environ:
        os.environ["LABELSIEVE_STATE"] = str(scratch.own() / "state")
    FORKED.set_forkserver_preload(["attack.warm"])
    before = os.environ.get("PYTHONPATH")
    # the server looks for modules here alone, and would go without them silently
    own = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = own if before is None else os.pathsep.join([own, before])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def labelsieve(
    words: list[str], cache: Path, *, kill_at: int = 0, after: float = PATIENCE
) -> Ended:
    """Run the command line with caches of its own.

    Args:
        kill_at: the process kills itself before its n-th change of a file; 0 for never.
        after: it is killed from outside after so many seconds.
    """
    changes = FORKED.RawValue("i", 0)
    with tempfile.TemporaryDirectory() as folder:
        target = (words, str(cache), folder, kill_at, changes)
        process = FORKED.Process(target=_command, args=target)
        process.start()
        process.join(after)
        process.kill()
        process.join()
        out = _text(Path(folder, "out"))
        err = _text(Path(folder, "err"))
        return Ended(process.exitcode or 0, out, err, changes.value)


def _text(path: Path) -> str:
    if not path.exists():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _command(
    words: list[str], cache: str, logs: str, kill_at: int, changes: Any
) -> None:
    """In the child."""
    from attack import forked_steps
    from labelsieve.cli import app

    os.environ["LABELSIEVE_CACHE"] = cache
    sys.argv = ["labelsieve", *words]
    # Open until the process ends: a traceback is written at the very end.
    sys.stdout = open(Path(logs, "out"), "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(Path(logs, "err"), "w", encoding="utf-8")  # noqa: SIM115
    forked_steps.use()
    sys.addaudithook(_killer(kill_at, changes))
    app.main()


def _killer(kill_at: int, changes: Any) -> Callable[[str, tuple[Any, ...]], None]:
    own = os.getpid()

    def hook(event: str, about: tuple[Any, ...]) -> None:
        # steps of the bench are processes of their own, and inherit this
        if os.getpid() != own:
            return
        opens = event == "open" and isinstance(about[2], int) and about[2] & WRITES
        if opens or event in CHANGES:
            changes.value += 1
            if changes.value == kill_at:
                os.kill(os.getpid(), 9)

    return hook


def watched(
    work: Callable[..., None], cases: int, *about: Any
) -> Iterator[tuple[int, str]]:
    """Call `work(case, *about)` for every case in a child; gives each fault with its case.

    A case is faulty that raises, or that ends the child: then another child goes on behind it.
    """
    following = 0
    while following < cases:
        reader, writer = FORKED.Pipe(duplex=False)
        process = FORKED.Process(
            target=_work, args=(writer, work, following, cases, about)
        )
        process.start()
        writer.close()
        running = following
        hangs = False
        with contextlib.suppress(EOFError):
            while not hangs:
                hangs = not reader.poll(PATIENCE)
                if not hangs:
                    running, fault = reader.recv()
                    if fault:
                        yield running, fault
        if hangs:
            process.kill()
        process.join()
        following = cases if process.exitcode == 0 else running + 1
        if process.exitcode:
            reason = "hung" if hangs else f"ended with {process.exitcode}"
            yield running, f"the process {reason}"


def _work(
    writer: Any, work: Callable[..., None], first: int, cases: int, about: Any
) -> None:
    """In the child."""
    from labelsieve import progress

    progress.be_quiet(True)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (notices of damaged files)
    for case in range(first, cases):
        writer.send((case, ""))
        try:
            work(case, *about)
        except Exception as error:
            words = " ".join(str(error).split())
            writer.send((case, f"{type(error).__name__}: {words[:600]}"))


def main_here(words: list[str]) -> tuple[int, str]:
    """Run the command line in this process: exit code and what it said on stderr.

    Raises:
        Exception: a fault of the package, which a terminal would show as a traceback.
    """
    from labelsieve.cli import app

    err = io.StringIO()
    sys.argv = ["labelsieve", *words]
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            app.main()
        except SystemExit as exit:
            code = exit.code or 0
    return int(code), err.getvalue()
