from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from fixtures.corrections import Killed, damage, interrupt, table_patch
from PIL import Image

from labelsieve.corrections import write_back
from labelsieve.corrections.writers.saved import resave
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError
from labelsieve.files import remove

datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")


def png(k: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), k).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder: Path, label: Any) -> Any:
    features = datasets.Features(
        {"x": datasets.Value("string"), "label": label, "image": datasets.Image()}
    )
    rows = {
        "x": list("abcd"),
        "label": ["cat", "dog", "cat", "dog"],
        "image": [{"bytes": png(k), "path": None} for k in range(4)],
    }
    made = datasets.Dataset.from_dict(rows, features=features)
    made.save_to_disk(str(folder))
    return made


@pytest.mark.parametrize("kind", ["classes", "text"])
def test_only_labels_change(tmp_path: Path, kind: str) -> None:
    label = (
        datasets.ClassLabel(names=["cat", "dog"])
        if kind == "classes"
        else datasets.Value("string")
    )
    made = make(tmp_path / "a", label)
    source: Any = open_source(DataSpec(tmp_path / "a", label_column="label"))
    resave(source, {0: "dog", 3: None}, tmp_path / "b")
    found = datasets.load_from_disk(str(tmp_path / "b"))
    assert found.features == made.features and found.column_names == made.column_names
    shown = (
        found.features["label"].int2str(found["label"])
        if kind == "classes"
        else list(found["label"])
    )
    assert shown == ["dog", "dog", "cat"] and list(found["x"]) == ["a", "b", "c"]
    assert [image.getpixel((0, 0)) for image in found["image"]] == [0, 1, 2]


def test_a_class_that_the_feature_does_not_have_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a", datasets.ClassLabel(names=["cat", "dog"]))
    source: Any = open_source(DataSpec(tmp_path / "a"))
    with pytest.raises(DataError, match="'emu' is not among the class names"):
        resave(source, {0: "emu"}, tmp_path / "b")


def saved(folder: Path) -> None:
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


def cells(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
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
    saved(folder)
    before, spec = files(folder), DataSpec(folder)
    patch = table_patch(folder)
    wanted = {
        "train": [(0, "a", b"0"), (1, "b", b"1"), (0, "c", b"2")],
        "test": [(0, "e", b"4"), (0, "f", b"5")],
    }
    write_back.copy(spec, patch, tmp_path / "copy")
    assert cells(tmp_path / "copy") == wanted and files(folder) == before
    write_back.in_place(spec, patch.slice(1, 1), "scan")
    if interrupted is not None:
        with monkeypatch.context() as patched:
            interrupt(patched, interrupted, half=half)
            with pytest.raises(Killed):
                write_back.in_place(spec, patch, "scan")
    write_back.in_place(spec, patch, "scan")
    assert cells(folder) == wanted
    write_back.reverse(spec, patch, "scan")
    assert files(folder) == before
    write_back.in_place(spec, patch, "scan")
    with (folder / "train" / "state.json").open("a") as file:
        file.write(" ")
    with pytest.raises(DataError, match="was changed after the patch"):
        write_back.reverse(spec, patch, "scan")


def test_a_finished_copy_is_known(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    saved(folder)
    patch = table_patch(folder)
    output = tmp_path / "copy"
    assert not write_back.copy(DataSpec(folder), patch, output).already
    assert write_back.copy(DataSpec(folder), patch, output).already
    with pytest.raises(OptionError, match="exists already"):
        write_back.copy(DataSpec(folder), patch.slice(0, 1), output)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    folder, home = tmp_path / "saved", tmp_path / "home"
    saved(folder)
    home.mkdir()
    (folder / ".labelsieve").mkdir()
    (folder / ".labelsieve" / ".new").symlink_to(home)
    (folder / ".labelsieve" / "originals").symlink_to(home)
    with pytest.raises(DataError, match="does not lie inside"):
        write_back.in_place(DataSpec(folder), table_patch(folder))
    assert list(home.iterdir()) == []


def test_a_saved_data_set_from_a_backup_is_corrected_again(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    saved(folder)
    before = files(folder)
    spec = DataSpec(folder)
    patch = table_patch(folder)
    write_back.in_place(spec, patch, "scan")
    corrected = cells(folder)
    for path in list(folder.iterdir()):
        if path.name != ".labelsieve":
            remove(path)
    for name, content in before.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    assert not write_back.in_place(spec, patch, "scan").already
    assert cells(folder) == corrected
    assert write_back.in_place(spec, patch, "scan").already
    write_back.reverse(spec, patch, "scan")
    assert files(folder) == before


@pytest.mark.parametrize("how", ["flip", "cut", "append"])
def test_a_damaged_original_is_named_and_nothing_is_changed(
    tmp_path: Path, how: str
) -> None:
    saved(tmp_path / "d")
    spec, patch = DataSpec(tmp_path / "d"), table_patch(tmp_path / "d")
    write_back.in_place(spec, patch, "scan")
    damage(tmp_path / "d" / ".labelsieve" / "originals", how)
    before = files(tmp_path / "d")
    with pytest.raises(DataError, match="is not the original that was kept"):
        write_back.reverse(spec, patch, "scan")
    with pytest.raises(DataError, match="is not the original that was kept"):
        write_back.in_place(spec, patch.slice(0, 1), "scan")
    assert files(tmp_path / "d") == before


def test_a_copy_that_is_not_whole_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "d")
    spec, patch = DataSpec(tmp_path / "d"), table_patch(tmp_path / "d")
    write_back.copy(spec, patch, tmp_path / "copy")
    assert write_back.copy(spec, patch, tmp_path / "copy").already
    file = damage(tmp_path / "copy" / "train", "cut")
    with pytest.raises(OptionError, match=f"{file.name}' is missing, or is not as"):
        write_back.copy(spec, patch, tmp_path / "copy")
    file.unlink()
    with pytest.raises(OptionError, match=f"{file.name}' is missing, or is not as"):
        write_back.copy(spec, patch, tmp_path / "copy")
