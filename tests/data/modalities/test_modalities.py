from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.modalities import open_items, reopen_items
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.sources.arrays import ArraySource
from labelsieve.errors import OptionError

LOOK = Preprocess(8, 9, 8, 3, CLIP_MEAN, CLIP_STD)


def test_a_source_that_names_no_modality_has_images() -> None:
    source = ArraySource([], [], [], 0)
    items = open_items(source, LOOK)
    assert isinstance(items, ImageItems) and items.preprocess == LOOK
    assert reopen_items(source, asdict(LOOK)).folder == items.folder


def test_a_modality_that_is_not_there_is_named() -> None:
    source = SimpleNamespace(modality="smells", notes=[])
    with pytest.raises(OptionError, match=r"^Modality 'smells' is unknown; .* images"):
        open_items(source, LOOK)
