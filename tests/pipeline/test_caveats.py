"""What stands beside the verdict: each sentence where it is due, and none where it is not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labelsieve import tables
from labelsieve.data.preflight import Preflight
from labelsieve.pipeline import caveats

PLAIN = {"cat": 100, "dog": 100}


class Looked:
    """A run as far as it is looked at here."""

    def __init__(self, folder: Path, side: float, classes: dict[str, int]) -> None:
        self.folder = folder
        self.preflight: dict[str, Any] = asdict(
            Preflight(
                images=sum(classes.values()),
                usable=sum(classes.values()),
                classes=classes,
                names={name: name for name in classes},
                unreadable=0,
                unreadable_examples=[],
                unlabelled=0,
                twins=[],
                lonely=[],
                id_like=[name for name in classes if name.startswith("n0")],
                conflicts=0,
                conflict_examples=[],
                repeated=0,
                notes=[],
            )
        )
        columns: dict[str, Any] = {name: [None] * 3 for name in tables.QUALITY.names}
        columns["width"], columns["height"] = [side, side, None], [side, side, None]
        table = pa.table(columns, schema=tables.QUALITY)
        tables.write_parquet(table, folder / "quality.parquet")

    def file(self, name: str) -> Path:
        return self.folder / name


@pytest.mark.parametrize(
    ("side", "model", "classes", "expected"),
    [
        (32, "tiny", PLAIN, []),
        (400, "openai/clip-vit-base-patch16", PLAIN, []),
        (
            400,
            "tiny",
            PLAIN,
            ["The demo model (tiny) judged these pictures, about 400"],
        ),
        (
            32,
            "tiny",
            {"n01440764": 90, "n01443537": 80},
            ["Most class names look like ids"],
        ),
        (32, "tiny", {"cat": 40, "dog": 40}, ["With 80 images every figure"]),
        (32, "tiny", {"a": 3, "b": 2, "c": 200}, ["2 of 3 classes have fewer than 5"]),
    ],
)
def test_each_is_said_where_it_is_due(
    tmp_path: Path, side: int, model: str, classes: dict[str, int], expected: list[str]
) -> None:
    run: Any = Looked(tmp_path, side, classes)
    said = caveats.of_run(run, model, {"dark": 0, "crops_sought": 0}, [], {})
    assert len(said) == len(expected)
    for sentence, start in zip(said, expected, strict=True):
        assert sentence.startswith(start)


def test_the_demo_model_is_no_reason_to_rename_classes(tmp_path: Path) -> None:
    run: Any = Looked(tmp_path, 400, PLAIN)
    names = ["Text is the wrong tool here."]
    (said,) = caveats.of_run(run, "tiny", {"dark": 0, "crops_sought": 0}, names, {})
    assert "--model openai/clip-vit-base-patch16" in said and "32 × 32" in said
    assert (
        caveats.of_run(run, "other", {"dark": 0, "crops_sought": 0}, names, {}) == names
    )


def test_items_that_are_no_pictures_have_no_size(tmp_path: Path) -> None:
    run: Any = Looked(tmp_path, 400, PLAIN)
    (tmp_path / "quality.parquet").unlink()
    assert caveats.of_run(run, "tiny", {}, [], {}) == []


@pytest.mark.parametrize(
    ("width", "edge", "kind", "said"),
    [
        (288, 32, "set", True),
        (288, 32, "single", True),
        # 3:2, as cameras make them: with one label the middle is enough
        (144, 32, "set", True),
        (144, 32, "single", False),
        (96, 32, "set", False),
        # both sides are resized: nothing is cut off
        (288, None, "set", False),
    ],
)
def test_pictures_of_which_the_model_sees_the_middle(
    tmp_path: Path, width: int, edge: int | None, kind: str, said: bool
) -> None:
    run: Any = Looked(tmp_path, 96, PLAIN)
    columns: dict[str, Any] = {name: [None] * 3 for name in tables.QUALITY.names}
    columns["width"], columns["height"] = [width, width, None], [96, 96, None]
    table = pa.table(columns, schema=tables.QUALITY)
    tables.write_parquet(table, tmp_path / "quality.parquet")
    facts = {"preprocess": {"shortest_edge": edge}, "labels": kind}
    told = caveats.of_run(run, "other", {"dark": 0, "crops_sought": 0}, [], facts)
    assert len(told) == said
    if said and width == 288:
        assert told[0].startswith("Of 2 of 2 pictures the model saw only the square")
        assert "33.3 % of each" in told[0]
