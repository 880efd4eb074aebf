"""Label Studio: answers of one or several people, our own export read back, pictures found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

import labelsieve
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources.label_studio import file_of
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def choice(*labels: str, name: str = "label") -> dict[str, Any]:
    value = {"choices": list(labels)}
    return {"type": "choices", "from_name": name, "to_name": "image", "value": value}


def task(number: int, *answers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    annotations = [{"result": answer, "was_cancelled": False} for answer in answers]
    data = {"image": "1.png", **more}
    return {"id": number, "data": data, "annotations": annotations}


def write(folder: Path, tasks: Any) -> Path:
    annotated.pictures(folder)
    return annotated.write_json(folder / "tasks.json", tasks)


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(str(path), **options)).rows())


def test_the_majority_of_answers_is_the_label(tmp_path: Path) -> None:
    cat, dog = [choice("cat")], [choice("dog")]
    skipped = task(5, cat)
    skipped["annotations"][0]["was_cancelled"] = True
    tasks = [task(1, cat), task(2, cat, cat, dog), task(3, cat, dog), task(4), skipped]
    source = open_source(DataSpec(write(tmp_path, tasks)))
    found = list(source.rows())
    assert [(r.key, r.label, r.agreement) for r in found] == [
        ("1", "cat", None),
        ("2", "cat", 2 / 3),
        ("3", None, 0.5),
        ("4", None, None),
        ("5", None, None),
    ]
    assert source.notes[0].startswith("the label is the majority of votes")


def test_several_choices_are_a_set(tmp_path: Path) -> None:
    tasks = [task(1, [choice("cat", "dog")]), task(2, [choice("cat")])]
    found = rows(write(tmp_path, tasks))
    assert [r.label for r in found] == ['["cat", "dog"]', '["cat"]']


def test_one_of_several_controls_is_named(tmp_path: Path) -> None:
    both = [choice("cat"), choice("good", name="quality")]
    path = write(tmp_path, [task(1, both)])
    assert [r.label for r in rows(path, label_column="label")] == ["cat"]
    assert [r.label for r in rows(path, label_column="quality")] == ["good"]


def test_the_short_form_is_read_too(tmp_path: Path) -> None:
    """JSON-MIN: an entry per answer."""
    entries = []
    for number, (answer, person) in enumerate([("cat", 1), ("cat", 2), ("dog", 3)]):
        entries.append(
            {
                "image": "1.png",
                "id": 7,
                "choice": answer,
                "annotator": person,
                "annotation_id": number,
                "lead_time": 1.5,
            }
        )
    (row,) = rows(write(tmp_path, entries))
    assert (row.key, row.label, row.agreement) == ("7", "cat", 2 / 3)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/local-files/?d=a%20b/c%25.png", "a b/c%.png"),
        ("/data/upload/1/0a1b2c3d-my%20cat.png", "0a1b2c3d-my cat.png"),
        ("plain/name.png", "plain/name.png"),
    ],
)
def test_addresses_are_files(url: str, name: str) -> None:
    assert file_of(url) == name


def test_uploaded_pictures_are_found_under_their_own_names(tmp_path: Path) -> None:
    tasks = [task(1, [choice("cat")], image="/data/upload/3/0a1b2c3d-1.png")]
    (row,) = rows(write(tmp_path, tasks))
    assert row.image == tmp_path / "1.png"


def test_pictures_that_are_elsewhere_are_asked_for(tmp_path: Path) -> None:
    tasks = [task(1, [choice("cat")], image="/data/local-files/?d=far/1.png")]
    path = write(tmp_path / "set", tasks)
    (tmp_path / "set" / "local-files-root.txt").write_text("/somewhere\n")
    with pytest.raises(DataError, match=r"'far/1\.png', .* with --root /somewhere\.$"):
        rows(path)
    annotated.pictures(tmp_path / "far")
    (row,) = rows(path, root=str(tmp_path))
    assert row.image == tmp_path / "far" / "1.png"


def test_addresses_on_other_machines_are_asked_for(tmp_path: Path) -> None:
    url = "https://images.example.org/1.png"
    path = write(tmp_path, [task(1, [choice("cat")], image=url)])
    with pytest.raises(
        DataError, match=r"'images\.example\.org', .* with --urls images"
    ):
        rows(path)
    (row,) = rows(path, urls="images.example.org")
    assert row.image.url == url and row.label == "cat"


@pytest.mark.parametrize(
    ("tasks", "fault"),
    [
        ([{"data": {}, "annotations": []}], "task 0 has no picture"),
        ([{"data": 3, "annotations": [], "id": 8}], "task 8 has no picture"),
        ([3, {"data": {}, "annotations": []}], "it is no list of tasks"),
    ],
)
def test_faults_are_named(tmp_path: Path, tasks: Any, fault: str) -> None:
    with pytest.raises(DataError, match=rf"as Label Studio: {fault}\."):
        rows(write(tmp_path, tasks))


def test_our_export_is_read_back_after_people_answered(
    tmp_path: Path, digit_folder: Path
) -> None:
    run = labelsieve.scan(
        digit_folder, output=tmp_path / "run", method="zero-shot", model="tiny"
    )
    labelsieve.export(run, "label-studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    # as Label Studio gives them back: with an id and what people said
    for number, one in enumerate(tasks):
        one["id"] = number + 1
        one.setdefault("annotations", [])
    answered = tasks[3]["data"]["sample_id"]
    tasks[3]["annotations"] = [{"result": [choice("nine")]}]
    path = annotated.write_json(tmp_path / "answered.json", tasks)
    root = (tmp_path / "out" / "local-files-root.txt").read_text().strip()
    labels = {r.key: r.label for r in rows(path, root=root)}
    ids = {i.partition("#")[0]: i for i in run.scores["sample_id"].to_pylist()}
    given = dict(
        zip(
            run.scores["sample_id"].to_pylist(),
            run.scores["given_label"].to_pylist(),
            strict=True,
        )
    )
    assert labels.keys() == ids.keys()
    for key, label in labels.items():
        assert label == ("nine" if ids[key] == answered else given[ids[key]])


def _rectangle(**value: Any) -> dict[str, Any]:
    sides = {"x": 1, "y": 1, "width": 5, "height": 5, **value}
    return {"type": "rectanglelabels", "value": sides}


@pytest.mark.parametrize(
    ("annotations", "fault"),
    [
        (5, "'annotations' is no list"),
        ("abc", "'annotations' is no list"),
        ([{"result": 5}], "'result' is no list"),
        ([{"result": [{"type": "choices", "value": {"choices": 5}}]}], "'choices' is"),
        ([{"result": [_rectangle(rectanglelabels=5)]}], "'rectanglelabels' is no list"),
        (
            [{"result": [_rectangle(rectanglelabels={})]}],
            "'rectanglelabels' is no list",
        ),
        ([{"result": [_rectangle(x=10**400)]}], "int too large"),
        ([{"result": [choice("\ud800")]}], "surrogates not allowed"),
    ],
)
def test_what_is_of_another_kind_is_named_with_its_task(
    tmp_path: Path, annotations: Any, fault: str
) -> None:
    path = write(tmp_path, [task(6), {**task(7), "annotations": annotations}])
    with pytest.raises(DataError, match=fault) as caught:
        rows(path)
    assert str(caught.value).startswith(f"'{path}' cannot be read as Label Studio: ")
    assert str(caught.value).endswith("The fault is in task 7.")


def test_names_and_urls_that_cannot_be(tmp_path: Path) -> None:
    bad, good = rows(write(tmp_path, [task(1, image="http://[/x.png"), task(2)]))
    assert good.image.is_file()
    with pytest.raises(DataError, match="names no host"):
        bad.image.read_bytes()
    with pytest.raises(DataError, match="are not below") as caught:
        rows(write(tmp_path, [task(1, image="x" * 5000)]))
    assert len(str(caught.value)) < 600
