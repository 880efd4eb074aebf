"""Commands that refusals propose do what they say, whatever a folder is called, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from fixtures.pictures import put

from labelsieve.data.images import read_bytes
from labelsieve.data.load import load
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._convert import word
from labelsieve.errors import DataError, ImageError

# Names that a shell, an option parser or Python could take for something else.
NAMES = (
    "a b",
    'it\'s "so"',
    "$(touch harm)`touch harm`",
    "-rf",
    "two\nlines",
    "{json}{}{csv};x",
    "ä\\n%s",
)
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
Made = Callable[[Path], dict[str, str]]


def persons(top: Path) -> dict[str, str]:
    expected = {}
    for who in ("0002", "0007", "-1", "0000"):
        name = f"query/{who}_c1s1_000451_03.jpg"
        put(top / name)
        if who not in ("-1", "0000"):
            expected[name] = who
    return expected


def flowers(top: Path) -> dict[str, str]:
    expected = {f"jpg/image_{n:05d}.jpg": str(n % 3) for n in range(1, 7)}
    for name in expected:
        put(top / name)
    labels = [[int(label) for label in expected.values()]]
    scipy.io.savemat(top / "imagelabels.mat", {"labels": np.array(labels, np.uint8)})
    ids = {"trnid": [[1, 3, 5]], "valid": [[2]], "tstid": [[4, 6]]}
    scipy.io.savemat(top / "setid.mat", ids)
    return expected


def items(top: Path) -> dict[str, str]:
    for n in range(4):
        put(top / f"item {n}" / "picture.jpg")
        put(top / f"item {n}" / "label.txt", f"{'cat' if n % 2 else 'dog'}\n")
    return {f"item {n}/picture.jpg": "cat" if n % 2 else "dog" for n in range(4)}


def items_of_json(top: Path) -> dict[str, str]:
    for n in range(4):
        put(top / f"{n}" / "img.png")
        put(top / f"{n}" / "meta.json", json.dumps({"size": 8, "label": f"{n % 2}"}))
    return {f"{n}/img.png": f"{n % 2}" for n in range(4)}


def beside(top: Path) -> dict[str, str]:
    for n in range(4):
        put(top / f"{n}.jpg")
        put(top / f"{n}.txt", f"{'cat' if n % 2 else 'dog'}\n")
    return {f"{n}.jpg": "cat" if n % 2 else "dog" for n in range(4)}


def validation(top: Path) -> dict[str, str]:
    truth = "ILSVRC2012_validation_ground_truth.txt"
    for n in range(1, 4):
        put(top / f"ILSVRC2012_val_{n:08d}.JPEG")
    put(top / truth, "7\n9\n7\n")
    return {f"ILSVRC2012_val_{n:08d}.JPEG": "79"[n % 2 == 0] for n in range(1, 4)}


def words(top: Path) -> dict[str, str]:
    for n in range(6):
        put(top / f"{('cat', 'dog')[n % 2]}.{n}.jpg")
    return {f"{('cat', 'dog')[n % 2]}.{n}.jpg": ("cat", "dog")[n % 2] for n in range(6)}


def ones(top: Path) -> dict[str, str]:
    put(top / "classes.csv", "image,cat,dog\n0.jpg,1,1\n1.jpg,0,1\n")
    for n in range(2):
        put(top / f"{n}.jpg")
    return {"0.jpg": '["cat", "dog"]', "1.jpg": '["dog"]'}


def voc(top: Path) -> dict[str, str]:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>7</xmax><ymax>6</ymax></bndbox>"
    for n in range(2):
        put(top / "JPEGImages" / f"{n}.jpg")
        about = f"<annotation><object><name>c{n}</name>{box}</object></annotation>"
        put(top / "Annotations" / f"{n}.xml", about)
    return {f"JPEGImages/{n}.jpg [1, 1, 6, 5]": f"c{n}" for n in range(2)}


def table_elsewhere(top: Path) -> dict[str, str]:
    put(top / "train.csv", "id,breed\n0,cat\n1,dog\n")
    for n in range(2):
        put(top / "train" / f"{n}.jpg")
    return {"0": "cat", "1": "dog"}


def open_images(top: Path) -> dict[str, str]:
    lines = ["ImageID,Source,LabelName,Confidence"]
    for n in range(3):
        put(top / "train" / f"{n:016x}.jpg")
        lines.append(f"{n:016x},verification,/m/0{n % 2},1")
    put(top / "train-annotations-human-imagelabels.csv", "\n".join(lines))
    return {f"{n:016x}": f"/m/0{n % 2}" for n in range(3)}


def as_printed(message: str, where: Path) -> list[str]:
    """Runs the command of a message in bash; the arguments that its scan would get."""
    command = message[message.index("Try: ") + 5 :] if "Try: " in message else ""
    for mark in ("Write a table: ", "as COCO: ", "set of labels: "):
        command = command or message.partition(mark)[2]
    # the scan prints what it was given, whatever is in it
    script = f"labelsieve() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=where,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode().split("\0")[1:-1]


def rows_of(words: list[str]) -> list[Row]:
    pairs = zip(words[1::2], words[2::2], strict=True)
    options = {flag.removeprefix("--").replace("-", "_"): v for flag, v in pairs}
    return list(open_source(load(words[0], **options)).rows())  # type: ignore[arg-type]


def refusal(data: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        list(open_source(load(str(data))).rows())
    return str(caught.value)


def told(row: Row) -> tuple[str, str | None]:
    """The picture as a person finds it, and its label."""
    return str(row.path), row.label


# every name with two of them, every one of them with two names: what a path goes through is
# the same for all that write a table
ALL: tuple[Made, ...] = (
    *(persons, flowers, items, items_of_json, beside, validation, words, ones),
    *(voc, table_elsewhere, open_images),
)
PAIRS = [
    *((make, NAMES[n % len(NAMES)]) for n, make in enumerate(ALL)),
    *((make, NAMES[(n + 3) % len(NAMES)]) for n, make in enumerate(ALL)),
]


@pytest.mark.parametrize(("make", "name"), PAIRS)
def test_the_command_as_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Made, name: str
) -> None:
    expected = make(tmp_path / name)
    # modules of a stranger's folder are not to run
    for module in ("csv", "glob", "os", "json"):
        put(tmp_path / f"{module}.py", "open('harm', 'w')")
    monkeypatch.chdir(tmp_path)
    before = sorted((tmp_path / name).rglob("*"))
    message = refusal(Path(name))
    rows = rows_of(as_printed(message, tmp_path))
    assert not list(tmp_path.rglob("harm*"))
    assert sorted(map(told, rows)) == sorted(expected.items())
    after = set((tmp_path / name).rglob("*")) - set(before)
    assert after <= {tmp_path / name / "classes-sets.csv"}


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_one_word_for_bash(tmp_path: Path, name: str) -> None:
    script = f"printf '%s\\0' {word(name)}"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True)
    assert done.stdout.decode() == f"{'./' if name[0] == '-' else ''}{name}\0"


class TestPointersOfGitLfs:
    """What was cloned without its content is called so, and not damaged."""

    def test_class_folders(self, tmp_path: Path) -> None:
        for n in range(4):
            put(tmp_path / ("cat", "dog")[n % 2] / f"{n}.jpg", POINTER)
        message = refusal(tmp_path)
        assert "pointers of Git LFS" in message and "git lfs pull" in message

    @pytest.mark.parametrize("name", ["a.parquet", "a.zip", "a.tar", "a.csv", "a.json"])
    def test_one_file(self, tmp_path: Path, name: str) -> None:
        put(tmp_path / name, POINTER)
        message = refusal(tmp_path / name)
        assert "a pointer of Git LFS" in message and "git lfs pull" in message

    def test_one_picture_of_many(self, tmp_path: Path) -> None:
        put(tmp_path / "1.jpg", POINTER)
        with pytest.raises(ImageError, match="git lfs pull"):
            read_bytes(tmp_path / "1.jpg")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {f"leftImg8bit/train/bonn/{n}_leftImg8bit.png": None for n in range(3)},
            "Cityscapes, which has a class for each pixel and none for a picture",
        ),
        (
            {"meta.json": "{}", "ds0/img/1.jpg": None, "ds0/ann/1.jpg.json": "{}"},
            "a project of Supervisely. In Supervisely, run Export to COCO",
        ),
        ({"batches.meta": "x", "data_batch_1": "x"}, "pickles, which could run code"),
        (
            {"x.lance/_versions/1.manifest": "x", "x.lance/data/a.lance": "x"},
            "a table of Lance. Write it as Parquet: python -P -c",
        ),
        (
            {"dataset_meta.json": "{}", "version_control_info.json": "{}"},
            "Deep Lake. Use labelsieve.load((images, labels))",
        ),
        ({"1.png": None, "1.txt": f"a cat {'x' * 60}"}, "a caption each"),
        ({"1.png": None, "1.txt": "0 .5 .5 .1 .1\n"}, "name a data.yaml"),
        ({"data.h5": "x"}, "HDF5, 'data.h5'. Use labelsieve.load"),
        ({"0.png": None, "p.json": '{"assets": {}}'}, "VoTT. In VoTT, choose CSV"),
        (
            {
                "images/train/0.png": None,
                "annotations/train.json": '{"categories": {}, "items": []}',
            },
            "Datumaro. Convert it: pip install 'datumaro[cli]' && datum convert -if datumaro",
        ),
    ],
)
def test_what_people_have_is_called_by_its_name(
    tmp_path: Path, files: dict[str, str | None], words: str
) -> None:
    for name, content in files.items():
        put(tmp_path / "set" / name, content)
    assert words in refusal(tmp_path / "set")
