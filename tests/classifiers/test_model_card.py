"""The model card says what was done, in a form that the hub reads, and nothing about this
machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelsieve.classifiers import model_card, training_set
from labelsieve.classifiers.train import train


def test_the_card_tells_what_was_done(
    planted: Any, random_clip: Callable[..., Path]
) -> None:
    from huggingface_hub import ModelCard

    settings = {"epochs": 2, "batch_size": 16, "lr": 0.02}
    made = train(
        planted.folder,
        student=str(random_clip()),
        settings=settings,
        device="cpu",
        precision="float32",
    )
    page, told = (
        ModelCard(made.card),
        json.loads((planted.folder / "classifier" / "training.json").read_text()),
    )
    assert (
        page.data.pipeline_tag == "image-classification"
        and page.data.library_name == "labelsieve"
    )
    for words in (
        "`data` was scanned",
        "method `deft` on `tiny`",
        f"| together | {told['samples']['train']} |",
        "12 images were left out",
        "| epochs | 2 |",
        f"| last epoch{' (saved)' if told['figures']['kept'] == 'last' else ''} | 2 |",
        "Loss `ce`, seed 0",
        f"{100 * planted.run.noise['rate']:.1f} %",
    ):
        assert words in made.card, words
    assert str(planted.data.parent) not in made.card
    assert str(planted.folder) not in made.card


def test_every_use_has_its_words() -> None:
    assert set(model_card.USES) == set(training_set.USES)
