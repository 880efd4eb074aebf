"""What makes two steps the same one: what decides their result, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.bench import steps
from labelsieve.bench.plan import Cell, Data, Method, Noise, Tower
from labelsieve.bench.steps import Workspace
from labelsieve.models.hugging_face import TINY


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    pq.write_table(
        pa.table({"image": ["a", "b"], "true": ["x", "y"]}),
        tmp_path / "data" / "t.parquet",
    )
    return Workspace(tmp_path / "out", tmp_path / "data")


CELL = Cell(
    Tower("tiny"),
    Data("d", path="t.parquet", truth_column="true"),
    Noise("symmetric", 0.2),
    Method("knn"),
    0,
)
RECORDED = replace(CELL, noise=Noise("recorded", column="worse"))


def name(cell: Cell, place: Workspace) -> str:
    return steps.of([cell], place)[-1].folder.name


def test_shared_steps_are_made_once_and_come_first(place: Workspace) -> None:
    cells = [
        replace(CELL, method=Method(m), seed=s)
        for m in ("knn", "deft", "lemon")
        for s in (0, 1)
    ]
    made = steps.of(cells, place)
    assert sorted(s.kind for s in made[:4]) == [
        "headroom",
        "material",
        "material",
        "truth",
    ]
    assert [s.cell.method.name for s in made[4:] if s.cell] == [
        "deft",
        "deft",
        "knn",
        "knn",
        "lemon",
        "lemon",
    ]
    for step in made:
        assert all(made.index(n) < made.index(step) for n in step.needs)
    kinds = [[n.kind for n in s.needs] for s in made[4:]]
    assert kinds == [["material", "headroom"]] * 6
    assert len({s.folder for s in made}) == len(made)


def test_seeds_draw_planted_errors_but_not_recorded_ones(place: Workspace) -> None:
    for cell, count in ((CELL, 2), (RECORDED, 1)):
        made = steps.of([replace(cell, seed=s) for s in (0, 1)], place)
        assert (
            sum(s.kind == "material" for s in made) == count
            and sum(s.kind == "cell" for s in made) == 2
        )


@pytest.mark.parametrize(
    "other",
    [
        replace(CELL, seed=1),
        replace(CELL, method=Method("lemon")),
        replace(CELL, method=Method("knn", settings={"neighbours": 5})),
        replace(CELL, noise=Noise("symmetric", 0.3)),
        replace(CELL, tower=Tower("tiny", "elsewhere")),
        replace(CELL, data=replace(CELL.data, limit=1)),
        replace(CELL, data=replace(CELL.data, template="a {}")),
        replace(CELL, data=replace(CELL.data, class_names={"x": "cat"})),
        RECORDED,
    ],
)
def test_what_decides_a_result_is_in_the_name(place: Workspace, other: Cell) -> None:
    assert name(other, place) != name(CELL, place)
    assert name(CELL, place).startswith("tiny-d-symmetric-20-knn-seed-0-")


def test_other_content_is_another_cell_and_another_place_is_not(
    place: Workspace, tmp_path: Path
) -> None:
    before = name(CELL, place)
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    assert (
        name(
            CELL, replace(place, data_root=tmp_path / "moved", output=tmp_path / "else")
        )
        == before
    )
    assert name(CELL, replace(place, device="cpu")) != before
    pq.write_table(
        pa.table({"image": ["a", "b"], "true": ["y", "x"]}),
        tmp_path / "data" / "t.parquet",
    )
    assert name(CELL, place) != before


def test_other_weights_are_another_cell(place: Workspace, tmp_path: Path) -> None:
    tower = tmp_path / "tower"
    shutil.copytree(TINY, tower)
    cell = replace(CELL, tower=Tower("mine", str(tower)))
    before = name(cell, place)
    assert name(cell, place) == before
    with (tower / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert name(cell, place) != before


def test_stamps_of_folders_go_by_what_is_in_them(tmp_path: Path) -> None:
    assert steps.stamp(tmp_path / "nowhere") is None
    (tmp_path / "a" / "cat").mkdir(parents=True)
    (tmp_path / "a" / "cat" / "1.png").write_bytes(b"12")
    before = steps.stamp(tmp_path / "a")
    assert before == steps.stamp(tmp_path / "a") is not None
    (tmp_path / "a" / "cat" / "2.png").write_bytes(b"3")
    assert steps.stamp(tmp_path / "a") != before


def test_a_step_is_done_when_its_result_says_so(place: Workspace) -> None:
    step = next(s for s in steps.of([CELL], place) if s.kind == "headroom")
    assert not step.done() and step.result() is None
    step.prepare()
    file = step.folder / "result.json"
    steps.write_result(step.folder, {"state": "failed", "message": "no"})
    assert not step.done() and step.result() == {"state": "failed", "message": "no"}
    gone = place.output / "gone.npy"
    steps.write_result(step.folder, {"state": "done", "features": gone, "f1": 0.75})
    assert not step.done(), "its features are no longer in the cache"
    steps.write_result(step.folder, {"state": "done", "features": file, "f1": 0.75})
    assert step.done()
    text = file.read_text()
    for hurt in (text.replace("0.75", "0.65"), '{"state": "done"}', "{half", ""):
        file.write_text(hurt)
        assert not step.done() and step.result() is None
    file.unlink()
    file.mkdir()
    assert not step.done(), "a folder is no result"


@pytest.mark.parametrize(
    ("text", "file"),
    [("CIFAR-10N", "cifar-10n"), ("../a b/ü%", "a-b"), ("…", "x"), ("v1.2 ", "v1.2")],
)
def test_names_of_files(text: str, file: str) -> None:
    assert steps.slug(text) == file
