from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures.corrections import (
    Killed,
    classes,
    expected,
    interrupt,
    table_patch,
    tree,
)

from labelsieve.corrections import write_back
from labelsieve.corrections.patch import read_patch
from labelsieve.corrections.policy import Policy, plan
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.tables import CORRECTIONS


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_equals_the_truth_and_leaves_the_data_alone(
    planted: Any, patch: pa.Table, tmp_path: Path, links: bool
) -> None:
    before = planted.tree()
    result = write_back.copy(
        DataSpec(planted.data), patch, tmp_path / "out", links=links
    )
    assert classes(tmp_path / "out") == expected(planted)
    assert planted.tree() == before and (result.relabelled, result.dropped) == (
        len(planted.wrong) - 1,
        1,
    )
    some = next(p for p in (tmp_path / "out").rglob("*.png"))
    assert (some.stat().st_nlink > 1) == links


def test_in_place_equals_the_truth_and_reverses_to_the_byte(
    planted: Any, patch: pa.Table
) -> None:
    before = planted.tree()
    spec = DataSpec(planted.data)
    write_back.in_place(spec, patch)
    assert classes(planted.data) == expected(planted)
    assert write_back.in_place(spec, patch).already
    write_back.reverse(spec, patch)
    assert planted.tree() == before
    assert write_back.reverse(spec, patch).already
    write_back.in_place(spec, patch)
    assert classes(planted.data) == expected(planted)


def test_a_copy_knows_its_patch_and_can_be_reversed(
    planted: Any, tmp_path: Path
) -> None:
    patch = plan(planted.run, None, Policy("auto", 0.9))
    before = planted.tree()
    write_back.copy(DataSpec(planted.data), patch, tmp_path / "out", links=False)
    write_back.reverse(DataSpec(tmp_path / "out"), patch)
    planted.data = tmp_path / "out"
    assert planted.tree() == before


def test_the_patch_works_on_another_copy_of_the_data(
    planted: Any, patch: pa.Table, tmp_path: Path
) -> None:
    shutil.copytree(planted.data, tmp_path / "elsewhere")
    write_back.in_place(DataSpec(tmp_path / "elsewhere"), patch)
    assert classes(tmp_path / "elsewhere") == expected(planted) != classes(planted.data)


@pytest.mark.parametrize("half", [False, True])
def test_interrupted_anywhere_the_next_call_finishes(
    planted: Any,
    patch: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half: bool,
) -> None:
    wanted = expected(planted)
    before = planted.tree()
    steps = len(patch) + 1
    for after in range(0, steps, 3):
        here = tmp_path / f"d{after}"
        shutil.copytree(planted.data, here)
        with monkeypatch.context() as patched:
            interrupt(patched, after, half=half)
            with pytest.raises(Killed):
                write_back.in_place(DataSpec(here), patch)
        assert (
            sum(len(h) for h in classes(here).values()) >= len(planted.truth) - 1
        )  # nothing is lost at any time
        write_back.in_place(DataSpec(here), patch)
        assert classes(here) == wanted
        with monkeypatch.context() as patched:
            interrupt(patched, after, half=half)
            with pytest.raises(Killed):
                write_back.reverse(DataSpec(here), patch)
        write_back.reverse(DataSpec(here), patch)
        planted.data = here
        assert planted.tree() == before


def test_what_was_not_applied_cannot_be_reversed(planted: Any, patch: pa.Table) -> None:
    with pytest.raises(RunError, match="was not applied"):
        write_back.reverse(DataSpec(planted.data), patch)


def test_folders_from_a_backup_are_corrected_again(
    planted: Any, patch: pa.Table, tmp_path: Path
) -> None:
    before = planted.tree()
    shutil.copytree(planted.data, tmp_path / "backup")
    spec = DataSpec(planted.data)
    write_back.in_place(spec, patch, "scan")
    for folder in (tmp_path / "backup").iterdir():
        shutil.rmtree(planted.data / folder.name, ignore_errors=True)
        shutil.copytree(folder, planted.data / folder.name)
    assert len(write_back.check(spec, patch, "scan")) == len(patch)
    assert not write_back.in_place(spec, patch, "scan").already
    assert classes(planted.data) == expected(planted)
    assert write_back.check(spec, patch, "scan") == []
    assert write_back.in_place(spec, patch, "scan").already
    write_back.reverse(spec, patch, "scan")
    assert planted.tree() == before


