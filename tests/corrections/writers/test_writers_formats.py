"""What corrections do to data of every format: in place and back, copies, interrupted."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures import annotated
from fixtures.corrections import Killed, correction, damage, interrupt

from labelsieve.corrections import write_back
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._layout import fixed_part, has_pattern, together
from labelsieve.data.sources._unpacked import whole_suffix
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError
from labelsieve.tables import CORRECTIONS


def coco(folder: Path) -> Path:
    return annotated.write_json(folder / "instances.json", annotated.coco(folder))


def shards(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    for shard in range(3):
        cells = [f"{shard}{n}".encode() for n in range(4)]
        labels = ["red", "green", "blue", "red"]
        table = pa.table({"image": cells, "label": labels, "note": ["x"] * 4})
        pq.write_table(table, folder / "data" / f"train-{shard:05d}-of-00003.parquet")
    return folder


def parquet(folder: Path) -> Path:
    cells = [f"{n}".encode() for n in range(4)]
    table = pa.table({"image": cells, "label": ["red", "green", "blue", "red"]})
    pq.write_table(table, folder / "t.parquet")
    return folder / "t.parquet"


def csv_pattern(folder: Path) -> Path:
    annotated.pictures(folder)
    for part in "ab":
        (folder / f"{part}.csv").write_text(
            f'image,label,note\n1.png,red,{part}\nsub/2.png,green,"x, y"\n4.png,blue,\n'
        )
    return folder / "*.csv"


LINES = "image,label,note\n1.png,red,x\nsub/2.png,green,y\n4.png,blue,\n"


def packed(folder: Path) -> Path:
    annotated.pictures(folder)
    (folder / "t.csv.gz").write_bytes(gzip.compress(LINES.encode()))
    return folder / "t.csv.gz"


def packed_lines(folder: Path) -> Path:
    annotated.pictures(folder)
    lines = '{"image": "1.png", "label": "red"}\n{"image": "4.png", "label": "blue"}\n'
    # twice in one file, as several rows are wanted
    stream = pa.compress(2 * lines.encode(), codec="zstd", asbytes=True)
    (folder / "t.jsonl.zst").write_bytes(stream)
    return folder / "t.jsonl.zst"


def packed_shards(folder: Path) -> Path:
    annotated.pictures(folder / "pictures")
    for part in "ab":
        text = LINES.replace("\n1", "\npictures/1").replace("\n4", "\npictures/4")
        text = text.replace("sub", "pictures/sub")
        (folder / f"{part}.csv.bz2").write_bytes(bz2.compress(text.encode()))
    return folder / "*.csv.bz2"


def path_list(folder: Path) -> Path:
    annotated.pictures(folder)
    (folder / "train.txt").write_bytes(b"1.png red\r\nsub/2.png green\r\n4.png\tblue")
    return folder / "train.txt"


def named_files(folder: Path) -> Path:
    csv_pattern(folder)
    return Path(together([folder / "b.csv", folder / "a.csv"]))


def named_annotations(folder: Path) -> Path:
    for part in "ab":
        content = annotated.coco(folder / part)
        annotated.write_json(folder / part / f"{part}.json", content)
    return Path(together([folder / part / f"{part}.json" for part in "ab"]))


def webdataset(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    labels = ["red", "green", "blue", "red", "blue", "green"]
    for shard in range(2):
        with tarfile.open(folder / f"s-{shard:03d}.tar", "w") as tar:
            for n in range(3):
                for kind, data in (
                    ("png", f"picture {shard}{n}".encode()),
                    ("cls", labels[3 * shard + n].encode()),
                    ("json", b'{"width": 3}'),
                ):
                    info = tarfile.TarInfo(f"{shard}{n}.{kind}")
                    info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o640
                    tar.addfile(info, io.BytesIO(data))
    return folder / "s-{000..001}.tar"


MAKERS: dict[str, Callable[[Path], Path]] = {
    "coco": coco,
    "yolo": annotated.yolo,
    "cvat": annotated.cvat,
    "label-studio": annotated.label_studio,
    "shards": shards,
    "parquet": parquet,
    "csv": csv_pattern,
    "webdataset": webdataset,
    "csv.gz": packed,
    "jsonl.zst": packed_lines,
    "csv.bz2": packed_shards,
    "list": path_list,
    "files": named_files,
    "annotations": named_annotations,
    "label-studio-tasks": annotated.label_studio_tasks,
}


@pytest.fixture(params=list(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return MAKERS[request.param](tmp_path / "set")


def spec(path: Path) -> DataSpec:
    return DataSpec(str(path))


def listed(path: Path) -> list[Row]:
    return list(open_source(spec(path)).rows())


def patch(path: Path, *changes: tuple[int, str | None]) -> pa.Table:
    """Changes of rows by their number, as a run would ask for them."""
    rows, made = listed(path), []
    for number, label in changes:
        row = rows[number]
        digest = content_hash(read_bytes(row.image))[:12]
        made.append(correction(row, label, digest, "said so"))
    return pa.Table.from_pylist(made, schema=CORRECTIONS)


def content(folder: Path) -> dict[str, bytes]:
    """Files of the data, without their history."""
    files = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if file.is_file() and not name.parts[0].startswith("."):
            files[name.as_posix()] = file.read_bytes()
    return files


def labels(path: Path) -> dict[str, str | None]:
    return {row.key: row.label for row in listed(path)}


def other(label: str | None) -> str:
    return "green" if label != "green" else "red"


def changed(path: Path) -> tuple[pa.Table, dict[str, str | None]]:
    """One row gets another label, one is left out; and what is to come of it."""
    rows = listed(path)
    first, last = rows[0], rows[-1]
    wanted = {row.key: row.label for row in rows}
    wanted[first.key] = other(first.label)
    del wanted[last.key]
    return patch(path, (0, wanted[first.key]), (len(rows) - 1, None)), wanted


def test_in_place_and_back_to_the_byte(made: Path, tmp_path: Path) -> None:
    before = content(tmp_path / "set")
    table, wanted = changed(made)
    lines = write_back.check(spec(made), table)
    assert len(lines) == 2 and content(tmp_path / "set") == before
    result = write_back.in_place(spec(made), table)
    assert (result.relabelled, result.dropped, result.already) == (1, 1, False)
    after = labels(made)
    assert after == wanted
    # pictures, and files without a corrected row, are as they were
    now = content(tmp_path / "set")
    assert now.keys() == before.keys()
    touched = [name for name in now if now[name] != before[name]]
    assert 1 <= len(touched) <= 2
    assert write_back.in_place(spec(made), table).already
    assert write_back.check(spec(made), table) == []
    write_back.reverse(spec(made), table)
    assert content(tmp_path / "set") == before


def test_a_patch_that_changes_nothing_changes_no_byte(
    made: Path, tmp_path: Path
) -> None:
    before = content(tmp_path / "set")
    write_back.in_place(spec(made), patch(made))
    assert content(tmp_path / "set") == before
    row = listed(made)[0]
    write_back.in_place(spec(made), patch(made, (0, row.label)))
    assert labels(made)[row.key] == row.label
    assert content(tmp_path / "set") == before


def test_a_second_patch_of_the_scan_takes_the_place_of_the_first(
    made: Path, tmp_path: Path
) -> None:
    before = content(tmp_path / "set")
    first, _ = changed(made)
    rows = listed(made)
    second = patch(made, (1, other(rows[1].label)))
    write_back.in_place(spec(made), first, "scan")
    write_back.in_place(spec(made), second, "scan")
    wanted = {row.key: row.label for row in rows}
    wanted[rows[1].key] = other(rows[1].label)
    assert labels(made) == wanted
    write_back.reverse(spec(made), second, "scan")
    assert content(tmp_path / "set") == before


def test_a_copy_leaves_the_data_alone(made: Path, tmp_path: Path) -> None:
    before = content(tmp_path / "set")
    table, wanted = changed(made)
    # what is one file is copied as one
    single = made.is_file()
    output = tmp_path / (f"copy{whole_suffix(made)}" if single else "copy")
    write_back.copy(spec(made), table, output)
    assert content(tmp_path / "set") == before
    assert write_back.copy(spec(made), table, output).already
    if single:
        shutil.copy(output, made)
        assert labels(made) == wanted
    else:
        whole = str(made).replace(f"{tmp_path / 'set'}", str(output))
        named = output if made.is_dir() else Path(whole)
        assert labels(named) == wanted
        copied = content(output).keys()
        # of a pattern or a list, pictures that it does not name stay behind
        left = {name for name in before if name.endswith(".png")}
        assert (
            copied == before.keys() if made.is_dir() else copied >= before.keys() - left
        )
    different = patch(made, (1, other(listed(made)[1].label)))
    with pytest.raises(OptionError, match="exists already"):
        write_back.copy(spec(made), different, output)


def test_a_copy_that_is_not_whole_is_no_finished_one(
    made: Path, tmp_path: Path
) -> None:
    table, _ = changed(made)
    output = tmp_path / (f"copy{whole_suffix(made)}" if made.is_file() else "copy")
    write_back.copy(spec(made), table, output, links=False)
    assert write_back.copy(spec(made), table, output).already
    inner = [p for p in output.rglob("*") if p.is_file()]
    for file in inner or [output]:
        if ".labelsieve" in file.parts:
            continue
        data = file.read_bytes()
        file.write_bytes(data[:-1] + b"?" if data[-1:] not in (b"", b"?") else b"!")
        with pytest.raises(OptionError, match=rf"{file.name}' (is missing|exists)"):
            write_back.copy(spec(made), table, output)
        file.write_bytes(data)
        if not made.is_file():
            file.unlink()
            with pytest.raises(OptionError, match=f"{file.name}' is missing"):
                write_back.copy(spec(made), table, output)
            file.write_bytes(data)
    assert write_back.copy(spec(made), table, output).already


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("after", range(4))
def test_killed_at_any_step_it_is_finished_and_reversed(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    half: bool,
) -> None:
    before = content(tmp_path / "set")
    table, wanted = changed(made)
    with monkeypatch.context() as patched:
        interrupt(patched, after, half=half)
        with contextlib.suppress(Killed):
            write_back.in_place(spec(made), table)
    write_back.in_place(spec(made), table)
    assert labels(made) == wanted
    with monkeypatch.context() as patched:
        interrupt(patched, after, half=half)
        with contextlib.suppress(Killed):
            write_back.reverse(spec(made), table)
    write_back.reverse(spec(made), table)
    assert content(tmp_path / "set") == before


def test_data_that_were_edited_since_are_left_alone(made: Path, tmp_path: Path) -> None:
    table, _ = changed(made)
    before = content(tmp_path / "set")
    write_back.in_place(spec(made), table)
    now = content(tmp_path / "set")
    (name, *_) = [n for n in now if now[n] != before[n]]
    file = tmp_path / "set" / name
    edited = file.read_bytes() + b"\n"
    file.write_bytes(edited)
    with pytest.raises(DataError, match=r"was changed after the patch|cannot be read"):
        write_back.reverse(spec(made), table)
    assert file.read_bytes() == edited


@pytest.mark.parametrize("how", ["flip", "cut", "append"])
def test_a_damaged_original_is_named_and_nothing_is_changed(
    made: Path, tmp_path: Path, how: str
) -> None:
    table, _ = changed(made)
    second = patch(made, (1, other(listed(made)[1].label)))
    write_back.in_place(spec(made), table, "scan")
    copied = tmp_path / (f"copy{whole_suffix(made)}" if made.is_file() else "copy")
    (originals,) = (tmp_path / "set").rglob("originals")
    kept = damage(originals, how)
    before = content(tmp_path / "set")
    for call in (
        lambda: write_back.reverse(spec(made), table, "scan"),
        lambda: write_back.check(spec(made), second, "scan"),
        lambda: write_back.in_place(spec(made), second, "scan"),
        lambda: write_back.copy(spec(made), second, copied, scan="scan"),
    ):
        with pytest.raises(
            DataError, match="is not the original that was kept"
        ) as told:
            call()
        assert kept.name in told.value.what
    assert content(tmp_path / "set") == before and not copied.exists()


def test_files_from_a_backup_are_corrected_again(made: Path, tmp_path: Path) -> None:
    table, wanted = changed(made)
    before = content(tmp_path / "set")
    write_back.in_place(spec(made), table)
    for name, data in before.items():
        (tmp_path / "set" / name).write_bytes(data)
    write_back.in_place(spec(made), table)
    assert labels(made) == wanted
    write_back.reverse(spec(made), table)
    assert content(tmp_path / "set") == before


def test_a_class_that_the_data_do_not_declare(made: Path, tmp_path: Path) -> None:
    before = content(tmp_path / "set")
    table = patch(made, (0, "mauve"))
    declares = "json" in made.name or "xml" in made.name
    declares = declares and made.stem not in ("tasks", "t.jsonl")
    if declares or (made / "data.yaml").exists():
        with pytest.raises(DataError, match=r"declares no class 'mauve'\. Choose one"):
            write_back.in_place(spec(made), table)
        assert content(tmp_path / "set") == before
    else:
        write_back.in_place(spec(made), table)
        assert "mauve" in labels(made).values()


def test_a_row_that_is_not_there_is_refused(made: Path, tmp_path: Path) -> None:
    before = content(tmp_path / "set")
    table = patch(made, (0, "green"))
    wrong = table.set_column(
        table.column_names.index("old_label"), "old_label", pa.array(["mauve"])
    )
    with pytest.raises(DataError, match=r"with the label 'mauve' and the image"):
        write_back.in_place(spec(made), wrong)
    assert content(tmp_path / "set") == before


@pytest.mark.parametrize("kept", ["../../secret", "/etc/passwd", "", 3])
def test_a_history_of_a_stranger_leads_nowhere(
    tmp_path: Path, kept: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the record says of originals is checked before it is followed."""
    from labelsieve.corrections.patch import read_patch, write_patch

    made = shards(tmp_path / "set")
    table, _ = changed(made)
    write_back.in_place(spec(made), table)
    (record,) = (made / ".labelsieve").glob("applied-*.parquet")
    known, facts = read_patch(record)
    for fact in facts["files"].values():
        fact["kept"] = kept
    write_patch(known, record, facts)
    before = content(made)
    with pytest.raises(Exception, match=r"damaged|gone|does not lie inside") as caught:
        write_back.reverse(spec(made), table)
    assert type(caught.value).__module__ == "labelsieve.errors"
    assert content(made) == before


def test_packed_data_say_why_they_are_not_written(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        info = tarfile.TarInfo("cat/1.png")
        tar.addfile(info)
    with pytest.raises(DataError, match=r"a packed file is not taken apart; unpack it"):
        write_back.in_place(spec(tmp_path / "t.tar"), patch(tmp_path / "t.tar"))


def test_a_picture_that_was_replaced_since_the_scan_is_refused(made: Path) -> None:
    wanted = patch(made, (0, "green"))
    folder = fixed_part(made) if has_pattern(made) else made
    folder = folder.parent if folder.is_file() else folder
    pictures = sorted(folder.rglob("*.png"))
    if not pictures:
        pytest.skip("pictures are in the files themselves")
    for picture in pictures:
        picture.write_bytes(
            annotated.paint([("green", c, r) for c in range(4) for r in range(3)])
        )
    before = content(folder)
    for call in (write_back.check, write_back.in_place):
        with pytest.raises(DataError, match="and the image that was scanned"):
            call(spec(made), wanted, "scan")
    assert content(folder) == before
