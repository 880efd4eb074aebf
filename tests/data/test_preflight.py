from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.data import preflight
from labelsieve.data.labels import SINGLE
from labelsieve.data.manifest import Manifest
from labelsieve.pipeline import scan
from labelsieve.tables import CONFLICT, CORRUPT, MANIFEST, OK, SCORED, UNLABELLED

Row = tuple[str | None, str, str]  # label, status, content


def manifest(
    rows: Sequence[Row], notes: Sequence[str] = (), *declared: str
) -> Manifest:
    occurring = sorted({label for label, _, _ in rows if label is not None})
    table = pa.table(
        {
            "sample_id": [str(n) for n in range(len(rows))],
            "uri": [""] * len(rows),
            "path": [f"{n}.png" for n in range(len(rows))],
            "given_label": [r[0] for r in rows],
            "split": [None] * len(rows),
            "content_hash": [r[2] for r in rows],
            "slot": [0] * len(rows),
            "status": [r[1] for r in rows],
            "reason": [f"why {n}" for n in range(len(rows))],
        },
        MANIFEST,
    )
    classes = tuple(dict.fromkeys([*declared, *occurring]))
    return Manifest(table, None, list(notes), SINGLE, classes)


def look(labels: list[str], names: dict[str, str] | None = None) -> preflight.Preflight:
    rows: list[Row] = [(label, OK, str(n)) for n, label in enumerate(labels)]
    return preflight.check(manifest(rows), names or {})


@pytest.mark.parametrize("label", ["NaN", "None", "n/a", " null "])
def test_labels_that_read_as_none_are_asked_about(label: str) -> None:
    (said,) = [w for w in look([label, label, "cat", "cat"]).warnings() if "none" in w]
    assert f"taken for classes: {label} (2 images). Leave these cells empty" in said
    assert not any("none" in w for w in look(["nana", "nana", "cat", "cat"]).warnings())


statuses = st.sampled_from([OK, CORRUPT, CONFLICT, UNLABELLED])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["cat", "dog", "owl"]), statuses, st.sampled_from("pqrs")
        ),
        max_size=50,
    )
)
def test_counts_are_those_of_a_plain_count(rows: list[Row]) -> None:
    rows = [
        (None if status == UNLABELLED else label, status, content)
        for label, status, content in rows
    ]
    found = preflight.check(manifest(rows), {})
    labels = Counter(label for label, _, _ in rows if label is not None)
    assert found.images == len(rows)
    assert found.usable == sum(status in SCORED for _, status, _ in rows)
    assert found.classes == labels
    assert found.lonely == sorted(c for c, n in labels.items() if n == 1)
    assert found.unreadable == sum(status == CORRUPT for _, status, _ in rows)
    assert found.unlabelled == sum(status == UNLABELLED for _, status, _ in rows)
    assert found.conflicts == sum(status == CONFLICT for _, status, _ in rows)
    contents = [content for _, status, content in rows if status == OK]
    assert found.repeated == len(contents) - len(set(contents))
    assert preflight.Preflight(**json.loads(json.dumps(found.as_dict()))) == found


@pytest.mark.parametrize(
    ("labels", "twins"),
    [
        (["cat", "Cat", "dog"], [["Cat", "cat"]]),
        (
            ["hot dog", "hotdog", "Hot_Dog", "hot-dog "],
            [["Hot_Dog", "hot dog", "hot-dog ", "hotdog"]],
        ),
        (["café", "cafe\u0301", "CAFÉ"], [sorted(["café", "cafe\u0301", "CAFÉ"])]),
        (["cat", "cats", "car"], []),
        (["straße", "STRASSE"], [["STRASSE", "straße"]]),
    ],
)
def test_classes_that_differ_only_in_case_or_spaces(
    labels: list[str], twins: list[list[str]]
) -> None:
    found = look(labels)
    assert found.twins == twins
    assert any("differ only in case or spaces" in w for w in found.warnings()) == bool(
        twins
    )


IDS = [
    "n01440764",
    "class_7",
    "class7",
    "Class 12",
    "7",
    "007",
    "12-3",
    "label_0",
    "c12",
    "cat_3",
    "ID4",
    "3f2a9c8b1d",
    "550e8400-e29b-41d4-a716-446655440000",
    "a123",
    "?!",
]
WORDS = [
    "cat",
    "hot_dog",
    "3D printer",
    "Boeing 747",
    "Fabaceae",
    "deadbeef",
    "Katze",
    "猫",
    "n",
    "class",
    "category",
    "T-shirt",
    "naïve",
    "v8 engine",
]


@pytest.mark.parametrize("label", IDS)
def test_names_that_mean_nothing_to_a_language_model(label: str) -> None:
    assert look([label, "cat"]).id_like == [label]
    named = look([label, "cat"], {label: "tench"})
    assert named.id_like == [] and named.names == {label: "tench", "cat": "cat"}


@pytest.mark.parametrize("label", WORDS)
def test_names_that_mean_something(label: str) -> None:
    assert look([label, "dog"]).id_like == []


def test_names_that_fit_no_class_are_told() -> None:
    found = look(["cat", "dog"], {"cta": "a cat", "dog": "a dog"})
    assert found.unused_names == ["cta"]
    assert found.warnings()[-1] == (
        "--class-names names 1 label without an image: cta."
    )


