"""Rows as the bench makes them, and one real bench that was filtered, killed and continued."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.bench.results import CLEAN, RESULTS
from labelsieve.estimation.metrics import FIGURES

PATIENCE = 600.0  # seconds


@pytest.fixture
def results() -> Callable[..., pa.Table]:
    """`results({"method": "knn", "f1": 0.5}, …)`: rows of finished cells; what is not said
    is the same in all.
    """

    def make(*rows: dict[str, Any]) -> pa.Table:
        usual = {
            "tower": "tiny",
            "data": "digits",
            "noise": "symmetric 20 %",
            "method": "knn",
            "seed": 0,
            "state": "done",
            "model": "tiny",
            "preset": "default",
            "settings": "{}",
            "kind": "symmetric",
            "nominal_rate": 0.2,
            "realised_rate": 0.21,
            "images": 300,
            "classes": 10,
            **dict.fromkeys(FIGURES, 0.5),
            **dict.fromkeys(CLEAN, 0.5),
            "seconds": 1.0,
            "peak_mib": 500.0,
        }
        made = [{**usual, "detector": row.get("method", "knn"), **row} for row in rows]
        return pa.Table.from_pylist(made, RESULTS)

    return make


@pytest.fixture(scope="session")
def digit_data(
    tmp_path_factory: pytest.TempPathFactory, digits: Any, encode: Callable[..., bytes]
) -> Path:
    """Folder with digits.parquet: 60 digits of four classes, their truth, and labels of a
    person, one in five wrong.
    """
    images, truth = digits
    rows = np.flatnonzero(truth < 4)[:60]
    words = np.array(["zero", "one", "two", "three"])
    person = np.where(np.arange(60) % 5 == 0, (truth[rows] + 1) % 4, truth[rows])
    folder = tmp_path_factory.mktemp("data")
    columns = {
        "id": [f"d{r}" for r in rows],
        "image": [encode(images[r]) for r in rows],
        "true": words[truth[rows]],
        "person": words[person],
    }
    pq.write_table(pa.table(columns), folder / "digits.parquet")
    return folder


CONFIG = """
seeds = [3]
tower = [{ name = "tiny" }]
[[method]]
name = "zero-shot"
[[method]]
name = "deft, quick"
method = "deft"
settings = { epochs = 2, batch_size = 4 }
[[method]]
name = "refused"
method = "deft"
settings = { context_start = "random", context_length = 500 }
[[data]]
name = "digits"
path = "digits.parquet"
image_column = "image"
id_column = "id"
truth_column = "true"
template = "a handwritten digit {}."
noise = [{ kind = "recorded", column = "person" }]
[[data]]
name = "nobody has it"
archive = "cifar100"
folder = "nowhere"
noise = [{ kind = "symmetric", rate = 0.2 }]
"""


@dataclass(frozen=True)
class Ran:
    """A bench of `CONFIG`: first only zero-shot, then killed within the cell of deft, then
    to its end.

    first: result file and time of change of the cell that was done before the kill.
    """

    output: Path
    config: Path
    data_root: Path
    first: tuple[Path, int]
    answer: dict[str, Any]

    @property
    def results(self) -> pa.Table:
        return pq.read_table(self.output / "results.parquet")

    def row(self, method: str, data: str = "digits") -> dict[str, Any]:
        (found,) = [
            r
            for r in self.results.to_pylist()
            if (r["method"], r["data"]) == (method, data)
        ]
        return dict(found)


@pytest.fixture(scope="session")
def ran(
    tmp_path_factory: pytest.TempPathFactory, digit_data: Path, own_cache: Path
) -> Ran:
    from labelsieve.bench import command
    from labelsieve.bench.steps import Workspace

    folder = tmp_path_factory.mktemp("bench")
    config, output = folder / "mine.toml", folder / "out"
    config.write_text(CONFIG)
    place = Workspace(output, digit_data)
    command.run(str(config), place, only=["method=zero-shot,data=digits"], jobs="1")
    (first,) = output.glob("cells/*/result.json")
    kept = (first, first.stat().st_mtime_ns)
    words = [
        "bench",
        str(config),
        "-o",
        str(output),
        "--data-root",
        str(digit_data),
        "--jobs",
        "1",
        "--only",
        "data=digits",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "labelsieve", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: any(output.glob("cells/*deft*/run/checkpoints/*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    answer = command.run(str(config), place, jobs="2")
    return Ran(output, config, digit_data, kept, answer)


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < end, "the bench did not get there"
        time.sleep(0.005)
