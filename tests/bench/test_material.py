"""Tables with given and true labels, from data of every kind."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fixtures import annotated

from labelsieve.bench import material as tables_of
from labelsieve.bench.plan import Data, Noise
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

NO_WATCH: Any = None  # these steps do not look at it


def material(
    data: Data, noise: Noise, root: Path, folder: Path, seed: int = 0
) -> DataSpec:
    folder.mkdir(exist_ok=True)
    job = {
        "data": asdict(data),
        "noise": asdict(noise),
        "seed": seed,
        "data_root": str(root),
    }
    return DataSpec(**tables_of.material(job, folder, NO_WATCH)["spec"])


def truth(
    data: Data, root: Path, folder: Path, labels_are_true: bool = True
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return tables_of.truth(
        {
            "data": asdict(data),
            "data_root": str(root),
            "labels_are_true": labels_are_true,
        },
        folder,
        NO_WATCH,
    )


def labels(spec: DataSpec) -> dict[str, tuple[str | None, str | None]]:
    return {row.key: (row.label, row.truth) for row in open_source(spec).rows()}


TABLE = Data(
    "d",
    path="digits.parquet",
    image_column="image",
    id_column="id",
    truth_column="true",
)


def test_recorded_labels_are_read_where_they_lie(
    digit_data: Path, tmp_path: Path
) -> None:
    spec = material(TABLE, Noise("recorded", column="person"), digit_data, tmp_path)
    assert Path(spec.data) == (digit_data / "digits.parquet").resolve() and not list(
        tmp_path.iterdir()
    )
    rows = pq.read_table(digit_data / "digits.parquet").to_pylist()
    assert labels(spec) == {r["id"]: (r["person"], r["true"]) for r in rows}


def test_planted_errors_replace_the_true_labels(
    digit_data: Path, tmp_path: Path
) -> None:
    one, again, other = (
        labels(
            material(
                TABLE, Noise("symmetric", 0.4), digit_data, tmp_path / str(n), seed=s
            )
        )
        for n, s in enumerate((1, 1, 2))
    )
    true = {
        r["id"]: r["true"]
        for r in pq.read_table(digit_data / "digits.parquet").to_pylist()
    }
    assert {k: t for k, (_, t) in one.items()} == true
    assert one == again != other
    assert 0.2 < np.mean([given != t for given, t in one.values()]) < 0.6


def test_a_limit_draws_the_same_images_for_every_noise(
    digit_data: Path, tmp_path: Path
) -> None:
    small, large = (
        Data(**{**asdict(TABLE), "noise": (), "limit": n}) for n in (20, 40)
    )
    planted = labels(
        material(small, Noise("symmetric", 0.4), digit_data, tmp_path / "a", seed=5)
    )
    recorded = labels(
        material(small, Noise("recorded", column="person"), digit_data, tmp_path / "b")
    )
    alone = labels(DataSpec(**truth(small, digit_data, tmp_path / "c")["spec"]))
    more = labels(material(large, Noise("pair", 0.4), digit_data, tmp_path / "d"))
    assert (
        planted.keys() == recorded.keys() == alone.keys() <= more.keys()
        and len(planted) == 20
        and len(more) == 40
    )
    whole = labels(
        material(TABLE, Noise("recorded", column="person"), digit_data, tmp_path / "e")
    )
    assert recorded == {k: whole[k] for k in recorded}
    assert {k: given for k, (given, _) in alone.items()} == {
        k: t for k, (_, t) in recorded.items()
    }


def test_folders_and_embedded_digits(digit_folder: Path, tmp_path: Path) -> None:
    folder = Data("f", path="digits", class_names={"zero": "nought"}, template="a {}")
    spec = material(folder, Noise("pair", 0.5), digit_folder.parent, tmp_path / "a")
    found = labels(spec)
    assert len(found) == 40 and {
        key.partition("/")[0] == true for key, (_, true) in found.items()
    } == {True}
    assert spec.class_names == {"zero": "nought"} and spec.template == "a {}"
    known = truth(folder, digit_folder.parent, tmp_path / "b")
    assert known["known"] and labels(DataSpec(**known["spec"])).keys() == found.keys()
    digits = labels(
        material(
            Data("d", embedded="digits", limit=50),
            Noise("symmetric", 0.0),
            tmp_path,
            tmp_path / "c",
        )
    )
    assert len(digits) == 50 and all(given == true for given, true in digits.values())


def test_class_names_may_be_a_file(digit_data: Path, tmp_path: Path) -> None:
    (digit_data / "names.csv").write_text("zero,nought\n")
    data = Data(**{**asdict(TABLE), "noise": (), "class_names": "names.csv"})
    assert material(
        data, Noise("recorded", column="person"), digit_data, tmp_path
    ).class_names == {"zero": "nought"}


def test_labels_that_nobody_checked_are_not_called_true(
    digit_folder: Path, tmp_path: Path
) -> None:
    assert not truth(
        Data("f", path="digits"), digit_folder.parent, tmp_path, labels_are_true=False
    )["known"]


def test_archives_that_are_not_there_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"there is no such folder. Get cifar-100-binary.tar.gz"
    ):
        material(
            Data("c", archive="cifar100", folder="nowhere"),
            Noise("pair", 0.2),
            tmp_path,
            tmp_path,
        )


def test_archives_keep_their_true_labels_beside_planted_and_recorded_ones(
    tmp_path: Path,
) -> None:
    """A miniature of the official layout: two label bytes and three planes a picture, and
    the human labels beside it.
    """
    clean, noisy = [k % 5 for k in range(20)], [(k + (k < 4)) % 5 for k in range(20)]
    rng = np.random.default_rng(0)
    records = b"".join(
        bytes([0, k]) + rng.integers(0, 256, 3072, dtype=np.uint8).tobytes()
        for k in clean
    )
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(records)
    (tmp_path / "fine_label_names.txt").write_text(
        "".join(f"class_{k}\n" for k in range(100))
    )
    torch.save(
        {"clean_label": np.array(clean), "noisy_label": np.array(noisy)},
        tmp_path / "CIFAR-100_human.pt",
    )
    human = Data("h", archive="cifar100n", template="a {}")
    recorded = material(human, Noise("recorded"), tmp_path, tmp_path / "a")
    expected = [(f"class_{g}", f"class_{t}") for g, t in zip(noisy, clean, strict=True)]
    assert list(labels(recorded).values()) == expected and recorded.template == "a {}"
    few = Data(**{**asdict(human), "noise": (), "limit": 8})
    drawn = labels(material(few, Noise("recorded"), tmp_path, tmp_path / "b"))
    assert len(drawn) == 8 and drawn.items() <= labels(recorded).items()
    planted = labels(material(human, Noise("pair", 1.0), tmp_path, tmp_path / "c"))
    assert [t for _, t in planted.values()] == [t for _, t in expected] and all(
        g != t for g, t in planted.values()
    )
    known = truth(human, tmp_path, tmp_path / "d", labels_are_true=False)
    assert known["known"] and [
        g for g, _ in labels(DataSpec(**known["spec"])).values()
    ] == [t for _, t in expected]


def test_a_column_that_is_not_there_is_named(digit_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Column 'persn' is unknown"):
        material(TABLE, Noise("recorded", column="persn"), digit_data, tmp_path)


def test_votes_and_boxes_are_read_as_scan_reads_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    content = annotated.coco(data)
    annotated.write_json(data / "a.json", content)
    (data / "votes.csv").write_text(
        "image,id,x1,x2,x3,true\n"
        "images/1.png,a,red,red,blue,blue\nimages/3.png,b,blue,blue,blue,blue\n"
    )
    boxes = material(
        Data("b", path="a.json", items="boxes"),
        Noise("pair", 0.0),
        data,
        tmp_path / "a",
    )
    found = sorted(true for _, true in labels(boxes).values() if true)
    assert found == sorted(["red", "blue", "green", "blue", "blue", "red"])
    votes = Data("v", path="votes.csv", id_column="id", vote_columns="x*")
    majority = material(votes, Noise("pair", 0.0), data, tmp_path / "b")
    assert labels(majority) == {"a": ("red", "red"), "b": ("blue", "blue")}
    known = replace(votes, truth_column="true")
    recorded = labels(material(known, Noise("recorded"), data, tmp_path / "c"))
    assert recorded == {"a": ("red", "blue"), "b": ("blue", "blue")}
    one = labels(material(known, Noise("recorded", column="x3"), data, tmp_path / "d"))
    assert one == {"a": ("blue", "blue"), "b": ("blue", "blue")}
    truths = DataSpec(**truth(known, data, tmp_path / "e")["spec"])
    assert labels(truths) == {"a": ("blue", None), "b": ("blue", None)}
