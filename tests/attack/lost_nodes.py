"""Scans on a Ray cluster of several nodes that are lost at random times.

    python -m attack.lost_nodes --pictures 20000 --times 20
    python -m attack.lost_nodes --data FOLDER --model small

`--model small` writes a CLIP of one block with random weights: the embedded model takes minutes for
as many pictures, and nodes are lost all the same. Each scan must end with the tables of one
process, and when it is started again do nothing. Prints what was lost and what differed, and exits
with 1 where anything did.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Ray gives way to everything else, and on a busy machine would never come to its turn.
os.environ.setdefault("RAY_worker_niceness", "0")

import numpy as np
from PIL import Image

STORE = 100 << 20  # bytes of objects of each node
TABLES = ("scores", "probs", "quality", "duplicates")


def write_pictures(folder: Path, count: int) -> None:
    """Digits of ten classes, every ninth in another folder, with noise so that none is twice."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    chance = np.random.default_rng(0)
    for number in range(count):
        row = number % len(bundle.images)
        pixels = bundle.images[row] * 15 + chance.integers(0, 16, (8, 8))
        place = folder / str((bundle.target[row] + (number % 9 == 0)) % 10)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:06d}.png")


def write_model(folder: Path) -> None:
    """A CLIP of one block for 16 pixels a side, random weights, the words of the embedded model."""
    import torch
    from transformers import AutoTokenizer, CLIPConfig, CLIPImageProcessor, CLIPModel

    from labelsieve.models.hugging_face import TINY

    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(TINY)
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": len(words),
        "max_position_embeddings": 64,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    image = {"image_size": 16, "patch_size": 8}
    config = CLIPConfig(
        text_config=tower | text, vision_config=tower | image, projection_dim=32
    )
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16).save_pretrained(folder)


def lose(cluster: Any, chance: random.Random, pause: float, scanning: Any) -> int:
    """Take a node away every few seconds, at random, and add another, until the scan has ended.

    In the main thread: in another one Ray starts no nodes.
    """
    lost = 0
    while not wait([scanning], pause * 2 * chance.random()).done:
        victim = chance.choice(list(cluster.worker_nodes))
        cluster.remove_node(victim, allow_graceful=False)
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
        lost += 1
    return lost


def scanned(data: Path, root: Path, model: str, **engine: Any) -> tuple[Any, Any]:
    """A scan with a cache of its own, by a cluster where its address is given."""
    import contextlib

    from labelsieve.data.load import load
    from labelsieve.engines import Options
    from labelsieve.engines._elsewhere import working
    from labelsieve.pipeline.scan import scan

    os.environ["LABELSIEVE_CACHE"] = str(root / "cache")
    spec = load(str(data))
    helpers: Any = contextlib.nullcontext()
    if engine:
        helpers = working("ray", spec, Options(**engine))
    with helpers as workers:
        run = scan(spec, output=root / "run", method="zero-shot", model=model)
    return run, workers


def attack(
    data: Path | None, pictures: int, times: int, pause: float, model: str
) -> int:
    """How many scans did not end as they must."""
    import ray
    from ray.cluster_utils import Cluster

    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if model == "small":
            model = str(root / "model")
            write_model(Path(model))
        if data is None:
            data = root / "data"
            write_pictures(data, pictures)
            time.sleep(2.5)
        begun = time.monotonic()
        alone, _ = scanned(data, root / "alone", model)
        print(
            f"{len(alone.scores):,} pictures, one process: "
            f"{time.monotonic() - begun:.0f} s",
            flush=True,
        )
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=STORE)
        for number in range(times):
            begun = time.monotonic()
            options = {"address": cluster.address, "workers": 2, "shard": 256}
            with ThreadPoolExecutor(1) as pool:
                scanning = pool.submit(scanned, data, root / "ray", model, **options)
                lost = lose(cluster, random.Random(number), pause, scanning)
                run, workers = scanning.result()
            seconds = time.monotonic() - begun
            bad = differing(alone.folder, run.folder)
            ids = run.scores["sample_id"]
            assert len(ids) == len(set(ids)) == len(alone.scores), (
                "an id twice, or none"
            )
            _, again = scanned(data, root / "ray", model, **options)
            idle = again._pool is None
            wrong += bool(bad) or not idle
            print(
                f"scan {number + 1}: {lost} nodes lost, {workers.tally.again} shards "
                f"again, {seconds:.0f} s, differing: {', '.join(bad) or 'none'}, "
                f"started again it {'did nothing' if idle else 'worked'}",
                flush=True,
            )
            ray.shutdown()
            shutil.rmtree(root / "ray")
        cluster.shutdown()
    print(f"{wrong} of {times} scans ended otherwise than they must")
    return wrong


def differing(one: Path, other: Path) -> list[str]:
    """Tables that have other bytes."""
    names = [f"{name}.parquet" for name in TABLES]
    return [n for n in names if (one / n).read_bytes() != (other / n).read_bytes()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="pictures in class folders; else digits"
    )
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--pause", type=float, default=8.0)
    parser.add_argument("--model", default="tiny", help="or small, or a folder")
    words = parser.parse_args()
    told = (words.data, words.pictures, words.times, words.pause, words.model)
    sys.exit(attack(*told) > 0)
