from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelsieve.data.images import DECODING
from labelsieve.data.manifest import read
from labelsieve.data.modalities import images
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.pixel_cache import PixelCache, Stamp
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

HOUR = 3600 * 10**9  # ns


def manifest(data: Any, items: ImageItems, **options: Any) -> list[dict[str, Any]]:
    """Rows of the manifest in the order of their readable paths."""
    table = read(open_source(DataSpec(data, **options)), items).table
    return sorted(table.to_pylist(), key=lambda r: (r["path"], r["given_label"] or ""))


# --- the cache


def test_pixels_are_those_of_the_preprocessing(
    digit_folder: Path, items: ImageItems
) -> None:
    for row in manifest(digit_folder, items)[:5]:
        expected = items.preprocess(
            Image.open(digit_folder / row["path"]).convert("RGB")
        )
        assert np.array_equal(items.cache.read(np.array([row["slot"]]))[0], expected)


def test_nothing_is_decoded_twice(
    digit_folder: Path, items: ImageItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SETTLED", -HOUR)
    before = manifest(digit_folder, items)
    monkeypatch.setattr(images, "decoded", lambda *a: pytest.fail("decoded again"))
    with monkeypatch.context() as files:
        files.setattr(images, "read_bytes", lambda *a: pytest.fail("read again"))
        assert manifest(digit_folder, items) == before
    copy = digit_folder.parent / "copy"
    shutil.copytree(digit_folder, copy, copy_function=shutil.copyfile)
    slots = [r["slot"] for r in manifest(copy, items)]
    assert slots == [r["slot"] for r in before]


# --- a file is what it is now


def write(path: Path, grey: int) -> None:
    """An image whose name, size and date say nothing about what it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    os.utime(path, ns=(0, 12345))


def shown(folder: Path, items: ImageItems) -> list[int]:
    """What is read of each image, as grey values."""
    rows = manifest(folder, items)
    pixels = items.cache.read(np.array([row["slot"] for row in rows]))
    return [int(value) for value in pixels[:, 0, 0, 0]]


def overwrite(path: Path) -> None:
    write(path, 77)


def replace(path: Path) -> None:
    write(path.parent / "x.bmp", 77)
    (path.parent / "x.bmp").replace(path)


def point_elsewhere(path: Path) -> None:
    write(path.parents[1] / "elsewhere.bmp", 77)
    path.unlink()
    path.symlink_to(path.parents[1] / "elsewhere.bmp")


@pytest.mark.parametrize("change", [overwrite, replace, point_elsewhere])
@pytest.mark.parametrize("settled", [True, False])
def test_a_file_that_changes_under_the_same_name_size_and_date_is_read_again(
    change: Callable[[Path], None],
    settled: bool,
    tmp_path: Path,
    items: ImageItems,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if settled:
        monkeypatch.setattr(images, "SETTLED", -HOUR)
    for label, grey in (("a", 41), ("b", 42)):
        write(tmp_path / "d" / label / "1.bmp", grey)
    assert shown(tmp_path / "d", items) == [41, 42]
    change(tmp_path / "d" / "a" / "1.bmp")
    assert shown(tmp_path / "d", items) == [77, 42]


@pytest.mark.parametrize(
    ("system", "inode", "age", "sure"),
    [
        ("posix", 5, 10, True),
        ("posix", 5, 1, False),  # it may change again within the same tick
        ("posix", 5, -10, False),  # a clock that is behind knows nothing
        ("posix", 0, 10, False),
        ("nt", 5, 10, False),  # st_ctime is when the file was created
        ("posix", 2**64 - 1, 10, True),
    ],
)
def test_only_what_is_sure_gives_a_stamp(
    system: str, inode: int, age: int, sure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = SimpleNamespace(
        st_mode=0o100644,
        st_size=7,
        st_mtime_ns=3,
        st_ino=inode,
        st_ctime_ns=10**18 - age * 10**9,
    )
    system_calls = SimpleNamespace(
        stat=lambda path: seen, name=system, path=os.path, sep="/"
    )
    monkeypatch.setattr(images, "os", system_calls)
    monkeypatch.setattr(images, "time", SimpleNamespace(time_ns=lambda: 10**18))
    stamp = images.stamp_of("a/1.png", "/data")
    assert (stamp is not None) == sure
    if isinstance(stamp, Stamp):
        assert stamp[:3] == ("/data/a/1.png", 7, 3)
        # what SQLite takes
        assert max(stamp[1:]) < 2**63


def test_a_file_is_recognised_by_where_it_is_not_by_how_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path is another file after a change of folder, and the same from elsewhere."""
    monkeypatch.setattr(images, "SETTLED", -HOUR)
    for folder in ("a", "b"):
        write(tmp_path / folder / "cats" / "1.png", 1)
    stamps: list[Any] = []
    for folder in ("a", "b"):
        monkeypatch.chdir(tmp_path / folder)
        stamps.append(images.stamp_of("cats/1.png", os.getcwd()))
        for path in (
            tmp_path / folder / "cats/1.png",
            Path("..", folder, "cats/1.png"),
        ):
            assert images.stamp_of(path, os.getcwd()) == stamps[-1]
    assert [stamp.path for stamp in stamps] == [
        str(tmp_path / "a" / "cats" / "1.png"),
        str(tmp_path / "b" / "cats" / "1.png"),
    ]


# --- pictures that are odd


def test_pictures_in_memory_that_share_bytes_are_not_mixed_up(
    items: ImageItems,
) -> None:
    red, green = (Image.new("P", (8, 8)) for _ in range(2))
    red.putpalette([255, 0, 0])
    green.putpalette([0, 255, 0])
    found = manifest(([red, green], ["r", "g"]), items)
    pixels = items.cache.read(np.array([r["slot"] for r in found]))
    assert [tuple(p[0, 0]) for p in pixels] == [(255, 0, 0), (0, 255, 0)]


def test_a_lazily_opened_picture_that_is_cut_is_a_row_with_a_reason(
    items: ImageItems,
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    cut = Image.open(io.BytesIO(buffer.getvalue()[:-500]))
    normalised = np.linspace(-2, 2, 192).reshape(8, 8, 3)
    found = manifest(([cut, np.zeros((8, 8), np.uint8), normalised], "abc"), items)
    assert [r["status"] for r in found] == ["corrupt", "ok", "corrupt"]
    assert found[0]["reason"].startswith("broken image: image file is truncated")
    assert "before normalisation" in found[2]["reason"]


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000 + ".png", "."])
def test_a_path_that_cannot_be_is_a_row_with_a_reason(
    path: str, items: ImageItems, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    pq.write_table(
        pa.table({"image": [path, "1.png"], "label": ["a", "b"]}),
        tmp_path / "t.parquet",
    )
    rows = {r["given_label"]: r for r in manifest(tmp_path / "t.parquet", items)}
    assert rows["a"]["status"] == "corrupt" and rows["a"]["reason"].startswith(
        "cannot be opened: "
    )
    assert rows["b"]["status"] == "ok"


# --- data sets that show nothing


@pytest.mark.parametrize(
    ("greys", "note"),
    [
        ([(0, 16)] * 9 + [(0, 255)], "9 of 10 pictures .* are nearly black"),
        ([(5, 5)] * 6 + [(0, 255)] * 4, "6 of 10 pictures .* are of a single colour"),
        ([(0, 16)] * 5 + [(0, 255)] * 5, None),
        ([(0, 32)] * 10, None),
    ],
)
def test_pictures_that_show_nothing_are_noted(
    greys: list[tuple[int, int]], note: str | None, items: ImageItems
) -> None:
    pictures = []
    for number, (low, high) in enumerate(greys):
        picture = np.full((8, 8), low, np.uint8)
        picture.flat[number] = high
        pictures.append(picture)
    source = open_source(DataSpec((pictures, "ab" * (len(greys) // 2))))
    notes = read(source, items).notes
    assert len(notes) == (note is not None)
    assert note is None or re.match(note, notes[0])


# --- more than eight bits


def deep_data(folder: Path, kind: str, top: int) -> dict[str, np.ndarray]:
    """Pictures whose values end at `top`, in files of type `kind`; name -> share of white."""
    random = np.random.default_rng(0)
    shares = {}
    for number in range(6):
        # dark and bright ones: no picture alone shows where the range ends
        share = random.random((8, 8)) * (number + 1) / 6
        values = (share * top).astype(kind)
        name = f"{'ab'[number % 2]}/{number}.{'png' if kind == 'uint16' else 'tif'}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / name)
        shares[name] = values.astype(float) / top
    return shares


DEPTHS = [
    ("uint16", 2**10 - 1),
    ("uint16", 2**12 - 1),
    ("uint16", 2**14 - 1),
    ("uint16", 2**16 - 1),
    ("int32", 2**12 - 1),
    ("float32", 2**12 - 1),
    ("float32", 1),
]


@pytest.mark.parametrize(("kind", "top"), DEPTHS)
def test_white_is_where_the_values_of_the_whole_data_set_end(
    kind: str, top: int, tmp_path: Path, items: ImageItems
) -> None:
    shares = deep_data(tmp_path / "data", kind, top)
    for _ in range(2):  # decoded, and from the cache
        fresh = ImageItems(items.preprocess, items.cache)
        result = read(open_source(DataSpec(tmp_path / "data")), fresh)
        rows = {row["path"]: row["slot"] for row in result.table.to_pylist()}
        for name, share in shares.items():
            pixels = fresh.inputs(np.array([rows[name]]))[0, 0].numpy()
            assert np.abs(pixels - 255 * share).max() <= 1
        ordinary = top in (2**16 - 1, 1)
        assert fresh.version == f"decoding {DECODING}" or not ordinary
        assert bool(result.notes) != ordinary


def test_embedded_deep_pictures_are_read_again_from_their_table(
    tmp_path: Path, items: ImageItems
) -> None:
    deep_data(tmp_path / "data", "uint16", 4095)
    cells = []
    for path in sorted((tmp_path / "data").rglob("*.png")):
        cells.append({"image": path.read_bytes(), "label": path.parent.name})
    pq.write_table(pa.Table.from_pylist(cells), tmp_path / "t.parquet")
    by_content = {}
    for source in (tmp_path / "data", tmp_path / "t.parquet"):
        for row in manifest(source, items):
            pixels = items.inputs(np.array([row["slot"]])).numpy()
            known = by_content.setdefault(row["content_hash"], pixels)
            assert np.array_equal(pixels, known) and pixels.max() > 30
    assert len(by_content) == 6


def test_arrays_of_twelve_bits(items: ImageItems) -> None:
    random = np.random.default_rng(0)
    arrays = []
    for scale in (0.2, 1, 1, 0.5):
        arrays.append((random.random((8, 8, 3)) * 4095 * scale).astype(np.uint16))
    rows = manifest((arrays, list("abab")), items)
    for row in rows:
        wanted = arrays[int(row["uri"])] / 4095 * 255
        pixels = items.inputs(np.array([row["slot"]]))[0].permute(1, 2, 0).numpy()
        assert np.abs(pixels - wanted).max() <= 1


# --- damage


@pytest.mark.parametrize("deep", [False, True])
def test_damaged_pictures_are_read_from_the_data_again(
    deep: bool, digit_folder: Path, tmp_path: Path, items: ImageItems
) -> None:
    folder = digit_folder
    if deep:
        folder = tmp_path / "data"
        deep_data(folder, "uint16", 4095)
    rows = manifest(folder, items)
    slots = np.array([row["slot"] for row in rows])
    right = items.inputs(slots)
    path = items.folder / "pixels.u8"
    path.write_bytes(bytes(path.stat().st_size))
    cache = PixelCache(items.folder, 8, 8)
    hurt = ImageItems(items.preprocess, cache)
    assert [row["slot"] for row in manifest(folder, hurt)] == slots.tolist()
    assert np.array_equal(hurt.inputs(slots), right)
    cache.close()
    whole = PixelCache(items.folder, 8, 8)
    assert np.array_equal(whole.read(slots), right.permute(0, 2, 3, 1))
    whole.close()


def test_what_cannot_be_read_again_is_named(
    digit_folder: Path, items: ImageItems, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(digit_folder, folder)
    source = open_source(DataSpec(folder))
    table = read(source, items).table
    shutil.rmtree(folder)
    path = items.folder / "pixels.u8"
    path.write_bytes(bytes(path.stat().st_size))
    cache = PixelCache(items.folder, 8, 8)
    hurt = ImageItems(items.preprocess, cache)
    hurt.remember(source, table)
    with pytest.raises(DataError, match=r"is damaged in the cache .* cannot be opened"):
        hurt.inputs(table["slot"].to_numpy()[:1])
    cache.close()


def test_a_model_of_texts_is_refused() -> None:
    preprocess: Any = SimpleNamespace()
    with pytest.raises(DataError, match="the model takes texts"):
        images.open_items(preprocess)
