from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelsieve.corrections import journal, write_back
from labelsieve.corrections.policy import Policy, plan
from labelsieve.corrections.writers import folder as folders
from labelsieve.data.images import content_hash
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.runs.decisions import Decisions
from labelsieve.tables import CORRECTIONS


@pytest.fixture
def patch(planted: Any) -> pa.Table:
    """All wrong labels corrected, but one image that belongs to no class and is left out."""
    decisions = Decisions(planted.folder)
    for sample_id in planted.wrong:
        decisions.add(sample_id, "accept", planted.truth[sample_id])
    decisions.add(planted.wrong[0], "none")
    return plan(planted.run, decisions, Policy(drop=True))


def expected(planted: Any) -> dict[str, list[str]]:
    """Class -> sorted hashes of its images, as the decisions want them."""
    found: dict[str, list[str]] = {label: [] for label in planted.truth.values()}
    for sample_id, label in planted.truth.items():
        if sample_id != planted.wrong[0]:
            found[label].append(sample_id.rpartition("#")[2])
    return {label: sorted(hashes) for label, hashes in found.items()}


def classes(folder: Path) -> dict[str, list[str]]:
    return {
        f.name: sorted(content_hash(p.read_bytes())[:12] for p in f.iterdir())
        for f in folder.iterdir()
        if f.is_dir() and f.name != ".labelsieve"
    }


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


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder, the history with it."""
    content = {}
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b"folder"
        content[path.relative_to(folder).as_posix()] = (path.stat().st_mtime_ns, data)
    return content


class Killed(BaseException):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int, *, half: bool) -> None:
    """The process dies at step number `after`: before doing it, or after doing it and before anything else."""
    real, count = journal._do, iter(range(10_000))

    def dying(verb: str, old: Path, new: Path) -> None:
        dies = next(count) == after
        if dies and not half:
            raise Killed
        real(verb, old, new)
        if dies:
            raise Killed

    monkeypatch.setattr(journal, "_do", dying)


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


def test_an_interrupted_copy_is_finished_by_the_next_call(
    planted: Any, patch: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = folders._put, iter(range(10_000))

    def dying(old: Path, new: Path, links: bool) -> None:
        if next(count) == 20:
            raise Killed
        real(old, new, links)

    with monkeypatch.context() as patched:
        patched.setattr(folders, "_put", dying)
        with pytest.raises(Killed):
            write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    assert not (
        tmp_path / "out"
    ).exists()  # half a copy never has the name of a whole one
    write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    assert classes(tmp_path / "out") == expected(planted)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_taken_name_gets_a_number_and_nothing_is_replaced(
    planted: Any, patch: pa.Table
) -> None:
    row = next(r for r in patch.to_pylist() if r["new_label"])
    taken = planted.data / row["new_label"] / Path(row["uri"]).name
    taken.write_bytes(b"another picture")
    write_back.in_place(DataSpec(planted.data), patch)
    assert taken.read_bytes() == b"another picture"
    assert taken.with_name(f"{taken.stem}-2{taken.suffix}").exists()


def test_a_new_class_makes_a_folder_and_reversing_removes_it(planted: Any) -> None:
    row = plan(planted.run, None, Policy("auto", 0.9)).slice(0, 1).to_pylist()[0]
    patch = pa.Table.from_pylist(
        [{**row, "new_label": "brand new"}], schema=CORRECTIONS
    )
    before = planted.tree()
    write_back.in_place(DataSpec(planted.data), patch)
    assert (planted.data / "brand new").is_dir()
    write_back.reverse(DataSpec(planted.data), patch)
    assert planted.tree() == before


@pytest.mark.parametrize("label", ["../outside", "/tmp/x", "..", ".hidden", "a/b", ""])
def test_labels_that_lead_elsewhere_are_refused(planted: Any, label: str) -> None:
    row = plan(planted.run, None, Policy("auto", 0.9)).slice(0, 1).to_pylist()[0]
    patch = pa.Table.from_pylist([{**row, "new_label": label}], schema=CORRECTIONS)
    before = planted.tree()
    with pytest.raises(DataError, match="cannot be the name of a class folder"):
        write_back.in_place(DataSpec(planted.data), patch)
    assert planted.tree() == before


def test_files_that_changed_since_the_scan_are_not_touched(
    planted: Any, patch: pa.Table
) -> None:
    row = patch.to_pylist()[3]
    (planted.data / row["uri"]).write_bytes(b"edited")
    before = planted.tree()
    with pytest.raises(DataError, match="is not the file that was scanned"):
        write_back.in_place(DataSpec(planted.data), patch)
    (planted.data / row["uri"]).unlink()
    with pytest.raises(DataError, match="cannot be opened"):
        write_back.check(DataSpec(planted.data), patch)
    assert {k: v for k, v in before.items() if k != row["uri"]} == planted.tree()


def test_what_was_not_applied_cannot_be_reversed(planted: Any, patch: pa.Table) -> None:
    with pytest.raises(RunError, match="was not applied"):
        write_back.reverse(DataSpec(planted.data), patch)


def test_a_copy_never_overwrites(planted: Any, patch: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OptionError, match="exists already"):
        write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    with pytest.raises(
        OptionError, match="lies inside the data"
    ):  # it would be a class of its own in the next scan
        write_back.copy(DataSpec(planted.data), patch, planted.data / "fixed")


def table_patch(path: Path, column: str = "label") -> pa.Table:
    """The second row becomes 'dog', the fourth is left out."""
    from labelsieve.data.sources import open_source

    rows = list(open_source(DataSpec(path, label_column=column)).rows())
    made = []
    for number, label in ((1, "dog"), (3, None)):
        row = rows[number]
        digest = (
            content_hash(row.image)[:12] if isinstance(row.image, bytes) else "0" * 12
        )
        made.append(
            {
                "sample_id": f"{row.key}#{digest}",
                "uri": row.uri,
                "path": row.path,
                "action": "relabel" if label else "drop",
                "old_label": row.label,
                "new_label": label,
                "reason": "",
                "new_uri": None,
            }
        )
    return pa.Table.from_pylist(made, schema=CORRECTIONS)


@pytest.mark.parametrize("interrupted", [None, 0, 1, 2])
def test_tables_in_place_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int | None
) -> None:
    path = tmp_path / "t.csv"
    text = 'image,label,note\na.png,cat,"x, y"\nb.png,cat,\nc.png,dog,q\nd.png,cat,"last"\n'
    path.write_text(text)
    patch = table_patch(path)
    if interrupted is not None:
        with monkeypatch.context() as patched:
            interrupt(patched, interrupted, half=True)
            with pytest.raises(Killed):
                write_back.in_place(DataSpec(path), patch)
    write_back.in_place(DataSpec(path), patch)
    assert (
        path.read_text()
        == 'image,label,note\na.png,cat,"x, y"\nb.png,dog,\nc.png,dog,q\n'
    )
    write_back.reverse(DataSpec(path), patch)
    assert path.read_text() == text


def test_a_parquet_table_goes_back_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": [b"%d" % k for k in range(5)], "label": ["cat"] * 5}),
        path,
        compression="zstd",
    )
    before = path.read_bytes()
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch)
    assert pq.read_table(path)["label"].to_pylist() == ["cat", "dog", "cat", "cat"]
    write_back.reverse(DataSpec(path), patch)
    assert path.read_bytes() == before


def test_a_table_that_was_edited_after_the_patch_is_not_overwritten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch)
    with path.open("a") as file:
        file.write("e.png,cat\n")
    edited = path.read_text()
    with pytest.raises(DataError, match="was changed after the patch"):
        write_back.reverse(DataSpec(path), patch)
    assert path.read_text() == edited


def test_a_copy_of_a_table_keeps_the_format(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n")
    before = os.listdir(tmp_path)
    write_back.copy(DataSpec(path), table_patch(path), tmp_path / "sub" / "new.csv")
    assert (
        tmp_path / "sub" / "new.csv"
    ).read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\n"
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "sub"]) and os.listdir(
        tmp_path / "sub"
    ) == ["new.csv"]
    with pytest.raises(OptionError, match=r"must end in .csv"):
        write_back.copy(DataSpec(path), table_patch(path), tmp_path / "new.parquet")


def two_patches(planted: Any) -> tuple[pa.Table, pa.Table]:
    """Decisions as they were, and later: one taken back, one of another mind, one dropped after all, four more."""
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


def test_a_place_that_became_free_is_kept_for_the_way_back(planted: Any) -> None:
    row, *others = plan(planted.run, None, Policy("auto", 0.9)).to_pylist()
    other = next(
        o for o in others if o["old_label"] not in (row["old_label"], row["new_label"])
    )
    spec, before = DataSpec(planted.data), planted.tree()
    twin = (
        planted.data / other["old_label"] / Path(row["uri"]).name
    )  # would go where the first one was
    (planted.data / other["uri"]).rename(twin)
    other.update(uri=f"{other['old_label']}/{twin.name}", new_label=row["old_label"])
    write_back.in_place(spec, pa.Table.from_pylist([row], schema=CORRECTIONS), "scan")
    write_back.in_place(
        spec, pa.Table.from_pylist([row, other], schema=CORRECTIONS), "scan"
    )
    write_back.reverse(spec, pa.Table.from_pylist([row], schema=CORRECTIONS), "scan")
    assert sorted(planted.tree().values()) == sorted(before.values())


def test_a_table_is_patched_from_what_was_scanned(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = "image,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,cat\n"
    path.write_text(text)
    patch = table_patch(path)
    write_back.in_place(DataSpec(path), patch.slice(0, 1), "scan")
    write_back.in_place(DataSpec(path), patch.slice(1, 1), "scan")
    assert path.read_text() == "image,label\na.png,cat\nb.png,cat\nc.png,dog\n"
    write_back.in_place(DataSpec(path), patch, "scan")
    assert path.read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\n"
    write_back.copy(
        DataSpec(path), patch.slice(0, 1), tmp_path / "out.csv", scan="scan"
    )
    assert (
        tmp_path / "out.csv"
    ).read_text() == "image,label\na.png,cat\nb.png,dog\nc.png,dog\nd.png,cat\n"
    write_back.reverse(DataSpec(path), patch, "scan")
    assert path.read_text() == text


def saved(folder: Path) -> Any:
    datasets = pytest.importorskip(
        "datasets", reason="the extra 'hub' is not installed"
    )
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "x": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": b"%d" % k, "path": None} for k in range(6)],
        "label": [0] * 6,
        "x": list("abcdef"),
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    parts = {"train": made.select(range(4)), "test": made.select(range(4, 6))}
    datasets.DatasetDict(parts).save_to_disk(
        str(folder), num_shards={"train": 2, "test": 1}
    )
    return datasets


def cells(datasets: Any, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    parts = datasets.load_from_disk(str(folder))
    return {
        s: [(r["label"], r["x"], r["image"]["bytes"]) for r in part]
        for s, part in parts.items()
    }


def files(folder: Path) -> dict[str, bytes]:
    found = {
        p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()
    }
    return {
        name: p.read_bytes()
        for name, p in found.items()
        if not name.startswith(".labelsieve")
    }


@pytest.mark.parametrize("interrupted", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("half", [False, True])
def test_a_saved_data_set_in_place_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int | None, half: bool
) -> None:
    folder = tmp_path / "saved"
    datasets = saved(folder)
    before, spec = files(folder), DataSpec(folder)
    patch = table_patch(folder)
    wanted = {
        "train": [(0, "a", b"0"), (1, "b", b"1"), (0, "c", b"2")],
        "test": [(0, "e", b"4"), (0, "f", b"5")],
    }
    write_back.copy(spec, patch, tmp_path / "copy")
    assert cells(datasets, tmp_path / "copy") == wanted and files(folder) == before
    write_back.in_place(spec, patch.slice(1, 1), "scan")
    if interrupted is not None:
        with monkeypatch.context() as patched:
            interrupt(patched, interrupted, half=half)
            with pytest.raises(Killed):
                write_back.in_place(spec, patch, "scan")
    write_back.in_place(spec, patch, "scan")
    assert cells(datasets, folder) == wanted
    write_back.reverse(spec, patch, "scan")
    assert files(folder) == before
    write_back.in_place(spec, patch, "scan")
    with (folder / "train" / "state.json").open("a") as file:
        file.write(" ")
    with pytest.raises(DataError, match="was changed after the patch"):
        write_back.reverse(spec, patch, "scan")