def test_one_file_from_a_backup_is_corrected_again(
    planted: Any, patch: pa.Table
) -> None:
    spec = DataSpec(planted.data)
    write_back.in_place(spec, patch)
    (record,) = (planted.data / ".labelsieve").glob("applied-*.parquet")
    row = next(r for r in read_patch(record)[0].to_pylist() if r["new_uri"])
    (planted.data / row["new_uri"]).rename(planted.data / row["uri"])
    assert len(write_back.check(spec, patch)) == 1
    write_back.in_place(spec, patch)
    assert classes(planted.data) == expected(planted)


def test_another_patch_of_the_scan_was_taken_back_already(planted: Any) -> None:
    first, later = two_patches(planted)
    spec = DataSpec(planted.data)
    write_back.in_place(spec, first, "scan")
    write_back.reverse(spec, later, "scan")
    assert write_back.reverse(spec, later, "scan").already


def test_a_copy_never_overwrites(planted: Any, patch: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="exists already"):
        write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    with pytest.raises(
        OptionError, match="lies inside the data"
    ):  # it would be a class of its own in the next scan
        write_back.copy(DataSpec(planted.data), patch, planted.data / "fixed")


def two_patches(planted: Any) -> tuple[pa.Table, pa.Table]:
    """Decisions as they were, and later.

    One is taken back, one of another mind, one dropped after all, and there are four more.
    """
    every = plan(planted.run, None, Policy("auto", 0.9)).to_pylist()
    first, later = every[:5], [dict(row) for row in every[1:9]]
    third = next(
        n
        for n in ("zero", "one", "two")
        if n not in (later[0]["old_label"], later[0]["new_label"])
    )
    later[0].update(new_label=third)
    later[1].update(new_label=None, action="drop")
    return tuple(
        pa.Table.from_pylist(rows, schema=CORRECTIONS) for rows in (first, later)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("half", [False, True])
def test_a_later_patch_of_the_same_scan_takes_the_place_of_the_earlier(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    first, later = two_patches(planted)
    before = planted.tree()
    shutil.copytree(planted.data, tmp_path / "fresh")
    write_back.in_place(DataSpec(tmp_path / "fresh"), later, "scan")
    wanted = classes(tmp_path / "fresh")
    for after in (None, *range(0, 9, 2)):
        here = tmp_path / f"d{after}"
        shutil.copytree(planted.data, here)
        spec = DataSpec(here)
        write_back.in_place(spec, first, "scan")
        assert (
            len(write_back.check(spec, later, "scan")) == 7
        )  # three of the eight stay, two change, one goes back, four new
        write_back.copy(spec, later, tmp_path / f"copy{after}", scan="scan")
        assert classes(tmp_path / f"copy{after}") == wanted
        if after is not None:
            with monkeypatch.context() as patched:
                interrupt(patched, after, half=half)
                with pytest.raises(Killed):
                    write_back.in_place(spec, later, "scan")
            interrupted = tree(here)
            assert write_back.unfinished(spec)
            with pytest.raises(RunError, match="are unfinished"):
                write_back.check(spec, later, "scan")
            assert tree(here) == interrupted  # a listing does not finish
        write_back.in_place(spec, later, "scan")
        assert classes(here) == wanted
        assert write_back.reverse(spec, first, "scan").where == here
        planted.data = here
        assert planted.tree() == before


@pytest.mark.parametrize("kind", ["table", "shards", "saved"])
def test_a_refused_change_leaves_no_byte(tmp_path: Path, kind: str) -> None:
    """The originals would be kept outside of the data: nothing that was prepared stays."""
    data = tmp_path / "data"
    data.mkdir()
    path = data if kind == "shards" else data / "t.csv"
    rows = "image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n"
    (data / "t.csv").write_text(rows)
    if kind == "shards":
        (data / "u.csv").write_text(rows)
    if kind == "saved":
        datasets = pytest.importorskip("datasets", reason="no extra 'hub'")
        (data / "t.csv").unlink()
        columns = {"image": [b"a", b"b", b"c", b"d"], "label": list("aaba")}
        datasets.Dataset.from_dict(columns).save_to_disk(str(data))
        path = data
    patch = table_patch(path)
    state = data / ".labelsieve"
    state.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (state / "originals").symlink_to(tmp_path / "elsewhere")
    (state / "lock").touch()
    before = {name: content for name, (_, content) in tree(data).items()}
    with pytest.raises(DataError, match=r"does not lie inside|lies outside of"):
        write_back.in_place(DataSpec(path), patch, "scan")
    assert {name: content for name, (_, content) in tree(data).items()} == before
    assert list((tmp_path / "elsewhere").iterdir()) == []
