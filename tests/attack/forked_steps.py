"""Steps of the bench as forked processes: the worker itself, without seconds of imports."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, NoReturn

HIGHEST = 256  # file descriptors that a small process may have open
PAUSE = 0.02  # seconds between looks at whether a process has ended


class ForkedStep:
    """What the bench uses of `subprocess.Popen`: standard input, poll, wait and kill."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        stdout: IO[bytes],
        env: Mapping[str, str],
        **_: object,
    ) -> None:
        reader, writer = os.pipe()
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _do_step(Path(words[-1]), reader, stdout.fileno(), env)
        os.close(reader)
        self.stdin = os.fdopen(writer, "wb")

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float = float("inf")) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("step", timeout)
            time.sleep(PAUSE)
        return code

    def kill(self) -> None:
        os.kill(self._pid, 9)


def _do_step(folder: Path, reader: int, log: int, env: Mapping[str, str]) -> NoReturn:
    """In the child: as `python -m labelsieve.bench.worker FOLDER`."""
    code = 1
    try:
        os.setsid()
        for number, handle in enumerate((reader, log, log)):
            os.dup2(handle, number)
        # the other end of the pipe, above all: it must close when the bench ends
        os.closerange(3, HIGHEST)
        os.environ.update(env)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        from labelsieve.bench import worker

        worker.main(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def use() -> None:
    """In a process that will run the bench: its steps are forked from now on."""
    from labelsieve.bench import schedule

    stand_in = SimpleNamespace(
        Popen=ForkedStep,
        PIPE=subprocess.PIPE,
        STDOUT=subprocess.STDOUT,
        TimeoutExpired=subprocess.TimeoutExpired,
    )
    schedule.subprocess = stand_in  # type: ignore[assignment]
