"""Which steps run when: limits, memory, what is skipped, and processes that break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve.bench import schedule
from labelsieve.bench.plan import Cell, Data, Method, Noise, Tower
from labelsieve.bench.steps import Step, write_result
from labelsieve.errors import OptionError, RunError


def cell(
    folder: Path, method: str, tower: str = "tiny", *needs: Step, seed: int = 0
) -> Step:
    made = Cell(Tower(tower), Data("d"), Noise("pair", 0.1), Method(method), seed)
    return Step("cell", folder / f"{tower}-{method}-{seed}", {}, tower, needs, made)


def waiting(
    steps: list[Step], jobs: int = 8, memory: float = 1000.0
) -> schedule._Schedule:
    return schedule._Schedule(steps, jobs, memory)


def test_limits() -> None:
    assert schedule.limits("3") == (3, float("inf"))
    jobs, memory = schedule.limits("auto")
    assert jobs == schedule.cores() >= 1 and 0 < memory < schedule.free_mib() * 1.5
    for wrong in ("0", "-1", "many", "1.5", ""):
        with pytest.raises(OptionError, match="--jobs"):
            schedule.limits(wrong)


def test_memory_goes_by_what_finished_cells_took(tmp_path: Path) -> None:
    tower = Step("headroom", tmp_path / "t", {}, "tiny")
    knn, other = (cell(tmp_path, "knn", "tiny", tower, seed=s) for s in (0, 1))
    deft, big = cell(tmp_path, "deft", "tiny", tower), cell(tmp_path, "knn", "big")
    found = waiting([tower, knn, other, deft, big])
    assert found._estimate(big) == found._estimate(tower) == schedule.UNKNOWN_MIB
    found.results[tower] = {"state": "done", "peak_mib": 400.0}
    assert found._estimate(deft) == schedule.TRAINING * 400
    found.results[deft] = {"state": "done", "peak_mib": 900.0}
    assert found._estimate(other) == pytest.approx(schedule.HEADROOM * 900), (
        "nothing is known of knn, so the largest of the tower"
    )
    found.results[knn] = {"state": "done", "peak_mib": 500.0}
    assert found._estimate(other) == pytest.approx(schedule.HEADROOM * 500)
    third = cell(tmp_path, "knn", "tiny", tower, seed=2)
    found.results[third] = {"state": "done", "peak_mib": 700.0}
    assert found._estimate(other) == pytest.approx(schedule.HEADROOM * 700), (
        "the most that any seed took"
    )
    assert found._estimate(big) == schedule.UNKNOWN_MIB, "another tower says nothing"


def test_only_what_fits_runs_beside_others(tmp_path: Path) -> None:
    cells = [cell(tmp_path, "knn", seed=s) for s in range(4)]
    found = waiting(cells, jobs=3, memory=1300.0)
    found.results[cells[0]] = {"state": "done", "peak_mib": 500.0}
    running: Any = {}
    found.running = running
    assert found._fits(cells[1])
    running[cells[1]] = None
    assert found._fits(cells[2])
    running[cells[2]] = None
    assert not found._fits(cells[3]), "three times 600 are more than 1300"
    found.memory = float("inf")
    assert found._fits(cells[3])
    found.jobs = 2
    assert not found._fits(cells[3])
    running.clear()
    found.memory = 1.0
    assert found._fits(cells[3]), "alone, everything may try"


def test_on_an_accelerator_auto_runs_one_at_a_time(tmp_path: Path) -> None:
    tower = Step("headroom", tmp_path / "t", {}, "tiny")
    cells = [cell(tmp_path, "knn", "tiny", tower, seed=s) for s in range(2)]
    found = waiting([tower, *cells], memory=1e9)
    running: Any = {cells[0]: None}
    found.running = running
    for device, fits in (("cpu", True), ("cuda:0", False)):
        found.results[tower] = {"state": "done", "peak_mib": 1.0, "device": device}
        assert found._fits(cells[1]) is fits


def test_threads_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "cores", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cells = [cell(tmp_path, "knn", seed=s) for s in range(3)]
    assert waiting(cells, jobs=2).threads == 6 and waiting(cells, jobs=12).threads == 4
    assert waiting(cells, jobs=2)._environment()["OMP_NUM_THREADS"] == "6"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert waiting(cells, jobs=2)._environment()["OMP_NUM_THREADS"] == "2"


def test_what_is_done_is_left_alone_and_so_is_what_only_it_needs(
    tmp_path: Path,
) -> None:
    shared, own = (Step("material", tmp_path / n, {}) for n in ("shared", "own"))
    one, two = (
        cell(tmp_path, "knn", "tiny", shared, own),
        cell(tmp_path, "deft", "tiny", shared),
    )
    one.folder.mkdir()
    write_result(one.folder, {"state": "done"})
    found = waiting([shared, own, one, two])
    assert found.waiting == [shared, two] and list(found.results) == [one]


def test_a_step_that_breaks_is_told_and_stops_only_those_that_need_it(
    tmp_path: Path,
) -> None:
    broken = Step("no such kind", tmp_path / "broken", {})
    needs = cell(tmp_path, "knn", "tiny", broken)
    done = cell(tmp_path, "deft")
    done.folder.mkdir()
    write_result(done.folder, {"state": "done"})
    found = schedule.run([broken, needs, done], 2)
    assert (
        found[broken]["state"] == "failed"
        and "KeyError: 'no such kind' (see" in found[broken]["message"]
    )
    assert found[needs] == {"state": "skipped", "message": found[broken]["message"]}
    assert found[done] == {"state": "done"} and not (needs.folder / "job.json").exists()


def test_a_killed_step_is_told_without_its_log(tmp_path: Path) -> None:
    step = Step("cell", tmp_path, {})
    (tmp_path / "log.txt").write_text("half a word")
    assert (
        "killed by signal 9; is there enough memory?"
        in schedule._crashed(step, -9)["message"]
    )
    (tmp_path / "log.txt").write_text("")
    assert "it ended without a word" in schedule._crashed(step, 1)["message"]


def test_two_benches_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        schedule.alone(tmp_path),
        pytest.raises(RunError, match="Another bench"),
        schedule.alone(tmp_path),
    ):
        pass
    with schedule.alone(tmp_path):
        pass


def test_the_memory_of_a_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{100 << 20}\n")
    monkeypatch.setattr(schedule, "GROUP", tmp_path)
    assert schedule.free_mib() == 200
    (tmp_path / "memory.max").write_text("max\n")
    assert schedule.free_mib() > 200
