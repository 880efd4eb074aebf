"""Judgements of a trained detector, in shards: other processes make it again from its tensors."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.pictures import WORDS, png
from safetensors.numpy import load_file

from labelsieve.data.load import load
from labelsieve.engines import Options
from labelsieve.engines._elsewhere import working
from labelsieve.pipeline.scan import scan
from labelsieve.pipeline.score import score

from .conftest import own_cache, same

# Prompts of the tower, which are in every pass; residuals and views are what a job has to carry.
TUNED = {"method": "deft", "model": "tiny", "preset": "tuned"}
SETTINGS = {"epochs": 1, "warmup_epochs": 1, "residuals": True}


@pytest.fixture
def few(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """260 digits of three classes, more than one shard; every seventh in the wrong folder."""
    images, truth = digits
    root = tmp_path / "digits"
    for row in np.flatnonzero(truth < 3)[:260]:
        label = WORDS[(truth[row] + (row % 7 == 0)) % 3]
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{row:04d}.png").write_bytes(png(images[row]))
    # files that are so new that their stamps are not relied on would be read twice
    time.sleep(2.1)
    return root


@pytest.mark.parametrize(
    "tuning", ["vpt-deep", pytest.param("lora", marks=pytest.mark.slow)]
)
def test_a_trained_detector_judges_alike_in_other_processes(
    few: Path, tmp_path: Path, tuning: str
) -> None:
    if tuning == "lora":
        pytest.importorskip("peft", reason="the extra lora is not installed")
    settings = {**SETTINGS, "tuning": tuning}
    with own_cache(tmp_path / "a"):
        alone = scan(
            load(str(few)), output=tmp_path / "one", settings=settings, **TUNED
        )
    spec: Any = load(str(few))
    options = Options(workers=2, shard=256)
    jobs = []
    with own_cache(tmp_path / "b"), working("processes", spec, options) as workers:
        work = workers._work
        workers._work = lambda *words, **more: (
            jobs.append(words[3])
            or work(  # type: ignore[method-assign,func-returns-value]
                *words, **more
            )
        )
        done = scan(spec, output=tmp_path / "two", settings=settings, **TUNED)
    # the tower with what was learned judged elsewhere, and not only the frozen one
    assert "logits" in jobs and workers.tally.again == 0
    same(alone, done)
    one, two = (
        load_file(run.folder / "detector" / "detector.safetensors")
        for run in (alone, done)
    )
    assert one.keys() == two.keys() and len(one) > 2
    for name, values in one.items():
        assert np.array_equal(values, two[name]), name
    # and so are other images judged, by the detector of a run
    with own_cache(tmp_path / "c"), working("processes", spec, options):
        scored = score(alone, spec)
    with own_cache(tmp_path / "a"):
        assert scored.equals(score(alone, spec))
