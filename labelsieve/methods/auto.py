"""Auto: DeFT where the model knows the classes by their names, else a method that looks at the pictures alone.

Measured without true labels (labelsieve.estimation.agreement): how far the model's answers to the class names, the nearest other
pictures and the given labels agree. Where text fits, and where the model does not know some classes but its answers
still agree with the labels as well as the nearest pictures do: `deft`, which learns from names and pictures. Else names
mislead, and `aum` ranks labels by how late a linear layer on the features of the pictures learns them, and flags the
estimated share: its own rule flags too many where classes overlap in the features. Which was taken, and why, is in
run.json, summary and report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from labelsieve import registry
from labelsieve.data.dataset import Dataset
from labelsieve.estimation.agreement import FITS, PARTLY, Agreement
from labelsieve.features.references import measure
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.models.encoder import DualEncoder
from labelsieve.settings import resolve

COST = "a comparison of at most 5,000 images, then what the method costs that it takes: deft or aum"
NEEDS = ("text", "pixels")
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "fast": {"preset": "fast"}}
TEXT, PICTURES = "deft", "aum"
TAKEN: dict[str, dict[str, Any]] = {
    TEXT: {},
    PICTURES: {"flags": "estimated"},
}  # settings that differ from the preset


@dataclass(frozen=True)
class Settings:
    """The method that is taken has its own settings, by preset."""

    preset: Literal["default", "fast"] = "default"


def choose(found: Agreement) -> tuple[str, str]:
    """The method and why, in one sentence."""
    if found.verdict == FITS or (
        found.verdict == PARTLY and found.text >= found.pictures
    ):
        return (
            TEXT,
            f"Method {TEXT} was taken, which reads class names. {found.sentence()}",
        )
    return (
        PICTURES,
        f"Method {PICTURES} was taken, which needs no class names. {found.sentence()}",
    )


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Measure, choose, run."""
    name, why = choose(measure(images, encoder, run.seed))
    room = registry.load("methods", name)
    evidence: Evidence = room.detect(images, encoder, _settings(name, settings), run)
    return replace(evidence, facts={"chosen": name, "why": why, **evidence.facts})


def judge(
    images: Dataset,
    encoder: DualEncoder,
    settings: Settings,
    learned: dict[str, Tensor],
) -> Evidence:
    """Judge the labels of other images; only the method that reads text learns a detector."""
    evidence: Evidence = registry.load("methods", TEXT).judge(
        images, encoder, _settings(TEXT, settings), learned
    )
    return evidence


def _settings(name: str, settings: Settings) -> Any:
    room = registry.load("methods", name)
    preset: Mapping[str, Any] = room.PRESETS.get(settings.preset, {})
    return resolve(room.Settings, preset, TAKEN[name])
