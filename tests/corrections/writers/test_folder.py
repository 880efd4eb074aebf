from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures.corrections import Killed, classes, damage, expected, tree

from labelsieve.corrections import write_back
from labelsieve.corrections.patch import patch_id, read_patch, write_patch
from labelsieve.corrections.policy import Policy, plan
from labelsieve.corrections.writers import folder as folders
from labelsieve.data.sources import STATE
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError
from labelsieve.tables import CORRECTIONS


def test_an_interrupted_copy_is_finished_by_the_next_call(
    planted: Any, patch: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = folders.put, iter(range(10_000))

    def dying(old: Path, new: Path, links: bool) -> None:
        if next(count) == 20:
            raise Killed
        real(old, new, links)

    with monkeypatch.context() as patched:
        patched.setattr(folders, "put", dying)
        with pytest.raises(Killed):
            write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    assert not (
        tmp_path / "out"
    ).exists()  # half a copy never has the name of a whole one
    write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    assert classes(tmp_path / "out") == expected(planted)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


@pytest.mark.parametrize("links", [False, True])
def test_what_an_interrupted_copy_left_is_not_believed(
    planted: Any, patch: pa.Table, tmp_path: Path, links: bool
) -> None:
    """Damage, second names of other files and files of strangers, in the half copy."""
    spec, output = DataSpec(planted.data), tmp_path / "out"
    write_back.copy(spec, patch, output, links=links)
    right = classes(output)
    half = tmp_path / ".out.labelsieve-partial"
    write_back.copy(spec, patch, half, links=links)
    (half / STATE / "copying").write_text(patch_id(patch))
    shutil.rmtree(output)

    damaged, cut, other, shared, *_ = sorted(half.rglob("*.png"))
    content = {file: file.read_bytes() for file in (damaged, cut, other, shared)}
    for file in content:
        file.unlink()
    damaged.write_bytes(content[damaged][:-1] + b"x")
    cut.write_bytes(b"")
    mine = tmp_path / "mine.png"
    mine.write_bytes(content[other])
    os.link(mine, other)
    original = next(p for p in planted.data.rglob("*.png") if p.name == shared.name)
    os.link(original, shared)
    (half / "one" / "stranger.png").write_bytes(content[cut])
    (half / "stranger").mkdir()
    (half / STATE / "journal.json").write_text("{}")

    write_back.copy(spec, patch, output, links=links)
    assert classes(output) == right
    for file, data in content.items():
        assert (output / file.relative_to(half)).read_bytes() == data
    assert not other.exists() and mine.stat().st_nlink == 1
    assert (output / shared.relative_to(half)).samefile(original) == links
    assert not (output / "stranger").exists()
    assert not (output / STATE / "journal.json").exists()
    assert write_back.copy(spec, patch, output, links=links).already


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


def one_row(planted: Any, **changed: Any) -> pa.Table:
    row = plan(planted.run, None, Policy("auto", 0.9)).slice(0, 1).to_pylist()[0]
    return pa.Table.from_pylist([{**row, **changed}], schema=CORRECTIONS)


def hostile(planted: Any) -> dict[str, dict[str, Any]]:
    """Changes of a row that would move a file from, or to, where no image is."""
    row = one_row(planted).to_pylist()[0]
    home = planted.data.parent / "home"
    home.mkdir()
    shutil.copy(planted.data / row["uri"], home / "a.png")
    label = row["old_label"]
    (planted.data / "linked").symlink_to(home)
    inner = planted.data / label / "inner"
    inner.symlink_to(home)
    shutil.copy(home / "a.png", planted.data / label / ".hidden.png")
    shutil.copy(home / "a.png", planted.data / "loose.png")
    (planted.data / label / "folder.png").mkdir()
    os.mkfifo(planted.data / label / "pipe.png")
    uris = {
        "absolute": str(home / "a.png"),
        "climbing": "../home/a.png",
        "climbing inside": f"{label}/../../home/a.png",
        "escaped": f"{label}%2F..%2F..%2Fhome%2Fa.png",
        "through a link": "linked/a.png",
        "through an inner link": f"{label}/inner/a.png",
        "hidden": f"{label}/.hidden.png",
        "in no class": "loose.png",
        "a folder": f"{label}/folder.png",
        "a pipe": f"{label}/pipe.png",
        "nowhere": "",
    }
    changes = {name: {"uri": uri} for name, uri in uris.items()}
    return {**changes, "another label": {"old_label": "nine"}}


def test_rows_that_lead_out_are_refused_by_name(planted: Any, tmp_path: Path) -> None:
    changes = hostile(planted)
    before = names_below(tmp_path)
    spec = DataSpec(planted.data)
    for name, changed in changes.items():
        patch = one_row(planted, **changed)
        calls = [
            lambda p=patch: write_back.check(spec, p),
            lambda p=patch: write_back.in_place(spec, p),
            lambda p=patch: write_back.copy(spec, p, tmp_path / "out"),
        ]
        # what is only read may lie behind a link, as it did for the scan
        for call in calls[:2] if name == "through an inner link" else calls:
            with pytest.raises(DataError, match=r"row of '.*' does not fit the data"):
                call()
    shutil.rmtree(tmp_path / ".out.labelsieve-partial", ignore_errors=True)
    assert names_below(tmp_path) == before


def names_below(folder: Path) -> list[str]:
    """Every file and folder but our own history."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*")]
    return sorted(name for name in names if ".labelsieve" not in name)


def test_one_file_is_moved_once(planted: Any) -> None:
    row = one_row(planted).to_pylist()[0]
    again = {**row, "sample_id": "again#" + row["sample_id"].rpartition("#")[2]}
    patch = pa.Table.from_pylist([row, again], schema=CORRECTIONS)
    with pytest.raises(DataError, match="two rows"):
        write_back.check(DataSpec(planted.data), patch)


def test_a_listing_calls_files_as_the_disk_does(planted: Any) -> None:
    uri = one_row(planted).to_pylist()[0]["uri"]
    patch = one_row(planted, path="harmless\x1b[2K.png", reason="\x1b[1A")
    (line,) = write_back.check(DataSpec(planted.data), patch)
    assert Path(uri).parent.name in line and "harmless" not in line
    assert line.isprintable()


@pytest.mark.parametrize("field", ["uri", "new_uri"])
@pytest.mark.parametrize("bad", ["../home/x", "{home}/x", "out/x", "a%2F..%2Fx"])
def test_a_record_that_leads_out_is_not_followed(
    planted: Any, tmp_path: Path, field: str, bad: str
) -> None:
    spec, patch = DataSpec(planted.data), one_row(planted)
    write_back.in_place(spec, patch, "scan")
    home = tmp_path / "home"
    home.mkdir()
    (home / "x").write_text("mine")
    (planted.data / "out").symlink_to(home)
    forge(planted.data, {field: bad.format(home=home)})
    before = names_below(tmp_path)
    calls = [
        lambda: write_back.reverse(spec, patch, "scan"),
        lambda: write_back.check(spec, one_row(planted, new_label="new"), "scan"),
        lambda: write_back.in_place(spec, one_row(planted, new_label="n"), "scan"),
        lambda: write_back.copy(spec, patch, tmp_path / "copy", scan="scan"),
    ]
    for call in calls:
        with pytest.raises(DataError):
            call()
    shutil.rmtree(tmp_path / ".copy.labelsieve-partial", ignore_errors=True)
    assert names_below(tmp_path) == before and (home / "x").read_text() == "mine"


def forge(data: Path, row: dict[str, Any], **facts: Any) -> None:
    """Change what the record of the one patch says."""
    (record,) = (data / ".labelsieve").glob("applied-*.parquet")
    table, known = read_patch(record)
    rows = [{**table.to_pylist()[0], **row}]
    patch = pa.Table.from_pylist(rows, schema=CORRECTIONS)
    write_patch(patch, record, {**known, **facts})


@pytest.mark.parametrize("folders", [["../home"], ["{home}"], "text", [3], [None]])
def test_folders_that_a_record_names_are_not_removed_elsewhere(
    planted: Any, tmp_path: Path, folders: Any
) -> None:
    spec, patch = DataSpec(planted.data), one_row(planted)
    home = tmp_path / "home"
    home.mkdir()
    write_back.in_place(spec, patch, "scan")
    if isinstance(folders, list):
        folders = [str(home) if f == "{home}" else f for f in folders]
    forge(planted.data, {}, made_folders=folders)
    with pytest.raises(DataError):
        write_back.reverse(spec, patch, "scan")
    assert home.is_dir()


def test_a_link_that_a_record_moves_opens_no_way_out(
    planted: Any, tmp_path: Path
) -> None:
    """The first step would put a link to a folder where the second goes through."""
    spec, patch = DataSpec(planted.data), one_row(planted)
    home = tmp_path / "home"
    home.mkdir()
    write_back.in_place(spec, patch, "scan")
    (record,) = (planted.data / ".labelsieve").glob("applied-*.parquet")
    table, facts = read_patch(record)
    row = table.to_pylist()[0]
    (planted.data / "zero" / "link").symlink_to(home)
    first = {**row, "sample_id": "a#1", "uri": "way", "new_uri": "zero/link"}
    second = {**row, "sample_id": "b#1", "uri": "way/evil.png"}
    rows = pa.Table.from_pylist([first, second], schema=CORRECTIONS)
    write_patch(rows, record, facts)
    with pytest.raises(DataError, match="not where the patch put it"):
        write_back.reverse(spec, patch, "scan")
    assert list(home.iterdir()) == []


def test_the_history_is_a_folder_of_its_own(planted: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (planted.data / ".labelsieve").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not a folder of its own"):
        write_back.in_place(DataSpec(planted.data), one_row(planted))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_copy_of_corrected_data_is_that_of_scanned_data(
    planted: Any, patch: pa.Table, tmp_path: Path
) -> None:
    spec = DataSpec(planted.data)
    write_back.copy(spec, patch, tmp_path / "before", scan="scan", links=False)
    write_back.in_place(spec, patch, "scan")
    write_back.copy(spec, patch, tmp_path / "after", scan="scan", links=False)
    one, other = (set(tree(tmp_path / n)) for n in ("before", "after"))
    assert one == other


def test_class_folders_may_be_links_where_they_are_only_read(
    planted: Any, tmp_path: Path
) -> None:
    patch = one_row(planted)
    row = patch.to_pylist()[0]
    (planted.data / row["old_label"]).rename(tmp_path / "elsewhere")
    (planted.data / row["old_label"]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is not an image of the data"):
        write_back.copy(DataSpec(planted.data), patch, tmp_path / "out")
    # the user allows links into that folder, and they are read; written to they are not
    spec = DataSpec(planted.data, root=str(tmp_path / "elsewhere"))
    write_back.copy(spec, patch, tmp_path / "out")
    moved = tmp_path / "out" / row["new_label"] / Path(row["uri"]).name
    assert moved.is_file()
    with pytest.raises(DataError, match="does not lie inside"):
        write_back.in_place(spec, patch)


def test_a_damaged_file_that_was_left_out_is_not_put_back(
    planted: Any, patch: pa.Table
) -> None:
    spec = DataSpec(planted.data)
    write_back.in_place(spec, patch, "scan")
    dropped = damage(planted.data / ".labelsieve" / "dropped", "flip")
    before = planted.tree()
    row = next(r for r in patch.to_pylist() if r["new_label"])
    other = pa.Table.from_pylist([row], schema=CORRECTIONS)
    for call in (write_back.reverse, write_back.in_place):
        with pytest.raises(DataError, match="is not the file that was scanned") as told:
            call(spec, other, "scan")
        assert dropped.name in told.value.what
    assert planted.tree() == before


@pytest.mark.parametrize("links", [False, True])
def test_a_copy_that_is_not_whole_is_named(
    planted: Any, patch: pa.Table, tmp_path: Path, links: bool
) -> None:
    spec, output = DataSpec(planted.data), tmp_path / "out"
    write_back.copy(spec, patch, output, links=links)
    assert write_back.copy(spec, patch, output, links=links).already
    moved = next(r for r in patch.to_pylist() if r["new_label"])
    stays = next(p for p in output.rglob("*.png") if p.name != Path(moved["uri"]).name)
    for file in (output / moved["new_label"] / Path(moved["uri"]).name, stays):
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(OptionError, match=f"{file.name}' is missing"):
            write_back.copy(spec, patch, output, links=links)
        file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(OptionError, match=f"{file.name}' is missing"):
            write_back.copy(spec, patch, output, links=links)
        file.write_bytes(data)
    assert write_back.copy(spec, patch, output, links=links).already
