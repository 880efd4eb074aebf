"""Maps of where pictures disagree with their labels, as a file of the run and as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelsieve.errors import RunError
from labelsieve.runs.items import _heat as heat
from labelsieve.runs.items.images import facts, show
from labelsieve.tables import write_parquet


class Opened:
    """As much of a run as maps are read from."""

    def __init__(self, folder: Path, **preprocess: Any) -> None:
        self.folder, self.record = folder, {"preprocess": preprocess}

    def file(self, name: str) -> Path:
        return self.folder / name


def maps_of(folder: Path, **preprocess: Any) -> heat.Maps:
    found = heat.of_run(Opened(folder, **preprocess))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_maps_come_back_by_id(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((3, 4, 4))
    heat.write(tmp_path, pa.array(["b#1", "a#2", "c#3"]), maps)
    found = maps_of(tmp_path)
    read = found.get("a#2")
    assert read is not None and np.abs(read / 255 - maps[1]).max() <= 0.5 / 255 + 1e-9
    assert "a#2" in found and "d" not in found and found.get("d") is None


def test_a_run_without_maps_has_none(tmp_path: Path) -> None:
    assert heat.of_run(Opened(tmp_path)) is None  # type: ignore[arg-type]


def test_a_map_lies_on_what_the_model_saw(tmp_path: Path) -> None:
    heat.write(tmp_path, pa.array(["a"]), np.zeros((1, 2, 2)))
    stretched = maps_of(tmp_path, shortest_edge=None, height=224)
    assert stretched.box(400, 200) == (0, 0, 400, 200)
    middle = maps_of(tmp_path, shortest_edge=256, height=224)
    assert middle.box(512, 256) == (144, 16, 368, 240)
    assert maps_of(tmp_path, shortest_edge="x", height=0).box(9, 9) == (0, 0, 9, 9)


BAD: dict[str, Any] = {
    "no columns": {"sample_id": ["a"]},
    "no square": {
        "sample_id": ["a"],
        "heat": pa.array([[1, 2, 3]], pa.list_(pa.uint8(), 3)),
    },
    "lists of any length": {
        "sample_id": ["a"],
        "heat": pa.array([[1, 2, 3, 4]], pa.list_(pa.uint8())),
    },
    "twice": {
        "sample_id": ["a", "a"],
        "heat": pa.array([[1], [2]], pa.list_(pa.uint8(), 1)),
    },
    "a missing number": {
        "sample_id": ["a"],
        "heat": pa.array([[1, None, 3, 4]], pa.list_(pa.uint8(), 4)),
    },
    "a missing map": {
        "sample_id": ["a", "b"],
        "heat": pa.array([[1], None], pa.list_(pa.uint8(), 1)),
    },
    "numbers as ids": {
        "sample_id": [1],
        "heat": pa.array([[1]], pa.list_(pa.uint8(), 1)),
    },
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_scan_would_not_write_is_named(kind: str, tmp_path: Path) -> None:
    write_parquet(pa.table(BAD[kind]), tmp_path / "heat.parquet")
    with pytest.raises(RunError, match=r"heat\.parquet' is damaged"):
        maps_of(tmp_path)


class Gray:
    """Gray pictures, wide ones, of which one has a map that is hot on the left."""

    def __init__(self, folder: Path) -> None:
        heat.write(folder, pa.array(["hot"]), np.array([[[1.0, 0.5], [1.0, 0.0]]]))
        self.heat = maps_of(folder, shortest_edge=8, height=8)

    def read(self, sample_id: str) -> Any:
        return Image.new("RGB", (300, 100), (128, 128, 128))


def test_red_is_what_speaks_for_the_other_class(tmp_path: Path) -> None:
    items = Gray(tmp_path)
    data = show(items, "hot", "heat")
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (100, 300, 3)
    red = pixels[..., 0] - pixels[..., 1]
    # the model saw the middle square alone
    assert red[:, 105:120].min() > 80
    assert red[:, :95].max() < 15 and red[:, 185:].max() < 15
    assert show(items, "cold", "heat") is None and show(items, "cold", "large")


def test_the_card_knows_which_pictures_have_a_map(tmp_path: Path) -> None:
    items = Gray(tmp_path)
    hot, cold = facts(items, "hot"), facts(items, "cold")
    assert hot is not None and hot.heat and cold is not None and not cold.heat
