from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from labelsieve.data.spec import DataSpec


@pytest.mark.parametrize("data", ["photos", Path("photos")])
def test_what_is_named_by_a_text_or_path_has_a_path(data: object) -> None:
    assert DataSpec(data).path() == Path("photos")


@pytest.mark.parametrize("data", [([], []), object(), None])
def test_an_object_has_no_path(data: object) -> None:
    assert DataSpec(data).path() is None


def test_what_the_user_said_is_not_changed_on_the_way() -> None:
    spec = DataSpec("photos")
    with pytest.raises(FrozenInstanceError):
        spec.split = "train"  # type: ignore[misc]
    assert spec == DataSpec("photos") != DataSpec("photos", split="train")
