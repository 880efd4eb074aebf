"""Which ways to train there are, and that two of them are not one."""

from __future__ import annotations

import pytest

from labelsieve import registry
from labelsieve.classifiers import trainers
from labelsieve.classifiers.train import TrainOptions
from labelsieve.errors import OptionError


def test_every_trainer_is_named_by_one_option_and_can_be_asked_for() -> None:
    found = [*trainers.names("recipe"), *trainers.names("loss")]
    assert sorted(found) == registry.names(trainers.ROOM) and "nts" in found
    for name in trainers.names("recipe"):
        assert TrainOptions(recipe=name).recipe == name
    for name in trainers.names("loss"):
        assert TrainOptions(loss=name).loss == name


def test_what_is_no_trainer_is_refused() -> None:
    with pytest.raises(OptionError, match="ntss"):
        TrainOptions(recipe="ntss")


def test_two_of_them_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trainers, "names", lambda option: {"loss": "x"}.get(option, "y")
    )
    with pytest.raises(OptionError, match="are two ways to train"):
        trainers.refuse_two("y", "x")
    trainers.refuse_two("auto", "x")
