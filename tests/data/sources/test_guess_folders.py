"""What people have lying around is refused with a command, and the command works."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fixtures.pictures import put
from PIL import Image

from labelsieve.data.labels import read_set
from labelsieve.data.load import load, read_class_names
from labelsieve.data.sources import Row, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

LABELS = ("cat", "dog", "fox")
SPLITS = ("train", "valid", "test")


def listed(data: str, **options: str) -> list[Row]:
    rows = list(open_source(load(data, **options)).rows())  # type: ignore[arg-type]
    assert all(row.image.is_file() for row in rows if isinstance(row.image, Path))
    return rows


def refusal(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        listed(str(data))
    return str(caught.value)


def followed(message: str) -> list[Row]:
    """The rows that the proposed command reads."""
    words = shlex.split(message.partition("labelsieve scan ")[2])
    pairs = zip(words[1::2], words[2::2], strict=True)
    options = {flag.removeprefix("--").replace("-", "_"): v for flag, v in pairs}
    return listed(words[0], **options)


def counted(rows: list[Row]) -> list[tuple[str | None, str | None]]:
    return sorted({(row.split, row.label) for row in rows}, key=str)


def kaggle(top: Path, header: str, folder: str = "train") -> None:
    lines = [f"{n:04x},{LABELS[n % 3]}" for n in range(6)]
    for n in range(6):
        put(top / folder / f"{n:04x}.jpg")
    put(top / "test" / "00ff.jpg")
    put(top / "train.csv", "\n".join([header, *lines]))


def of_splits(top: Path, name: str, header: str, row: str) -> None:
    """A table in the folder of each split; {} is the picture, {label}, or ones and zeros."""
    for split in SPLITS:
        lines = [header]
        for n in range(6):
            ones = {f"is{k}": int(k == n % 3) for k in range(3)}
            lines.append(row.format(f"{split}{n}.jpg", label=LABELS[n % 3], **ones))
            put(top / split / f"{split}{n}.jpg")
        put(top / split / name, "\n".join(lines))


def roboflow_classes(top: Path) -> None:
    row = "{}, {is0}, {is1}, {is2}"
    of_splits(top, "_classes.csv", "filename, cat, dog, fox", row)


def roboflow_boxes(top: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    of_splits(top, "_annotations.csv", header, "{},8,8,{label},1,1,7,7")


def csv_of_each_split(top: Path) -> None:
    of_splits(top, "labels.csv", "filename,label", "{},{label}")


def csv_beside_splits(top: Path) -> None:
    for split in SPLITS:
        lines = ["filename,label"]
        for n in range(6):
            put(top / split / f"{split}{n}.jpg")
            lines.append(f"{split}{n}.jpg,{LABELS[n % 3]}")
        put(top / f"{split}.csv", "\n".join(lines))


def below_a_group(top: Path) -> None:
    for split in SPLITS:
        for n in range(6):
            put(top / split / "animals" / LABELS[n % 3] / f"{n}.jpg")


EVERY = [(split, label) for split in sorted(SPLITS) for label in LABELS]
PLAIN = [(None, label) for label in LABELS]


@pytest.mark.parametrize(
    ("make", "words", "expected"),
    [
        (roboflow_classes, "--count-columns cat,dog,fox", EVERY),
        (roboflow_boxes, "'*/_annotations.csv'", EVERY),
        (csv_of_each_split, "'*/labels.csv'", EVERY),
        (csv_beside_splits, "train.csv --root train", PLAIN),
        (below_a_group, "scan train/animals", PLAIN),
        (
            lambda top: kaggle(top, "id,breed"),
            "--label-column breed --root train",
            PLAIN,
        ),
        (lambda top: kaggle(top, "id,label"), "--image-column id --root train", PLAIN),
        (
            lambda top: kaggle(top, "image_id,label", "train_images"),
            "--image-column image_id --root train_images",
            PLAIN,
        ),
    ],
)
def test_the_command_that_is_proposed_reads_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: object,
    words: str,
    expected: list[tuple[str | None, str]],
) -> None:
    assert callable(make)
    make(tmp_path / "set")
    monkeypatch.chdir(tmp_path / "set")
    message = refusal(Path("."))
    assert words in message
    assert counted(followed(message)) == expected
    # the table alone says the same, wherever it is named from
    table = next(iter(sorted(tmp_path.glob("set/**/train*.csv"))), None)
    if table is not None:
        monkeypatch.chdir(tmp_path)
        assert counted(followed(refusal(table))) == expected


@pytest.mark.parametrize("name", ["cat.1.jpg", "cat_1.jpg", "train/cat (1).jpg"])
def test_labels_in_names_are_written_into_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(6):
        put(
            tmp_path
            / "my set"
            / name.replace("cat", LABELS[n % 3]).replace("1", f"{n}")
        )
    put(tmp_path / "my set" / "notes.md", "not a picture 12")
    message = refusal(Path("my set"))
    assert "their labels in their names, such as 'cat" in message
    written = message.partition("Write a table: ")[2].partition(" && labelsieve")[0]
    subprocess.run(["bash", "-c", written], check=True)
    assert len(followed(message)) == 6
    assert counted(followed(message)) == PLAIN


def voc(top: Path, files: str, pictures: str) -> None:
    """Six pictures with a box of their own class and one of the next, and a file for each."""
    for n in range(6):
        put(top / pictures / f"{n:04d}.jpg")
        boxes = [
            f"<object><name>{LABELS[(n + more) % 3]}</name><bndbox><xmin>{1 + more}</xmin>"
            "<ymin>1</ymin><xmax>7</xmax><ymax>6.5</ymax></bndbox></object>"
            for more in (0, 1)
        ]
        # the name in it is often that of another machine
        about = f"<annotation><filename>C:/{n}</filename>{''.join(boxes)}</annotation>"
        put(top / files / f"{n:04d}.xml", about)
    put(top / files / "lost.xml", "<annotation></annotation>")


@pytest.mark.parametrize(
    ("files", "pictures"),
    [
        ("Annotations", "JPEGImages"),
        ("annotations", "images"),
        ("train", "train"),
        ("", ""),
    ],
)
def test_pascal_voc_without_lists_becomes_coco(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str, pictures: str
) -> None:
    top = tmp_path / "my set"
    voc(top, files, pictures)
    monkeypatch.chdir(tmp_path)
    before = sorted(top.rglob("*"))
    message = refusal(Path("my set"))
    written = message.partition("as COCO: ")[2].partition(" && labelsieve")[0]
    subprocess.run(["bash", "-c", written], check=True)
    rows = followed(message)
    assert counted(rows) == PLAIN and len(rows) == 12
    assert sorted(top.rglob("*")) == before
    # a file of it says the same
    assert "as COCO" in refusal(Path("my set") / files / "0000.xml")


def ones(
    top: Path, split: str = "", name: str = "classes.csv", mark: str = ","
) -> None:
    """A one for each class that a picture has: none, one or two of three."""
    lines = [mark.join(["id", "image", *(f" {label}" for label in LABELS), "site"])]
    for n in range(6):
        put(top / split / f"{n:04d}.jpg")
        told = [str(int(k in (n % 3, n // 2))) for k in range(3)] if n else ["0"] * 3
        lines.append(mark.join([f"{n:04d}", f"{n:04d}.jpg", *told, f"s{n}"]))
    put(top / split / name, "\n".join(lines))


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("splits", [(), ("train", "valid")])
def test_several_ones_in_a_row_become_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: tuple[str, ...], mark: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in splits or ("",):
        ones(tmp_path / "my set", split, mark=mark)
    message = refusal(Path("my set"))
    written = message.partition("set of labels: ")[2].partition(" && labelsieve")[0]
    subprocess.run(["bash", "-c", written], check=True)
    rows = followed(message)
    expected = [frozenset(LABELS[k] for k in (n % 3, n // 2)) for n in range(1, 6)]
    found = [read_set(row.label) for row in rows if row.label is not None]
    assert [frozenset(labels) for labels in found] == [
        frozenset(),
        *expected,
    ] * max(1, len(splits))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "labels.xlsx",
            "x",
            "a spreadsheet, 'labels.xlsx'. Save it as CSV. Try: labels",
        ),
        (
            "labels.json",
            {"classes": ["a"], "labels": {"1": 0}},
            "FiftyOneImageClassifi",
        ),
        (
            "labels.json",
            {"classes": ["a"], "labels": {"1": [{"bounding_box": []}]}},
            "--output-type fiftyone.types.COCODetectionDataset",
        ),
        (
            "samples.json",
            {"samples": [{"g": {"_cls": "C"}}]},
            "FiftyOneDataset --output",
        ),
        (
            "labels.json",
            {"1.jpg": "cat"},
            "jq -r 'to_entries[] | [.key, .value] | @csv'",
        ),
        ("1.json", {"shapes": [], "imagePath": "1.jpg"}, "LabelMe, a file per picture"),
        (
            "via.json",
            {"1": {"region_attributes": {}}},
            "a project of VIA. In VIA, choose",
        ),
        (
            "1.xml",
            "<annotation></annotation>",
            "Pascal VOC, a file per picture. Write its boxes as COCO: python -P -c ",
        ),
    ],
)
def test_what_other_tools_write_names_its_conversion(
    tmp_path: Path, name: str, content: object, words: str
) -> None:
    for n in range(2):
        put(tmp_path / "images" / f"{n}.jpg")
    put(tmp_path / name, content if isinstance(content, str) else json.dumps(content))
    assert words in refusal(tmp_path)
    # and the file itself
    if name != "labels.xlsx":
        assert words in refusal(tmp_path / name)


def test_zip_files_of_windows_are_read_with_their_folders(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        for n in range(4):
            info = zipfile.ZipInfo("x")
            # as set by the constructor, it would be turned on Windows
            info.filename = f"data\\{LABELS[n % 2]}\\{n}.png"
            file.writestr(info, buffer.getvalue())
    source = open_source(load(tmp_path / "t.zip"))
    rows = list(source.rows())
    assert [(row.path, row.label) for row in rows[:2]] == [
        ("data/cat/0.png", "cat"),
        ("data/dog/1.png", "dog"),
    ]
    assert source.read(rows[1].uri) == buffer.getvalue()
    # a table may name them by either sign
    (tmp_path / "t.csv").write_text(
        "image,label\ndata\\cat\\0.png,a\ndata/dog/1.png,b\n"
    )
    table = open_source(load(tmp_path / "t.csv", root=str(tmp_path / "t.zip")))
    assert {row.image.read_bytes() for row in table.rows()} == {buffer.getvalue()}


def test_names_of_wordnet_as_competitions_write_them(tmp_path: Path) -> None:
    path = tmp_path / "LOC_synset_mapping.txt"
    path.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    names = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}
    assert read_class_names(path) == names


@pytest.mark.parametrize("name", ["$(touch x)", "`touch x`", "a'; touch x; '", "a|b>c"])
def test_a_name_that_a_shell_would_obey_is_quoted_in_advice(
    tmp_path: Path, name: str
) -> None:
    """People paste what is advised, and names come from strangers."""
    inner = tmp_path / "set" / name
    inner.mkdir(parents=True)
    for number in range(4):
        (inner / f"{'cat' if number % 2 else 'dog'}_{number}.png").touch()
    with pytest.raises(DataError) as caught:
        list(open_source(DataSpec(str(inner))).rows())
    command = str(caught.value)
    assert f"cd {shlex.quote(str(inner))} && find" in command
    assert shlex.quote(f"{inner}.csv") in command


def test_votes_below_each_other_are_put_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["image;who;label"]
    for n in range(4):
        put(tmp_path / f"{n}.jpg")
        lines += [f"{n}.jpg;{who};{LABELS[n % 2]}" for who in "ab"]
        lines.append(f"{n}.jpg;c;fox")
    put(tmp_path / "t.csv", "\n".join(lines))
    source = open_source(load("t.csv"))
    # nothing says whose label it is
    assert len(list(source.rows())) == 12 and not any("vote" in n for n in source.notes)
    put(tmp_path / "t.csv", "\n".join(lines).replace("who", "Annotator", 1))
    source = open_source(load("t.csv"))
    list(source.rows())
    (note,) = [n for n in source.notes if "vote of one person" in n]
    # somebody's own table of that name is not written over
    (tmp_path / "t-votes.csv").write_text("mine")
    list((source := open_source(load("t.csv"))).rows())
    (note,) = [n for n in source.notes if "vote of one person" in n]
    command = note[note.index("python -P -c") :].partition(" && ")[0]
    subprocess.run(
        ["bash", "-c", command.replace("python", sys.executable, 1)], check=True
    )
    rows = followed(note)
    assert (tmp_path / "t-votes.csv").read_text() == "mine"
    assert [row.label for row in rows] == ["cat", "dog", "cat", "dog"]
    assert {round(row.agreement or 0, 2) for row in rows} == {0.67}


def test_rows_with_a_box_each_are_said_to_be_judged_as_whole_pictures(
    tmp_path: Path,
) -> None:
    for n in range(3):
        put(tmp_path / f"{n}.jpg")
    lines = [f"{n}.jpg,{LABELS[n % 2]},1,2,3,4" for n in (0, 0, 1, 2)]
    for number, names in enumerate(("xmin,ymin,xmax,ymax", "x1,y1,x2,y2", "a,b,c,d")):
        table = tmp_path / f"t{number}.csv"
        put(table, "\n".join([f"filename,class,{names}", *lines]))
        source = open_source(load(str(table)))
        assert len(list(source.rows())) == 4
        told = [note for note in source.notes if note.startswith("each row has a box")]
        assert len(told) == (number < 2)
