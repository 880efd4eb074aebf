from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.data.dataset import from_manifest
from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.manifest import CHUNK, read
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.pixel_cache import PixelCache
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def manifest(data: Any, items: ImageItems, **options: Any) -> list[dict[str, Any]]:
    """Rows of the manifest in the order of their readable paths."""
    table = read(open_source(DataSpec(data, **options)), items).table
    return sorted(table.to_pylist(), key=lambda r: (r["path"], r["given_label"] or ""))


# --- every row keeps its place


def test_unreadable_images_keep_their_row_with_a_reason(
    digit_folder: Path, items: ImageItems
) -> None:
    before = {r["path"]: r for r in manifest(digit_folder, items)}
    whole = sorted(before)
    (digit_folder / whole[3]).write_bytes(b"")
    (digit_folder / whole[7]).write_bytes(b"this is no image")
    data = (digit_folder / whole[11]).read_bytes()
    (digit_folder / whole[11]).write_bytes(data[: len(data) // 2])
    (digit_folder / whole[15]).unlink()
    (digit_folder / whole[15]).symlink_to("nowhere.png")
    os.mkfifo(digit_folder / "one" / "pipe.png")
    after = {r["path"]: r for r in manifest(digit_folder, items)}
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
    broken = {"bad": lambda n: b"bad", "empty": lambda n: b""}
    images = [broken.get(k, pictures.__getitem__)(n) for n, k in enumerate(kinds)]
    labels = [None if k == "unlabelled" else f"label {n}" for n, k in enumerate(kinds)]
    cache = PixelCache(Path(os.environ["LABELSIEVE_CACHE"]) / "laws", 8, 8)
    look = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)
    items = ImageItems(look, cache)
    spec = DataSpec((images, labels))
    listed = read(open_source(spec), items)
    rows = {r["path"]: r for r in listed.table.to_pylist()}
    assert len(rows) == len(kinds)
    for n, kind in enumerate(kinds):
        row = rows[f"row {n}"]
        assert row["given_label"] == labels[n]
        assert row["status"] == {"good": "ok", "unlabelled": "unlabelled"}.get(
            kind, "corrupt"
        )
        if kind in ("good", "unlabelled"):
            assert np.array_equal(cache.read(np.array([row["slot"]]))[0], pictures[n])
    seen = from_manifest(listed, spec, items)
    for row, (number, label) in enumerate(
        zip(seen.ids.to_pylist(), seen.labels, strict=True)
    ):
        at = int(number.partition("#")[0].removeprefix("row"))
        assert seen.classes[label] == f"label {at}"
        assert (seen.inputs(np.array([row])) == at).all()
    cache.close()


def test_many_chunks_keep_the_source_order_of_labels_and_truth(
    items: ImageItems, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    count = 3 * CHUNK + 5
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
    found = read(source, items, want_truth=True)
    assert found.truth is not None
    truth = {r["sample_id"]: r["true_label"] for r in found.truth.to_pylist()}
    for row in found.table.to_pylist():
        n = int(row["sample_id"].partition("#")[0][1:])
        assert (
            row["given_label"] == f"g{n}"
            and truth[row["sample_id"]] == f"t{n}"
            and row["uri"] == f"row:{n}"
        )
        assert (items.cache.read(np.array([row["slot"]])) == n % 256).all()


# --- ids


def test_ids_are_path_and_content(digit_folder: Path, items: ImageItems) -> None:
    import hashlib

    for row in manifest(digit_folder, items):
        digest = hashlib.sha256((digit_folder / row["path"]).read_bytes()).hexdigest()
        assert (
            row["content_hash"] == digest
            and row["sample_id"] == f"{row['path']}#{digest[:12]}"
        )


# --- duplicates


def test_the_same_image_with_other_labels_is_a_conflict(items: ImageItems) -> None:
    same, single, twice = (np.full((8, 8), n, np.uint8) for n in (1, 2, 3))
    found = manifest(
        (
            [same, single, same, twice, twice, b"bad", b"bad"],
            ["cat", "cat", "dog", "cat", "cat", "cat", "dog"],
        ),
        items,
    )
    assert [(r["status"], r["reason"]) for r in found[:5]] == [
        ("duplicate-conflict", "the same image is also labelled 'dog'"),
        ("ok", ""),
        ("duplicate-conflict", "the same image is also labelled 'cat'"),
        ("ok", ""),
        ("ok", ""),
    ]
    assert [r["status"] for r in found[5:]] == ["corrupt", "corrupt"]


def test_a_conflict_among_many_labels_names_a_few(items: ImageItems) -> None:
    found = manifest(
        ([np.zeros((8, 8), np.uint8)] * 9, [f"c{n}" for n in range(9)]), items
    )
    assert (
        found[0]["reason"]
        == "the same image is also labelled 'c1', 'c2', 'c3', 'c4', 'c5' and 3 more"
    )


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
            "^The only image cannot be used. 'row 0': no label",
        ),
    ],
)
def test_data_without_a_usable_image_are_named(
    data: Any, message: str, items: ImageItems
) -> None:
    with pytest.raises(DataError, match=message):
        manifest(data, items)


def test_a_folder_without_images_says_what_was_left_out(
    tmp_path: Path, items: ImageItems
) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.doc").touch()
    with pytest.raises(
        DataError,
        match=r"^There are no images\. 1 file in 'cat' is not an image by its suffix",
    ):
        manifest(tmp_path, items)
