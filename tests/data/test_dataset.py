from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from labelsieve.data.dataset import Dataset, from_manifest, prepare, prompt_name
from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.labels import NONE, SET, SINGLE, write_set
from labelsieve.data.manifest import read
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.sources import open_source
from labelsieve.data.sources.arrays import ArraySource
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError


def view(data: Any, items: ImageItems, **options: Any) -> Dataset:
    spec = DataSpec(data, **options)
    items = items
    return from_manifest(read(open_source(spec), items), spec, items)


# --- the truth stays outside


def test_the_truth_is_in_no_table_or_object_that_a_method_sees(
    items: ImageItems, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    cells = [encode(np.full((8, 8), n, np.uint8)) for n in range(4)]
    pq.write_table(
        pa.table({"image": cells, "label": list("abab"), "secret": ["THE-TRUTH"] * 4}),
        tmp_path / "t.parquet",
    )
    spec = DataSpec(tmp_path / "t.parquet", truth_column="secret")
    source = open_source(spec)
    found = read(source, items, want_truth=True)
    assert found.truth is not None and found.truth.column_names == [
        "sample_id",
        "true_label",
    ]
    assert "THE-TRUTH" not in str(found.table.to_pylist())
    seen = from_manifest(found, spec, items)
    fields = {f.name for f in dataclasses.fields(Dataset)}
    assert not {f for f in fields if "tru" in f}
    assert "THE-TRUTH" not in str([getattr(seen, f) for f in fields])
    assert read(source, items).truth is None


# --- ids and fingerprints


def test_moving_the_folder_or_adding_others_changes_no_id(
    digit_folder: Path, items: ImageItems, tmp_path: Path
) -> None:
    before = view(digit_folder, items)
    shutil.copytree(digit_folder, tmp_path / "elsewhere")
    after = view(tmp_path / "elsewhere", items)
    assert after.ids.equals(before.ids) and after.fingerprint == before.fingerprint
    Image.new("RGB", (9, 9)).save(tmp_path / "elsewhere" / "one" / "0000-first.png")
    assert set(before.ids.to_pylist()) < set(
        view(tmp_path / "elsewhere", items).ids.to_pylist()
    )


@pytest.mark.parametrize("kind", ["paths", "bytes"])
def test_the_order_of_rows_changes_nothing_that_a_method_sees(
    kind: str, digit_folder: Path, items: ImageItems
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
        seen.append(view(digit_folder / "t.parquet", items))
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
        assert torch.equal(other.inputs(np.arange(41)), seen[0].inputs(np.arange(41)))


def test_an_image_with_two_labels_is_two_rows(items: ImageItems) -> None:
    same, single, twice = (np.full((8, 8), n, np.uint8) for n in (1, 2, 3))
    labels = ["cat", "cat", "dog", "cat"]
    assert len(view(([same, single, same, twice], labels), items)) == 4


def test_fingerprints_know_labels_and_contents(items: ImageItems) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(4)]
    one, relabelled, other = (
        view((p, y), items)
        for p, y in (
            (pictures, "aabb"),
            (pictures, "abab"),
            ([*pictures[:3], pictures[0] + 9], "aabb"),
        )
    )
    assert one.content == relabelled.content != other.content
    assert len({one.fingerprint, relabelled.fingerprint, other.fingerprint}) == 3


# --- classes and their names


def test_one_class_and_a_strange_class_are_named(items: ImageItems) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(2)]
    with pytest.raises(DataError, match=r"^There is only one class, 'cat'"):
        view((pictures, ["cat", "cat"]), items)
    spec = DataSpec((pictures, ["cat", "dgo"]))
    manifest = read(open_source(spec), items)
    with pytest.raises(
        DataError,
        match=r"^Label 'dgo' is unknown; there are: cat, dog. Did you mean 'dog'\?",
    ):
        from_manifest(manifest, spec, items, ["cat", "dog"])


