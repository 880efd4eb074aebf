"""The door: what an engine cannot do is refused before anything is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve import registry
from labelsieve.data.load import load
from labelsieve.engines import Options, _work
from labelsieve.engines._elsewhere import working
from labelsieve.errors import OptionError


def begin(*words: Any) -> None:
    with working(*words):
        pass


def test_every_engine_opens_a_pool_or_launches() -> None:
    for name in registry.names("engines"):
        module = registry.load("engines", name)
        assert hasattr(module, "open_pool") != hasattr(module, "launch"), name


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (Options(shard=300), "--shard 300 is no multiple of 256"),
        (Options(shard=0), "--shard 0"),
        (Options(workers=0), "--workers 0 must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: Options, what: str, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=what):
        begin("processes", load(str(tmp_path)), options)


def test_objects_of_this_process_are_refused() -> None:
    with pytest.raises(OptionError, match="objects of this one"):
        begin("processes", load(([1], ["a"])), Options())


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Engine 'spark' is unknown"):
        begin("spark", load(str(tmp_path)), Options())


def test_a_job_is_words_and_tensors_and_no_code(tmp_path: Path) -> None:
    import numpy as np

    spec = load(str(tmp_path), class_names={"a": "ä cat"}, split="train")
    numbers = {"contexts": np.arange(6, dtype=np.float32).reshape(2, 3)}
    data = _work.pack("looks", spec, None, {"uint16": 4095}, {"seed": 3}, numbers)
    words, tensors = _work.unpack(data)
    assert words["spec"]["class_names"] == {"a": "ä cat"}
    assert words["spec"]["split"] == "train" and words["facts"] == {"seed": 3}
    assert words["whites"] == {"uint16": 4095}
    assert tensors["contexts"].tolist() == [[0, 1, 2], [3, 4, 5]]
