"""Three hundred digits in class folders, a scan of them in one process, and what it must equal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fixtures.pictures import WORDS, png

from labelsieve.data.load import load
from labelsieve.engines import Options
from labelsieve.engines._elsewhere import Workers, working
from labelsieve.pipeline.scan import scan
from labelsieve.runs.run import Run

OF_A_SCAN = {"method": "zero-shot", "model": "tiny"}
TABLES = ("manifest", "scores", "probs", "quality", "duplicates")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """A process with threads cannot be forked safely, and two cores have no room for more."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]


@pytest.fixture(scope="session")
def folder(
    tmp_path_factory: pytest.TempPathFactory, digits: tuple[np.ndarray, np.ndarray]
) -> Path:
    """300 digits, two shards; every seventh lies in the wrong folder, one is no picture."""
    images, truth = digits
    root = tmp_path_factory.mktemp("engines") / "digits"
    for row in range(300):
        label = WORDS[(truth[row] + (row % 7 == 0)) % 10]
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{row:04d}.png").write_bytes(png(images[row]))
    (root / "one" / "broken.png").write_bytes(b"this is no picture")
    # files that are so new that their stamps are not relied on would be read twice
    time.sleep(2.1)
    return root


@pytest.fixture(scope="session")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The scan in one process, with a cache of its own."""
    root = tmp_path_factory.mktemp("alone")
    with own_cache(root):
        return scan(load(str(folder)), output=root / "run", **OF_A_SCAN)


class own_cache:
    """LABELSIEVE_CACHE below a folder while the block runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> None:
        self.before = os.environ["LABELSIEVE_CACHE"]
        os.environ["LABELSIEVE_CACHE"] = str(self.root / "cache")

    def __exit__(self, *error: object) -> None:
        os.environ["LABELSIEVE_CACHE"] = self.before


@pytest.fixture
def together(tmp_path: Path, folder: Path) -> Callable[..., tuple[Run, Workers]]:
    """`together("ray", workers=2)`: the same scan by an engine, with an empty cache."""

    def run(engine: str, data: Any = None, **options: Any) -> tuple[Run, Workers]:
        spec = load(str(data or folder))
        words = {"workers": 2, "shard": 256, **options}
        with own_cache(tmp_path), working(engine, spec, Options(**words)) as workers:
            done = scan(spec, output=tmp_path / "run", **OF_A_SCAN)
        return done, workers

    return run


def holds(rows: bytes, path: str) -> bool:
    """Whether a task has a row; its bytes alone may hold some of the next row, as padding."""
    return path in pa.ipc.open_stream(rows).read_all()["path"].to_pylist()


def same(one: Run, other: Run) -> None:
    """The very same bytes in every table."""
    for name in TABLES:
        file = f"{name}.parquet"
        first = (one.folder / file).read_bytes()
        if name == "manifest":
            # slots are places in a cache, and each has its own
            tables = [run.manifest.drop_columns(["slot"]) for run in (one, other)]
            assert tables[0].equals(tables[1])
        else:
            assert first == (other.folder / file).read_bytes(), file
