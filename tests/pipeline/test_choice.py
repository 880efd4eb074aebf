"""The model follows the pictures and the preset follows arithmetic; neither asks a clock."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve import registry
from labelsieve.data.load import load
from labelsieve.data.sources import open_source
from labelsieve.errors import ModelError
from labelsieve.models.load import PHOTOS, operations_of
from labelsieve.pipeline import choice
from labelsieve.pipeline.scan import scan


def pictures(side: int, count: int = 6) -> tuple[list[np.ndarray], list[str]]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, side, side, 3), dtype=np.uint8)
    return list(images), ["ab"[k % 2] for k in range(count)]


@pytest.mark.parametrize("side", [8, 64])
def test_small_pictures_take_the_embedded_model(side: int) -> None:
    name, why = choice.model_for(open_source(load(pictures(side))))
    assert name == "tiny" and "64 pixels" in why


def test_photos_take_clip_or_say_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        scan(pictures(65), output=tmp_path / "run")
    said = str(caught.value)
    assert f"'{PHOTOS}' is not on this machine" in said and "hf download" in said
    assert "--model tiny" in said and "\n" not in said
    assert not (tmp_path / "run").exists()


def test_every_storage_tells_the_size(
    tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    images, labels = pictures(80)
    for kind in (
        images,
        [Image.fromarray(i) for i in images],
        [encode(i) for i in images],
    ):
        with pytest.raises(ModelError, match="not on this machine"):
            choice.model_for(open_source(load((kind, labels))))
    # what is broken says nothing of the others
    broken = [b"no picture", *(encode(i) for i in pictures(20)[0][1:])]
    assert choice.model_for(open_source(load((broken, labels))))[0] == "tiny"
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(images[0]).save(folder / "1.png")
    with pytest.raises(ModelError):
        choice.model_for(open_source(load(tmp_path / "data")))


def test_a_hub_that_does_not_answer_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import constants

    def refuse(*words: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        choice.model_for(open_source(load(pictures(200))))


class Counted:
    """A source that says how many of its rows were asked for."""

    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.asked = 0

    def rows(self) -> Any:
        while True:
            self.asked += 1
            yield None


def test_fast_is_taken_on_a_processor_when_arithmetic_says_hours() -> None:
    trains = registry.load("methods", "gmm")
    affordable = int(choice.AFFORDABLE / (choice.PASSES * operations_of("tiny")))
    endless: Any = Counted()
    name, why = choice.preset_for(endless, trains, "tiny", "cpu", {})
    assert name == "fast" and f"{affordable:,}" in why and "--preset default" in why
    # no more rows than are needed to know
    assert endless.asked <= affordable + 1
    few = open_source(load(pictures(8)))
    assert choice.preset_for(few, trains, "tiny", "cpu", {})[0] == "default"
    assert choice.preset_for(endless, trains, "tiny", "cuda", {})[0] == "default"
    for name in ("knn", "deft"):
        method = registry.load("methods", name)
        assert choice.preset_for(endless, method, "tiny", "cpu", {})[0] == "default"


def test_a_setting_of_training_asks_for_training() -> None:
    deft = registry.load("methods", "deft")
    few = open_source(load(pictures(8)))
    name, why = choice.preset_for(few, deft, "tiny", "cpu", {"tuning": "lora"})
    assert name == "tuned" and "tuning" in why
    others = {"noise_rate": 0.2, "mirror": False, "views": 1}
    assert choice.preset_for(few, deft, "tiny", "cpu", others)[0] == "default"


def test_operations_are_those_of_a_vision_transformer(
    random_clip: Callable[..., Path],
) -> None:
    folder = str(random_clip(width=32, layers=2, image=16, patch=4))
    tokens = 17
    # query, key, value, output, and twice four times the width; two operations a weight
    weights = 4 * 32 * 32 + 2 * 32 * 128
    attention = 2 * 2 * tokens * tokens * 32
    assert operations_of(folder) == 2 * (2 * weights * tokens + attention)


def test_what_was_chosen_is_written_down_and_overruled(tmp_path: Path) -> None:
    run = scan(pictures(8, 12), output=tmp_path / "run", method="knn")
    command = run.record["command"]
    assert (command["model"], command["preset"]) == ("tiny", "default")
    assert set(run.record["chosen"]) == {"model", "preset"}
    # naming what would be chosen is the same command
    again = scan(
        pictures(8, 12),
        output=tmp_path / "run",
        method="knn",
        model="tiny",
        preset="default",
    )
    assert again.record["seconds"] == run.record["seconds"]


def test_the_cost_is_told_before_long_work(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(choice.progress, "note", said.append)
    choice.tell_cost(tiny, 1, "tiny", passes=1)
    assert said == []
    choice.tell_cost(tiny, 10**9, "tiny", passes=choice.PASSES)
    (line,) = said
    assert "1,000,000,000 images go about 30 times through tiny" in line
    assert "hours here" in line and "--fast takes 3" in line


def test_texts_are_read_by_what_is_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = open_source(load({"text": ["a", "b"], "label": ["x", "y"]}))
    monkeypatch.setattr(choice, "is_here", lambda name: False)
    assert choice.model_for(source)[0] == "hashing"
    monkeypatch.setattr(choice, "is_here", lambda name: True)
    assert choice.model_for(source)[0] == choice.READER
