from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve import registry
from labelsieve.data.load import load
from labelsieve.data.sources import archive, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError
from labelsieve.noise.context import Plan
from labelsieve.noise.planting import plant
from labelsieve.pipeline.scan import scan
from labelsieve.runs.pictures import open_pictures
from labelsieve.runs.run import Run


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """CUB-200-2011 in its own layout, with two species of six images each, three of them for
    testing."""
    top = tmp_path / "birds" / "CUB_200_2011"
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    lists: dict[str, list[Any]] = {
        "images": [],
        "image_class_labels": [],
        "train_test_split": [],
        "classes": names,
    }
    for i in range(12):
        name, rng = names[i % 2], np.random.default_rng(i)
        path = top / "images" / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            rng.integers(
                100 * (i % 2), 100 + 100 * (i % 2), (20, 20, 3), dtype=np.uint8
            )
        ).save(path)
        lists["images"].append(f"{name}/{i}.png")
        lists["image_class_labels"].append(i % 2 + 1)
        lists["train_test_split"].append(int(i < 9))
    for file, values in lists.items():
        (top / f"{file}.txt").write_text(
            "".join(f"{i + 1} {v}\n" for i, v in enumerate(values))
        )
    return tmp_path / "birds"


def test_a_named_archive_knows_its_labels_and_names(birds: Path) -> None:
    spec = load(f"archive:cub-200-2011:{birds}")
    assert (
        dict(spec.class_names)["002.Laysan_Albatross"] == "Laysan Albatross"
        and spec.split == "train"
    )
    assert spec == registry.load("data/archives", "cub-200-2011").open(birds)
    assert len(list(open_source(spec).rows())) == 9
    assert (
        len(
            list(
                open_source(load(f"archive:cub-200-2011:{birds}", split="test")).rows()
            )
        )
        == 3
    )


def test_what_the_user_says_comes_before_what_the_archive_knows(birds: Path) -> None:
    spec = load(
        f"archive:cub-200-2011:{birds}",
        class_names={"002.Laysan_Albatross": "gooney bird"},
    )
    assert dict(spec.class_names) == {"002.Laysan_Albatross": "gooney bird"}


def test_a_scan_of_an_archive_can_be_opened_again_from_elsewhere(
    birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(birds.parent)
    scan("archive:cub-200-2011:birds", output=tmp_path / "run", method="zero-shot")
    monkeypatch.chdir("/")
    opened = Run(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["command"]["data"] == f"archive:cub-200-2011:{birds}"
    ids = opened.scores["sample_id"].to_pylist()
    assert len(ids) == 9 and all(i.startswith("images/0") for i in ids)
    assert (
        open_pictures(opened).read(ids[0])
        == birds / "CUB_200_2011" / ids[0].rpartition("#")[0]
    )


def test_errors_can_be_planted_into_an_archive(birds: Path, tmp_path: Path) -> None:
    record = plant(
        f"archive:cub-200-2011:{birds}",
        Plan("symmetric", 0.4, 3),
        tmp_path / "planted.csv",
    )
    assert record["images"] == 9 and record["wrong"] > 0
    rows = list(
        open_source(
            DataSpec(
                tmp_path / "planted.csv",
                label_column="given_label",
                truth_column="true_label",
            )
        ).rows()
    )
    assert sum(r.label != r.truth for r in rows) == record["wrong"]
    assert all(Path(r.image).is_file() for r in rows)


@pytest.mark.parametrize("data", ["archive:", "archive:cifar100", "archive:cifar100:"])
def test_a_folder_must_be_named(data: str) -> None:
    with pytest.raises(DataError, match=r"names no folder.*archive:NAME:FOLDER"):
        load(data)


def test_an_unknown_archive_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"Archive 'cifar-100' is unknown.*Did you mean 'cifar100'\?"
    ):
        load(f"archive:cifar-100:{tmp_path}")


@pytest.mark.parametrize("option", ["image_column", "id_column", "root"])
def test_options_of_tables_do_not_apply(birds: Path, option: str) -> None:
    with pytest.raises(DataError, match=f"--{option.replace('_', '-')} does not apply"):
        open_source(load(f"archive:cub-200-2011:{birds}", **{option: str(birds)}))


def test_an_unknown_label_set_is_refused(birds: Path) -> None:
    with pytest.raises(
        DataError, match="--truth-column: Label set 'true' is unknown; there are: label"
    ):
        open_source(load(f"archive:cub-200-2011:{birds}", truth_column="true"))


def test_names_that_are_no_utf8_keep_their_bytes() -> None:
    listing = archive.Listing(
        [b"a%\xff.png".decode("utf-8", "surrogateescape")],
        {"label": ["x"]},
        lambda key: key,
    )
    source = archive.ArchiveSource(listing, "label", None, "train")
    (row,) = source.rows()
    assert row.uri == "a%25%FF.png" and source.read(row.uri) == listing.keys[0]


def test_pictures_without_labels_are_read_without_them(birds: Path) -> None:
    spec = DataSpec(f"archive:cub-200-2011:{birds}", labelled=False)
    assert {r.label for r in open_source(spec).rows()} == {None}
