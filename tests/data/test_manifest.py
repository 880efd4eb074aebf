from __future__ import annotations

import dataclasses
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelsieve.data import manifest as dataset
from labelsieve.data.dataset import (
    Dataset,
    from_manifest,
    prompt_name,
)
from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.load import load, read_class_names
from labelsieve.data.manifest import read
from labelsieve.data.pixel_cache import PixelCache
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError

LOOK = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PixelCache]:
    opened = PixelCache(tmp_path / "pixel-cache", 8, 8)
    yield opened
    opened.close()


def manifest(data: Any, cache: PixelCache, **options: Any) -> list[dict[str, Any]]:
    """Rows of the manifest in the order of their readable paths."""
    table = read(open_source(DataSpec(data, **options)), LOOK, cache).table
    return sorted(table.to_pylist(), key=lambda r: (r["path"], r["given_label"] or ""))


def view(data: Any, cache: PixelCache, **options: Any) -> Dataset:
    spec = DataSpec(data, **options)
    return from_manifest(read(open_source(spec), LOOK, cache).table, spec, LOOK, cache)


# --- every row keeps its place


def test_unreadable_images_keep_their_row_with_a_reason(
    digit_folder: Path, cache: PixelCache
) -> None:
    before = {r["path"]: r for r in manifest(digit_folder, cache)}
    whole = sorted(before)
    (digit_folder / whole[3]).write_bytes(b"")
    (digit_folder / whole[7]).write_bytes(b"this is no image")
    data = (digit_folder / whole[11]).read_bytes()
    (digit_folder / whole[11]).write_bytes(data[: len(data) // 2])
    (digit_folder / whole[15]).unlink()
    (digit_folder / whole[15]).symlink_to("nowhere.png")
    os.mkfifo(digit_folder / "one" / "pipe.png")
    after = {r["path"]: r for r in manifest(digit_folder, cache)}
    broken = {
        whole[3]: "empty file",
        whole[7]: "not an image in a known format",
        whole[11]: "broken image: ",
        whole[15]: "cannot be opened: No such file",
    }
    broken["one/pipe.png"] = "cannot be opened: not a file"
    assert set(after) == {*before, "one/pipe.png"}
    for path, row in after.items():
        if path in broken:
            assert (
                row["status"] == "corrupt"
                and row["reason"].startswith(broken[path])
                and row["slot"] == -1
            )
            assert row["given_label"] == path.split("/")[0]
        else:
            assert row == before[path]


@settings(max_examples=12)
@given(
    st.lists(
        st.sampled_from(["good", "bad", "empty", "unlabelled"]), min_size=2, max_size=12
    )
)
def test_no_bad_row_shifts_another(kinds: list[str]) -> None:
    kinds = [*kinds, "good", "good"]
    pictures = [np.full((8, 8, 3), n, np.uint8) for n in range(len(kinds))]
    items = {"bad": lambda n: b"bad", "empty": lambda n: b""}
    images = [items.get(k, pictures.__getitem__)(n) for n, k in enumerate(kinds)]
    labels = [None if k == "unlabelled" else f"label {n}" for n, k in enumerate(kinds)]
    opened = PixelCache(Path(os.environ["LABELSIEVE_CACHE"]) / "laws", 8, 8)
    rows = {r["path"]: r for r in manifest((images, labels), opened)}
    assert len(rows) == len(kinds)
    for n, kind in enumerate(kinds):
        row = rows[f"row {n}"]
        assert row["given_label"] == labels[n]
        assert row["status"] == {"good": "ok", "unlabelled": "unlabelled"}.get(
            kind, "corrupt"
        )
        if kind in ("good", "unlabelled"):
            assert np.array_equal(opened.read(np.array([row["slot"]]))[0], pictures[n])
    table = pa.Table.from_pylist(list(rows.values()), dataset.MANIFEST)
    seen = from_manifest(table, DataSpec(None), LOOK, opened)
    for row, (number, label) in enumerate(
        zip(seen.ids.to_pylist(), seen.labels, strict=True)
    ):
        at = int(number.partition("#")[0].removeprefix("row"))
        assert seen.classes[label] == f"label {at}"
        assert (seen.pixels(np.array([row])) == at).all()
    opened.close()


def test_many_chunks_keep_the_source_order_of_labels_and_truth(
    cache: PixelCache, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    count = 3 * dataset.CHUNK + 5
    cells = [
        encode(np.full((8, 8), n % 256, np.uint8)) + bytes([n // 256])
        for n in range(count)
    ]
    table = pa.table(
        {
            "image": cells,
            "label": [f"g{n}" for n in range(count)],
            "true": [f"t{n}" for n in range(count)],
            "id": [f"i{n}" for n in range(count)],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = open_source(
        DataSpec(tmp_path / "t.parquet", truth_column="true", id_column="id")
    )
    found = read(source, LOOK, cache, want_truth=True)
    truth = {r["sample_id"]: r["true_label"] for r in found.truth.to_pylist()}  # type: ignore[union-attr]
    for row in found.table.to_pylist():
        n = int(row["sample_id"].partition("#")[0][1:])
        assert (
            row["given_label"] == f"g{n}"
            and truth[row["sample_id"]] == f"t{n}"
            and row["uri"] == f"row:{n}"
        )
        assert (cache.read(np.array([row["slot"]])) == n % 256).all()


# --- the truth stays outside


def test_the_truth_is_in_no_table_or_object_that_a_method_sees(
    cache: PixelCache, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    cells = [encode(np.full((8, 8), n, np.uint8)) for n in range(4)]
    pq.write_table(
        pa.table({"image": cells, "label": list("abab"), "secret": ["THE-TRUTH"] * 4}),
        tmp_path / "t.parquet",
    )
    spec = DataSpec(tmp_path / "t.parquet", truth_column="secret")
    source = open_source(spec)
    found = read(source, LOOK, cache, want_truth=True)
    assert found.truth is not None and found.truth.column_names == [
        "sample_id",
        "true_label",
    ]
    assert "THE-TRUTH" not in str(found.table.to_pylist())
    seen = from_manifest(found.table, spec, LOOK, cache)
    fields = {f.name for f in dataclasses.fields(Dataset)}
    assert not {f for f in fields if "tru" in f}
    assert "THE-TRUTH" not in str([getattr(seen, f) for f in fields])
    assert read(source, LOOK, cache).truth is None


# --- ids


def test_ids_are_path_and_content(digit_folder: Path, cache: PixelCache) -> None:
    import hashlib

    for row in manifest(digit_folder, cache):
        digest = hashlib.sha256((digit_folder / row["path"]).read_bytes()).hexdigest()
        assert (
            row["content_hash"] == digest
            and row["sample_id"] == f"{row['path']}#{digest[:12]}"
        )


def test_moving_the_folder_or_adding_others_changes_no_id(
    digit_folder: Path, cache: PixelCache, tmp_path: Path
) -> None:
    before = view(digit_folder, cache)
    shutil.copytree(digit_folder, tmp_path / "elsewhere")
    after = view(tmp_path / "elsewhere", cache)
    assert after.ids.equals(before.ids) and after.fingerprint == before.fingerprint
    Image.new("RGB", (9, 9)).save(tmp_path / "elsewhere" / "one" / "0000-first.png")
    assert set(before.ids.to_pylist()) < set(
        view(tmp_path / "elsewhere", cache).ids.to_pylist()
    )


@pytest.mark.parametrize("kind", ["paths", "bytes"])
def test_the_order_of_rows_changes_nothing_that_a_method_sees(
    kind: str, digit_folder: Path, cache: PixelCache
) -> None:
    shutil.copyfile(
        next(iter(digit_folder.glob("one/*.png"))), digit_folder / "two" / "copy.png"
    )
    files = sorted(digit_folder.rglob("*.png"))
    records = [
        {
            "image": str(f.relative_to(digit_folder))
            if kind == "paths"
            else f.read_bytes(),
            "label": f.parent.name,
        }
        for f in files
    ]
    seen = []
    for order in (
        records,
        records[::-1],
        random.Random(1).sample(records, len(records)),
    ):
        pq.write_table(pa.Table.from_pylist(order), digit_folder / "t.parquet")
        seen.append(view(digit_folder / "t.parquet", cache))
    for other in seen[1:]:
        # embedded rows of the very same image are told apart by their order, and by nothing else
        assert (
            other.ids.equals(seen[0].ids)
            if kind == "paths"
            else set(other.ids.to_pylist()) == set(seen[0].ids.to_pylist())
        )
        assert np.array_equal(other.labels, seen[0].labels)
        assert (
            other.fingerprint == seen[0].fingerprint
            and other.content == seen[0].content
        )
        assert torch.equal(other.pixels(np.arange(41)), seen[0].pixels(np.arange(41)))


def test_fingerprints_know_labels_and_contents(cache: PixelCache) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(4)]
    one, relabelled, other = (
        view((p, y), cache)
        for p, y in (
            (pictures, "aabb"),
            (pictures, "abab"),
            ([*pictures[:3], pictures[0] + 9], "aabb"),
        )
    )
    assert one.content == relabelled.content != other.content
    assert len({one.fingerprint, relabelled.fingerprint, other.fingerprint}) == 3


# --- duplicates


def test_the_same_image_with_other_labels_is_a_conflict(cache: PixelCache) -> None:
    same, single, twice = (np.full((8, 8), n, np.uint8) for n in (1, 2, 3))
    found = manifest(
        (
            [same, single, same, twice, twice, b"bad", b"bad"],
            ["cat", "cat", "dog", "cat", "cat", "cat", "dog"],
        ),
        cache,
    )
    assert [(r["status"], r["reason"]) for r in found[:5]] == [
        ("duplicate-conflict", "the same image is also labelled 'dog'"),
        ("ok", ""),
        ("duplicate-conflict", "the same image is also labelled 'cat'"),
        ("ok", ""),
        ("ok", ""),
    ]
    assert [r["status"] for r in found[5:]] == ["corrupt", "corrupt"]
    seen = view(([same, single, same, twice], ["cat", "cat", "dog", "cat"]), cache)
    assert len(seen) == 4


def test_a_conflict_among_many_labels_names_a_few(cache: PixelCache) -> None:
    found = manifest(
        ([np.zeros((8, 8), np.uint8)] * 9, [f"c{n}" for n in range(9)]), cache
    )
    assert (
        found[0]["reason"]
        == "the same image is also labelled 'c1', 'c2', 'c3', 'c4', 'c5' and 3 more"
    )


# --- the cache


def test_pixels_are_those_of_the_preprocessing(
    digit_folder: Path, cache: PixelCache
) -> None:
    for row in manifest(digit_folder, cache)[:5]:
        expected = LOOK(Image.open(digit_folder / row["path"]).convert("RGB"))
        assert np.array_equal(cache.read(np.array([row["slot"]]))[0], expected)


def test_nothing_is_decoded_twice(
    digit_folder: Path, cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest(digit_folder, cache)
    monkeypatch.setattr(dataset, "decode", lambda *a: pytest.fail("decoded again"))
    with monkeypatch.context() as files:
        files.setattr(dataset, "read_bytes", lambda *a: pytest.fail("read again"))
        assert manifest(digit_folder, cache) == before
    shutil.copytree(
        digit_folder, digit_folder.parent / "copy", copy_function=shutil.copyfile
    )
    assert [r["slot"] for r in manifest(digit_folder.parent / "copy", cache)] == [
        r["slot"] for r in before
    ]


def test_a_file_that_changes_is_read_again(tmp_path: Path, cache: PixelCache) -> None:
    for label, grey in (("a", 1), ("b", 2)):
        (tmp_path / "d" / label).mkdir(parents=True)
        Image.new("L", (8, 8), grey).save(tmp_path / "d" / label / "1.bmp")
    before = manifest(tmp_path / "d", cache)
    Image.new("L", (8, 8), 77).save(
        tmp_path / "d" / "a" / "1.bmp"
    )  # the same size, another time
    os.utime(tmp_path / "d" / "a" / "1.bmp", ns=(0, 12345))
    after = manifest(tmp_path / "d", cache)
    assert (
        after[1] == before[1] and after[0]["content_hash"] != before[0]["content_hash"]
    )
    assert (cache.read(np.array([after[0]["slot"]])) == 77).all()


def test_pictures_in_memory_that_share_bytes_are_not_mixed_up(
    cache: PixelCache,
) -> None:
    red, green = (Image.new("P", (8, 8)) for _ in range(2))
    red.putpalette([255, 0, 0])
    green.putpalette([0, 255, 0])
    found = manifest(([red, green], ["r", "g"]), cache)
    pixels = cache.read(np.array([r["slot"] for r in found]))
    assert [tuple(p[0, 0]) for p in pixels] == [(255, 0, 0), (0, 255, 0)]


def test_a_lazily_opened_picture_that_is_cut_is_a_row_with_a_reason(
    cache: PixelCache,
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    cut = Image.open(io.BytesIO(buffer.getvalue()[:-500]))
    normalised = np.linspace(-2, 2, 192).reshape(8, 8, 3)
    found = manifest(([cut, np.zeros((8, 8), np.uint8), normalised], "abc"), cache)
    assert [r["status"] for r in found] == ["corrupt", "ok", "corrupt"]
    assert found[0]["reason"].startswith("broken image: image file is truncated")
    assert "before normalisation" in found[2]["reason"]


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000 + ".png", "."])
def test_a_path_that_cannot_be_is_a_row_with_a_reason(
    path: str, cache: PixelCache, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "1.png")
    pq.write_table(
        pa.table({"image": [path, "1.png"], "label": ["a", "b"]}),
        tmp_path / "t.parquet",
    )
    rows = {r["given_label"]: r for r in manifest(tmp_path / "t.parquet", cache)}
    assert rows["a"]["status"] == "corrupt" and rows["a"]["reason"].startswith(
        "cannot be opened: "
    )
    assert rows["b"]["status"] == "ok"


# --- data that cannot be used


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([], []), "^There are no images. The data set is empty"),
        (
            ([b"", b"x"], "ab"),
            "^None of the 2 images can be used. The first one, 'row .': ",
        ),
        (
            ([np.zeros((8, 8), np.uint8)], [None]),
            "^None of the 1 images can be used. The first one, 'row 0': no label",
        ),
    ],
)
def test_data_without_a_usable_image_are_named(
    data: Any, message: str, cache: PixelCache
) -> None:
    with pytest.raises(DataError, match=message):
        manifest(data, cache)


def test_a_folder_without_images_says_what_was_left_out(
    tmp_path: Path, cache: PixelCache
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.txt").touch()
    with pytest.raises(
        DataError,
        match=r"^There are no images\. 1 files in 'cat' are not images by their suffix",
    ):
        manifest(tmp_path, cache)


def test_one_class_and_a_strange_class_are_named(cache: PixelCache) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(2)]
    with pytest.raises(DataError, match=r"^There is only one class, 'cat'"):
        view((pictures, ["cat", "cat"]), cache)
    spec = DataSpec((pictures, ["cat", "dgo"]))
    table = read(open_source(spec), LOOK, cache).table
    with pytest.raises(
        DataError,
        match=r"^Label 'dgo' is unknown; there are: cat, dog. Did you mean 'dog'\?",
    ):
        from_manifest(table, spec, LOOK, cache, ["cat", "dog"])


def test_given_classes_keep_their_numbers(cache: PixelCache) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(2)]
    names = {"owl": "an owl", "cat": "a cat", "dog": "a dog"}
    spec = DataSpec((pictures, ["dog", "owl"]), class_names=names)
    table = read(open_source(spec), LOOK, cache).table
    seen = from_manifest(table, spec, LOOK, cache, ["owl", "cat", "dog"])
    grey = seen.pixels(np.arange(2))[:, 0, 0, 0].tolist()
    assert {g: seen.classes[k] for g, k in zip(grey, seen.labels, strict=True)} == {
        0: "dog",
        1: "owl",
    }
    assert seen.names == ("an owl", "a cat", "a dog")


# --- names and template


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("hot_dog", "hot dog"),
        ("  a__b ", "a b"),
        ("Sedan 2012", "Sedan 2012"),
        ("two\nlines", "two lines"),
        ("___", "___"),
    ],
)
def test_labels_are_written_into_prompts(label: str, name: str) -> None:
    assert prompt_name(label) == name


def test_named_classes_are_used_and_others_are_written_out(cache: PixelCache) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(3)]
    seen = view(
        (pictures, ["n01440764", "hot_dog", "cat"]),
        cache,
        class_names={"n01440764": "tench", "cat": ""},
        template="a photo of {}.",
    )
    assert dict(zip(seen.classes, seen.names, strict=True)) == {
        "n01440764": "tench",
        "hot_dog": "hot dog",
        "cat": "cat",
    }
    assert seen.template == "a photo of {}."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.json", '{"n1": "tench, Tinca", "7": "red fox"}'),
        ("n.csv", 'n1,"tench, Tinca"\r\n\r\n7,red fox\r\n'),
        ("n.csv", "\ufeffn1, tench, Tinca\n7 , red fox"),
        ("n.tsv", "n1\ttench, Tinca\n7\tred fox\n"),
        ("n.txt", "n1\ttench, Tinca\n7\tred fox\n"),
    ],
)
def test_class_names_are_read_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    spec = load("data", class_names=str(tmp_path / name))
    assert spec.class_names == {"n1": "tench, Tinca", "7": "red fox"}
    assert load(DataSpec("data"), class_names=tmp_path / name) == spec


