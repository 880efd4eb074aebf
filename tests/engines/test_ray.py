"""Ray: the bytes of one process from a real cluster of several nodes, of which some are lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from labelsieve.engines import Options, ray_train
from labelsieve.engines import ray as engine
from labelsieve.errors import OptionError, RunError

from .conftest import same

pytest.importorskip("ray", reason="the extra ray is not installed")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
Together = Callable[..., tuple[Any, Any]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    quiet = {"include_dashboard": False, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=100 << 20)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.filterwarnings("ignore")  # of Ray, about itself
def test_nodes_may_be_lost(cluster: Any, together: Together, alone: Any) -> None:
    chance = random.Random(0)
    lost = 0
    with ThreadPoolExecutor(1) as pool:
        scanning = pool.submit(together, "ray", address=cluster.address)
        # while shards are under way, another node in the place of each; here, as Ray starts nodes
        # in a main thread alone
        while lost < 2 and not wait([scanning], 1 + 2 * chance.random()).done:
            cluster.remove_node(
                chance.choice(list(cluster.worker_nodes)), allow_graceful=False
            )
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
            lost += 1
        done, workers = scanning.result()
    same(alone, done)
    assert lost and workers.tally.lost == 0 and len(cluster.worker_nodes) == 2
    # finished work asks nobody, whatever the cluster has left
    begun = time.monotonic()
    again, workers = together("ray", address=cluster.address)
    same(alone, again)
    assert workers._pool is None and time.monotonic() - begun < 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_that_train_together_wait_for_no_lost_node(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks whose place is gone stay where they are without an end, and with them the others."""
    import ray

    monkeypatch.setattr(ray_train, "PATIENCE", 3.0)
    monkeypatch.setattr(ray_train, "SETTLED", 3.0)
    engine._join(ray, Options(address=cluster.address))
    try:
        with ray_train._room(ray, 2, 0.0) as room:
            assert room.stands()
            # never ends by itself: what waits for a worker that will not come
            monkeypatch.setattr(ray_train, "carry_out", lambda *_: time.sleep(3600))
            with ThreadPoolExecutor(1) as pool:
                training = pool.submit(ray_train._together, ray, [], room)
                wait([training], 1)
                cluster.remove_node(next(iter(cluster.worker_nodes)))
                deaths, answers = training.result(timeout=60)
            assert deaths and not answers and not room.stands()
            with pytest.raises(RunError, match="no room any more for 2 workers"):
                room.check()
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
            monkeypatch.setattr(ray_train, "PATIENCE", 60.0)
            room.check()
    finally:
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_what_a_cluster_has_not_is_refused(cluster: Any) -> None:
    with pytest.raises(OptionError, match="the cluster has 0 GPUs"):
        engine.open_pool(Options(gpus_per_worker=1.0, address=cluster.address))


@pytest.mark.slow  # a dozen workers of Ray are killed, and others import in their place
@pytest.mark.filterwarnings("ignore")
def test_a_picture_that_kills_every_worker_is_listed(
    cluster: Any,
    together: Together,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folder / "three", tmp_path / "data" / "three")
    shutil.copytree(folder / "one", tmp_path / "data" / "one")
    victim = "three/" + sorted(p.name for p in (folder / "three").glob("*.png"))[5]
    carry_out = engine.carry_out

    # in this function, as no worker can import these tests
    def holds(rows: bytes, path: str) -> bool:
        import pyarrow as pa

        return path in pa.ipc.open_stream(rows).read_all()["path"].to_pylist()

    def deadly(words: Any, shared: bytes, origin: Any) -> Any:
        # what a decoder that crashes does, to whoever reads this picture
        if "Reading" in words[3] and holds(words[2], victim):
            os.kill(os.getpid(), signal.SIGKILL)
        return carry_out(words, shared, origin)

    monkeypatch.setattr(engine, "carry_out", deadly)
    done, workers = together("ray", tmp_path / "data", address=cluster.address)
    lost = [row for row in done.manifest.to_pylist() if row["status"] == "corrupt"]
    reasons = {row["path"]: row["reason"] for row in lost}
    assert set(reasons) == {victim, "one/broken.png"}
    assert reasons[victim] == "every process that reads it is killed"
    assert workers.tally.lost == 1


def test_a_task_comes_back_in_plain_types() -> None:
    words = ("name", "no job", b"", "rows 0 to 9")
    name, state, result, reason, *_ = engine.carry_out(words, b"", engine._origin())
    assert (name, state, result) == ("name", "failed", b"")
    assert reason
