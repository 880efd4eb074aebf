"""A Slurm cluster: one array job whose first task scans and whose others work for it.

The script is written into the shared folder and submitted; where there is no Slurm it is shown. The
same command again submits again what is not finished, and it goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from labelsieve.data.sources._remote import url_of
from labelsieve.engines import Options
from labelsieve.errors import OptionError
from labelsieve.files import refuse_endless, replacing
from labelsieve.progress import plain

SCRIPT = "labelsieve.sbatch"
JOB = "slurm-job.txt"  # number of the job that was submitted last
SIGN = "# of labelsieve, as it was written: "  # before the digest
WORKERS = 8  # where the user names no number
SECONDS = 60  # that Slurm's commands may take


def launch(words: list[str], options: Options) -> str:
    """Write the script and submit it.

    Args:
        words: of the command line after "labelsieve", as they were typed.

    Returns:
        What to tell the user: the job, or the script where there is no Slurm.

    Raises:
        OptionError: no shared folder is named, or Slurm refuses the job.
    """
    if options.shared is None or url_of(options.shared) is not None:
        raise OptionError(
            "--engine slurm needs a folder that all nodes see.",
            "Name it with --shared.",
        )
    folder = Path(options.shared).absolute()
    running = _running(folder)
    if running:
        return f"Job {running} is still under way; see: squeue -j {running}"
    path = folder / SCRIPT
    text = script(words, options, folder)
    _refuse_another(path)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
    if shutil.which("sbatch") is None:
        return f"{text}\n# There is no Slurm here. On a cluster: sbatch {shlex.quote(str(path))}"
    number = _submit(path)
    with replacing(folder / JOB) as scratch:
        scratch.write_text(number, encoding="utf-8")
    return f"Job {number} was submitted; its lines are in {folder / 'logs'}."


def _signed(text: str) -> str:
    """A script with its digest as last line, by which it is known again."""
    return f"{text}{SIGN}{hashlib.sha256(text.encode()).hexdigest()}\n"


def _refuse_another(path: Path) -> None:
    """Raises OptionError where the script there is somebody else's, or was edited."""
    with contextlib.suppress(FileNotFoundError):
        refuse_endless(path)
        there = path.read_text(encoding="utf-8", errors="replace")
        if there != _signed(there.rpartition(SIGN)[0]):
            raise OptionError(
                f"'{plain(str(path))}' was edited, or is not of labelsieve; it would be replaced.",
                f"Submit it yourself with: sbatch {shlex.quote(str(path))}; or rename it.",
            )


def script(words: list[str], options: Options, folder: Path) -> str:
    """The array job: task 0 scans, the others work."""
    count = options.workers or WORKERS
    again = [*without(words, "--engine"), "--engine", "folder"]
    scan = shlex.join([sys.executable, "-m", "labelsieve", *again])
    work = shlex.join([sys.executable, "-m", "labelsieve", "work", str(folder)])
    lines = ["#!/bin/bash", "#SBATCH --job-name=labelsieve"]
    lines += [
        f"#SBATCH --array=0-{count}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
    ]
    lines.append(f"#SBATCH --output={folder}/logs/%a.txt")
    if options.gpus_per_worker:
        lines.append(
            f"#SBATCH --gpus-per-task={max(1, round(options.gpus_per_worker))}"
        )
    lines += [
        f"cd {shlex.quote(str(Path.cwd()))}",
        "# workers have a cache for each machine",
    ]
    lines.append(f"export LABELSIEVE_CACHE={shlex.quote(str(folder / 'cache'))}")
    lines += ['if [ "$SLURM_ARRAY_TASK_ID" = 0 ]; then', f"  exec {scan}"]
    lines += ["else", f"  exec {work}", "fi"]
    return _signed("\n".join(lines) + "\n")


def without(words: list[str], option: str) -> list[str]:
    """Words of a command without an option and its value, in either spelling."""
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def _submit(path: Path) -> str:
    called = _call("sbatch", "--parsable", str(path))
    if called is None or called.returncode:
        why = "it does not answer" if called is None else called.stderr.strip()
        raise OptionError(f"Slurm refuses the job: {why}.", f"See '{path}'.")
    # "number;cluster" where there are several clusters
    return called.stdout.strip().partition(";")[0]


def _running(folder: Path) -> str:
    """The number of a job that was submitted before and has not ended; empty: none."""
    number = ""
    with contextlib.suppress(OSError):
        refuse_endless(folder / JOB)
        number = (folder / JOB).read_text(encoding="utf-8").strip()
    if not number.isdigit() or shutil.which("squeue") is None:
        return ""
    called = _call("squeue", "--noheader", "--jobs", number)
    # a number that Slurm has forgotten is an error
    busy = called is not None and called.returncode == 0 and called.stdout.strip()
    return number if busy else ""


def _call(*words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