def test_lists_are_cut_and_counts_are_whole() -> None:
    rows = [("a", CORRUPT, "")] * 50 + [("a", CONFLICT, "x")] * 40
    found = preflight.check(manifest(rows, [f"note {n}" for n in range(90)]), {})
    assert (found.unreadable, found.conflicts) == (50, 40)
    assert found.unreadable_examples == [
        {"path": f"{n}.png", "reason": f"why {n}"} for n in range(preflight.SHOWN)
    ]
    assert found.conflict_examples[0] == {"path": "50.png", "reason": "why 50"}
    assert (
        len(found.conflict_examples)
        == preflight.SHOWN
        == sum(w.startswith("Note ") for w in found.warnings())
    )


def test_a_name_of_thousands_of_letters_is_shortened() -> None:
    found = manifest([("a", CORRUPT, "x"), ("b", OK, "y")])
    table = found.table.set_column(
        found.table.column_names.index("path"), "path", pa.array(["x" * 5000, "1.png"])
    )
    (line, *_) = preflight.check(replace(found, table=table), {}).warnings()
    assert line.startswith("1 image is unreadable") and "x…'" in line
    assert len(line) < 300


def test_declared_classes_without_an_image_are_told() -> None:
    found = preflight.check(
        manifest([("b", OK, "x"), ("a", OK, "y")], (), "z", "b"), {}
    )
    assert found.empty == ["z"]
    assert "1 declared class has no image: z." in found.warnings()


def test_a_clean_data_set_gives_no_warning() -> None:
    assert look(["cat", "dog", "cat", "dog"]).warnings() == []


def test_everything_at_once_on_a_real_folder(
    digit_folder: Path, encode: Callable[[np.ndarray], bytes]
) -> None:
    def put(name: str, data: bytes) -> None:
        (digit_folder / name).parent.mkdir(exist_ok=True)
        (digit_folder / name).write_bytes(data)

    one = (digit_folder / "one").glob("*.png")
    put("two/copy.png", next(one).read_bytes())
    put("One/a.png", encode(np.full((8, 8), 9, np.uint8)))
    put("n0123456/a.png", encode(np.full((8, 8), 7, np.uint8)))
    put("three/broken.png", b"")
    put(".ipynb_checkpoints/a.png", b"x")
    put("three/.DS_Store", b"x")
    (digit_folder / "nothing").mkdir()
    found = scan.look(str(digit_folder))
    assert (
        found.images == 44
        and found.usable == 43
        and found.unreadable == 1
        and found.conflicts == 2
    )
    assert (
        found.twins == [["One", "one"]]
        and found.lonely == ["One", "n0123456"]
        and found.id_like == ["n0123456"]
    )
    assert found.unreadable_examples == [
        {"path": "three/broken.png", "reason": "empty file"}
    ]
    words = " ".join(found.warnings())
    for part in (
        "1 image is unreadable and will not be scored (first: 'three/broken.png', empty file).",
        "Classes 'One' and 'one' differ only in case or spaces.",
        "2 classes have a single image: One, n0123456.",
        "Class names look like ids: n0123456.",
        "give them with --class-names",
        "2 images occur with different labels (first: ",
        "Hidden folder '.ipynb_checkpoints' was left out.",
        "Hidden 'three/.DS_Store' left out.",
        "Class folder 'nothing' holds no images.",
    ):
        assert part in words


def test_rows_without_a_label_are_told(encode: Callable[[np.ndarray], bytes]) -> None:
    pictures = [np.full((8, 8), n, np.uint8) for n in range(4)]
    data: Any = (pictures, ["a", "b", None, ""])
    found = scan.look(data)
    assert found.unlabelled == 2 and found.usable == 2
    assert "2 images have no label and will not be scored." in found.warnings()


def test_oddities_of_texts_are_named_with_count_and_row(
    call: Any, tmp_path: Path
) -> None:
    """Damaged, HTML, leak, empty and twins of one table, as the terminal and JSON say them."""
    rows = [
        ("Shares rose &amp; fell on Monday", "money"),
        ("The cafÃ© was full of people", "cooking"),
        ("[money] The bank raised its rates again", "money"),
        ("  ", "money"),
        ("The match was lost in the last minute", "football"),
        ("the match was LOST in the last minute!", "cooking"),
    ]
    table = tmp_path / "odd.csv"
    lines = "".join(f'"{text}",{label}\n' for text, label in rows)
    table.write_text(f"text,label\n{lines}", encoding="utf-8")
    told = ["--text-column", "text", "--label-column", "label", "--model", "hashing"]
    done = call("scan", table, *told, "--preflight")
    assert done.code == 0, done.err
    assert done.out.startswith("6 texts, 5 usable")
    for said in (
        "Leftovers of HTML: 1 text (first: 'row 0'",
        "Letters that were read in a wrong encoding: 1 text (first: 'row 1'",
        "The label itself, set off from the text: 1 text (first: 'row 2'",
        "1 text is unreadable and will not be scored (first: 'row 3', the text is empty)",
        "The same words with another label",
    ):
        assert said in " ".join(done.out.split()), (said, done.out)
    # it is told of once, though a finding of its own in JSON
    assert "Nothing but spaces" not in done.out
    found = call("scan", table, *told, "--preflight", "--json").json()["findings"]
    counts = {finding["name"]: finding["count"] for finding in found}
    assert counts == dict.fromkeys(("empty", "damaged", "markup", "leak", "twins"), 1)