def test_given_classes_keep_their_numbers(items: ImageItems) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(2)]
    names = {"owl": "an owl", "cat": "a cat", "dog": "a dog"}
    spec = DataSpec((pictures, ["dog", "owl"]), class_names=names)
    manifest = read(open_source(spec), items)
    seen = from_manifest(manifest, spec, items, ["owl", "cat", "dog"])
    grey = seen.inputs(np.arange(2))[:, 0, 0, 0].tolist()
    assert {g: seen.classes[k] for g, k in zip(grey, seen.labels, strict=True)} == {
        0: "dog",
        1: "owl",
    }
    assert seen.names == ("an owl", "a cat", "a dog")


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


def test_named_classes_are_used_and_others_are_written_out(items: ImageItems) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(3)]
    seen = view(
        (pictures, ["n01440764", "hot_dog", "cat"]),
        items,
        class_names={"n01440764": "tench", "cat": ""},
        template="a photo of {}.",
    )
    assert dict(zip(seen.classes, seen.names, strict=True)) == {
        "n01440764": "tench",
        "hot_dog": "hot dog",
        "cat": "cat",
    }
    assert seen.template == "a photo of {}."


# --- labels of other kinds


class Tagged(ArraySource):
    """Images with sets of tags."""

    labels_are = SET


@pytest.fixture
def tagged() -> Tagged:
    pictures = [np.full((8, 8), 40 * n, np.uint8) for n in range(4)]
    sets: list[list[str]] = [["dog", "cat"], [], ["owl"], ["cat"]]
    return Tagged(pictures, [write_set(one) for one in sets], [], 4)


def test_sets_of_labels_are_a_matrix(tagged: Tagged) -> None:
    preprocess = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)
    seen = prepare(
        DataSpec("tags"), preprocess, source=tagged, kinds=(SINGLE, SET)
    ).dataset
    assert seen.classes == ("cat", "dog", "owl") and len(seen) == 4
    assert seen.labels.shape == (4, 3) and seen.labels.dtype == bool
    rows = [int(i.partition("#")[0].removeprefix("row")) for i in seen.ids.to_pylist()]
    given = [row.label for row in tagged.rows()]
    assert seen.coding.decode(seen.labels).to_pylist() == [given[row] for row in rows]


def test_sets_of_labels_are_refused_where_they_cannot_be_judged(tagged: Tagged) -> None:
    preprocess = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)
    with pytest.raises(
        OptionError,
        match=r"^The data have a set of labels per image; this needs data with one label",
    ):
        prepare(DataSpec("tags"), preprocess, source=tagged)
    # what is only classified may be labelled in any way
    unlabelled = DataSpec("tags", labelled=False)
    seen = prepare(unlabelled, preprocess, source=tagged).dataset
    assert (seen.labels == NONE).all() and seen.classes == ()


# --- prepare


def test_only_what_is_to_be_kept_is_seen(digit_folder: Path) -> None:
    preprocess = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)
    spec = DataSpec(digit_folder)
    whole = prepare(spec, preprocess)
    keep = whole.dataset.ids[::2]
    half = prepare(spec, preprocess, classes=whole.dataset.classes, keep=keep)
    assert half.dataset.ids.equals(keep)
    assert half.manifest.table.equals(whole.manifest.table)
    assert np.array_equal(half.dataset.labels, whole.dataset.labels[::2])


@pytest.mark.parametrize(
    ("declared", "classes"),
    [
        (["zebra", "unused", "ant"], ("zebra", "unused", "ant")),
        (["zebra", "unused"], ("zebra", "unused", "2")),
        ([], ("0", "2")),
    ],
)
def test_declared_classes_keep_their_order_beside_those_that_methods_see(
    declared: list[str], classes: tuple[str, ...]
) -> None:
    """Scores do not depend on how the classes are listed, what is written for others does."""
    pictures = [np.full((8, 8), 40 * n, np.uint8) for n in range(4)]
    source = ArraySource(pictures, [0, 2, 2, 0], declared, 4)
    preprocess = Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD)
    prepared = prepare(DataSpec("declared"), preprocess, source=source)
    assert prepared.manifest.classes == classes
    assert prepared.dataset.classes == tuple(sorted({classes[0], classes[-1]}))