def test_a_label_with_a_comma_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text('"a, b",both\n')
    assert read_class_names(tmp_path / "n.csv") == {"a, b": "both"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "n.csv",
            b"n1,tench\nn2\n",
            r"^--class-names '.*n\.csv', line 2: 'n2' is not label,name",
        ),
        ("n.json", b"[1, 2]", r"^--class-names '.*n\.json' cannot be read"),
        ("n.json", b"{", r"^--class-names '.*n\.json' cannot be read"),
        ("n.csv", b"caf\xe9,x", r"^--class-names '.*n\.csv' cannot be read"),
    ],
)
def test_a_wrong_class_name_file_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("data", class_names=tmp_path / name)
    with pytest.raises(
        DataError, match=r"^--class-names '.*gone' cannot be opened: No such file"
    ):
        load("data", class_names=tmp_path / "gone")


def test_a_wrong_template_or_option_is_named() -> None:
    assert load("data", template="ein Foto: {}").template == "ein Foto: {}"
    with pytest.raises(
        OptionError, match=r"^--template 'a photo' has no {} for the class name"
    ):
        load("data", template="a photo")
    for template in ("a {} of {b}", "a {} }", "{} and {}"):
        with pytest.raises(
            OptionError, match=r"^--template '.*' has other braces than one {}"
        ):
            load("data", template=template)
    with pytest.raises(OptionError, match=r"^Option 'labels' is unknown; there are: "):
        load("data", labels="x")


def test_a_file_is_recognised_by_where_it_is_not_by_how_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same relative path is another file after a change of folder, and the same file from elsewhere."""
    for place in ("a", "b"):
        (tmp_path / place / "cats").mkdir(parents=True)
        (tmp_path / place / "cats" / "1.png").write_bytes(b"x")
    found = []
    for place in ("a", "b"):
        monkeypatch.chdir(tmp_path / place)
        found.append(dataset._stamp("cats/1.png", os.getcwd()))
        assert found[-1] == dataset._stamp(
            str(tmp_path / place / "cats" / "1.png"), os.getcwd()
        )
        assert found[-1] == dataset._stamp(
            Path("..") / place / "cats" / "1.png", os.getcwd()
        )
    assert found[0][0] != found[1][0]
    assert found[0][0] == str(tmp_path / "a" / "cats" / "1.png")
