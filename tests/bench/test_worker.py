"""Steps as their processes do them: one tower's headroom, caches that are shared, and how
they end.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.bench import material, worker
from labelsieve.bench.plan import Data
from labelsieve.bench.steps import write_result
from labelsieve.cache import cache_folder
from labelsieve.data.dataset import prepare
from labelsieve.data.spec import DataSpec
from labelsieve.tables import write_parquet

NO_WATCH: Any = None  # these steps do not look at it
TABLE = Data(
    "d",
    path="digits.parquet",
    image_column="image",
    id_column="id",
    truth_column="true",
)


def truth(data: Data, root: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    job = {"data": asdict(data), "data_root": str(root), "labels_are_true": True}
    return material.truth(job, folder, NO_WATCH)


def test_headroom_counts_right_answers_on_true_labels(
    digit_data: Path, tmp_path: Path, tiny: Any
) -> None:
    source = tmp_path / "truth"
    write_source(source, truth(TABLE, digit_data, source))
    job = {
        "model": "tiny",
        "device": "cpu",
        "precision": "float32",
        "needs": [str(source)],
    }
    found = worker.headroom(job, tmp_path, NO_WATCH)
    features = np.load(found["features"])
    assert (
        features.shape[0] == found["images"] == 60
        and found["classes"] == 4
        and found["features_seconds"] > 0
    )
    text = tiny.text_features(
        [f"a photo of a {w}." for w in ("one", "three", "two", "zero")]
    ).numpy()
    spec = DataSpec(**truth(TABLE, digit_data, source)["spec"])
    images = prepare(spec, tiny.preprocess).dataset
    answers = (np.asarray(features, np.float32) @ text.T).argmax(1)
    assert found["zero_shot"] == pytest.approx((answers == images.labels).mean())
    assert found["probe"] > 0.6 and Path(found["pixels"]).is_dir()
    write_source(source, {**truth(TABLE, digit_data, source), "known": False})
    assert worker.headroom(job, tmp_path, NO_WATCH)["probe"] is None


def write_source(folder: Path, value: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    write_result(folder, value)


def test_a_cell_shares_features_and_pixels_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "shared"))
    features, pixels = (
        tmp_path / "shared" / "features" / "a.npy",
        tmp_path / "shared" / "pixels-32",
    )
    pixels.mkdir(parents=True)
    features.parent.mkdir()
    features.write_bytes(b"features")
    (features.parent / "probe-b.npy").write_bytes(b"of another method")
    tower = {"features": str(features), "pixels": str(pixels)}
    worker._share_cache(tmp_path / "own", tower)
    assert cache_folder() == tmp_path / "own"
    assert (cache_folder() / "features" / "a.npy").read_bytes() == b"features"
    assert [p.name for p in (cache_folder() / "features").iterdir()] == ["a.npy"]
    features.unlink()
    worker._share_cache(tmp_path / "own", tower)
    assert not list((cache_folder() / "features").iterdir()), (
        "what is gone is computed anew, not written through a dead link"
    )


def test_the_peak_is_of_this_process_alone(tmp_path: Path) -> None:
    """A process starts with its parent's peak in getrusage; what counts is its own."""
    ballast = np.ones(50_000_000)
    # alone in a process without torch, whose import takes more than the function reports
    lines = [
        "import ast, sys",
        "from pathlib import Path",
        "STATUS = Path('/proc/self/status')",
        "tree = ast.parse(Path('labelsieve/bench/worker.py').read_text())",
        "f = next(n for n in tree.body if getattr(n, 'name', '') == 'peak_mib')",
        "exec(compile(ast.Module([f], []), 'worker', 'exec'))",
        "print(peak_mib())",
    ]
    code = "\n".join(lines)
    root = Path(worker.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert 1 < float(found.stdout) < 100 < ballast.nbytes / 2**20 < worker.peak_mib()


def test_a_step_ends_when_its_bench_is_gone(tmp_path: Path) -> None:
    """Its standard input ends; also while it computes, and without a result."""
    code = "import sys, time; from pathlib import Path\n"
    code += "from labelsieve.bench import worker\n"
    code += (
        "worker.BEAT = 0.01; worker.Watch(Path(sys.argv[1])); print('on', flush=True)\n"
    )
    code += "time.sleep(60)"
    note = tmp_path / "attempts.json"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(note)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(worker.__file__).parents[2],
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.stdin.close()
    assert process.wait(20) == worker.ORPHANED
    process.stdout.close()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_note_of_attempts_counts_as_none(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attempts.json").write_text(content)
    monkeypatch.setattr(worker.threading, "Thread", _NoThread)
    assert worker.Watch(tmp_path / "attempts.json").attempts == 1


class _NoThread:
    def __init__(self, **_: Any) -> None:
        pass

    def start(self) -> None:
        pass


def test_a_method_is_told_the_share_that_is_wrong(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    labels = ["a", "b", "b", "a", None, "a"]
    truth = ["a", "b", "a", "a", "a", None]
    images = [b"no picture"] * 6
    write_parquet(pa.table({"image": images, "label": labels, "true": truth}), table)
    spec = DataSpec(table, "image", "label", "true")
    wanted = {"seed": 0, "settings": {"noise_rate": "realised", "views": 4}}
    told = worker.told(wanted, spec)
    assert told == {"seed": 0, "settings": {"noise_rate": 0.25, "views": 4}}
    assert worker.told({"settings": {"views": 1}}, spec) == {"settings": {"views": 1}}
