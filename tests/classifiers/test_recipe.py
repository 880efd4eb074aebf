"""How a backbone is trained: the paper's recipes, defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from labelsieve.classifiers.recipe import RECIPES, Settings, recipe_name
from labelsieve.errors import OptionError


def test_recipes_are_those_of_the_paper(
    random_clip: Any, random_siglip: Any, random_classifier: Any
) -> None:
    """Section 4.1 and table 11: optimiser, learning rate, weight decay."""
    paper = {
        "clip": ("sgd", 5e-4, 5e-4),
        "vit": ("sgd", 1e-2, 1e-5),
        "resnet": ("adamw", 1e-3, 1e-5),
        "convnext": ("adamw", 1e-4, 1e-4),
        "mae": ("adamw", 1e-4, 1e-3),
    }
    assert {
        n: (r["optimizer"], r["lr"], r["weight_decay"])
        for n, r in RECIPES.items()
        if n in paper
    } == paper
    kinds = [random_classifier(kind) for kind in ("vit", "vit_mae", "resnet")]
    folders = [random_clip(), random_siglip(), *kinds]
    assert [recipe_name(str(f)) for f in folders] == [
        "clip",
        "clip",
        "vit",
        "mae",
        "resnet",
    ]
    assert recipe_name("tiny") == "clip" and recipe_name("tiny", "vit") == "vit"


def test_defaults_are_the_papers() -> None:
    settings = Settings()
    assert (
        settings.epochs,
        settings.batch_size,
        settings.momentum,
        settings.schedule,
    ) == (
        10,
        64,
        0.9,
        "cosine",
    )
    assert (
        settings.sce_alpha,
        settings.sce_beta,
        settings.elr_momentum,
        settings.elr_strength,
    ) == (1, 1, 0.3, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop", 0),
        ("val_share", 0.9),
        ("gce_q", 0),
        ("patience", 0),
        ("epochs", -1),
        ("warmup_epochs", -1),
        ("clip", 0),
    ],
)
def test_numbers_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"Setting {name} cannot be"):
        Settings(**{name: value})
