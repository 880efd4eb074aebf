"""How the items of a run find the file that shows them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from labelsieve.errors import OptionError
from labelsieve.runs.items import images, kind_of, view_of


def test_the_source_names_the_kind() -> None:
    assert kind_of(SimpleNamespace(modality="texts")) == "texts"
    assert view_of(SimpleNamespace(modality="images")) is images
    with pytest.raises(OptionError, match="'words'"):
        view_of(SimpleNamespace(modality="words"))
