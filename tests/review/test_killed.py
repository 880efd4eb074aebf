"""The server is killed while two people decide: what it acknowledged is there afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from labelsieve.runs.decisions import Decisions
from labelsieve.runs.standing import of_run

pytest.importorskip("uvicorn", reason="the extra 'review' is not installed")
httpx = pytest.importorskip("httpx", reason="the extra 'test' is not installed")

ROUNDS = 2


def serve(folder: Any) -> tuple[subprocess.Popen[str], str]:
    words = [sys.executable, "-m", "labelsieve", "review", str(folder)]
    process = subprocess.Popen(
        [*words, "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().split()[-1]


class Person(threading.Thread):
    """Decides one image after the other until nobody answers any more."""

    def __init__(self, address: str, window: str, rows: list[tuple[str, str]]) -> None:
        super().__init__()
        self.address, self.window, self.rows = address, window, rows
        self.acknowledged: dict[str, str] = {}

    def run(self) -> None:
        with httpx.Client(timeout=20) as client:
            for sample_id, verdict in self.rows:
                form = {
                    "w": self.window,
                    "sample_id": sample_id,
                    "verdict": verdict,
                    "seen": "0",
                    "show": "all",
                }
                try:
                    reply = client.post(
                        f"{self.address}decide",
                        data=form,
                        headers={"HX-Request": "true"},
                    )
                except httpx.TransportError:
                    return
                if reply.is_success:
                    self.acknowledged[sample_id] = verdict


def test_every_acknowledged_answer_outlives_a_killed_server(planted: Any) -> None:
    random.seed(0)
    ids = of_run(planted.run).ids.to_pylist()
    saved: dict[str, str] = {}
    for number in range(ROUNDS):
        process, address = serve(planted.folder)
        # each round has images of its own, half of them for each person
        mine = ids[number::ROUNDS]
        plan = [(each, random.choice(["keep", "none", "skip"])) for each in mine]
        people = [Person(address, f"w{k}", plan[k::2]) for k in (0, 1)]
        for person in people:
            person.start()
        # while both are at it, after the first answers
        while sum(len(p.acknowledged) for p in people) < 6:
            time.sleep(0.002)
            assert any(p.is_alive() for p in people)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for person in people:
            person.join()
            saved |= person.acknowledged
        assert len(saved) < len(ids)
        kept = Decisions(planted.folder)
        on_disk = {i: d.verdict for i, d in kept.all_current().items()}
        kept.close()
        assert saved.items() <= on_disk.items()
    # and a new server goes on with them
    process, address = serve(planted.folder)
    cells = httpx.get(f"{address}cells?show=all&decided=any&count=100&w=x").json()
    process.kill()
    process.communicate()
    decided = sum(bool(cell.get("decided")) for cell in cells["cells"])
    assert decided >= len(saved)
