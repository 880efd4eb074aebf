"""Auto: DeFT where the model knows the classes by name, else a method for pictures alone.

Measured without true labels (labelsieve.estimation.agreement): how far the model's answers to the
class names, the nearest other pictures and the given labels agree. Where text fits, and where the
model does not know some classes but its answers still agree with the labels as well as the nearest
pictures do: `deft`, which learns from names and pictures. Else names mislead, and `aum` ranks
labels by how late a linear layer on the features of the pictures learns them, and flags the
estimated share: its own rule flags too many where classes overlap in the features. The choice and
its reason are in run.json, summary and report.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from labelsieve import registry
from labelsieve.estimation.agreement import FITS, PARTLY, Agreement
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.settings import resolve

COST = "a comparison of at most 5,000 images, then what the chosen method costs: deft or aum"
NEEDS = ("text", "pixels")
WITHOUT_PIXELS = ("default", "fast")  # presets that judge texts, too
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "fast": {"preset": "fast"}}
TEXT = "deft"
PICTURES = "aum"
# Settings of each that differ from its preset.
CHANGED: dict[str, dict[str, Any]] = {TEXT: {}, PICTURES: {"flags": "estimated"}}


@dataclass(frozen=True)
class Settings:
    """The method that is taken has its own settings, by preset."""

    preset: Literal["default", "fast"] = "default"


def choose(agreement: Agreement) -> tuple[str, str]:
    """The method and why, in one sentence."""
    # names that say as much as pictures are worth using, though some classes are unknown
    partly = agreement.verdict == PARTLY and agreement.text >= agreement.pictures
    if agreement.verdict == FITS or partly:
        name, why = TEXT, "which reads class names"
    else:
        name, why = PICTURES, "which needs no class names"
    return name, f"Method {name} was taken, {why}. {agreement.sentence()}"


def detect(task: Task, settings: Settings) -> Evidence:
    """Measure, choose, run."""
    name, why = choose(task.agreement)
    evidence: Evidence = registry.load("methods", name).detect(
        task, _settings(name, settings)
    )
    return replace(evidence, facts={"chosen": name, "why": why, **evidence.facts})


def judge(task: Task, settings: Settings, learned: dict[str, Tensor]) -> Evidence:
    """Judge the labels of other images; only the method that reads text learns a detector."""
    method = registry.load("methods", TEXT)
    return method.judge(task, _settings(TEXT, settings), learned)


def _settings(name: str, settings: Settings) -> Any:
    method = registry.load("methods", name)
    # not every method has every preset: `aum` is fast as it is
    preset = method.PRESETS.get(settings.preset, {})
    return resolve(method.Settings, preset, CHANGED[name])
