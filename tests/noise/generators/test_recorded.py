from __future__ import annotations

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.noise.generators.recorded import corrupt


def test_labels_are_those_recorded() -> None:
    recorded = np.array([0, 2, 1])
    rng = np.random.default_rng(0)
    result = corrupt(np.array([0, 1, 2]), 3, 0.9, rng, {"recorded": recorded})
    assert result.tolist() == [0, 2, 1] and result is not recorded
    assert rng.random() == np.random.default_rng(0).random()  # nothing is drawn
    with pytest.raises(OptionError, match="not a class of the data"):
        corrupt(np.array([0, 1, 2]), 3, 0.0, rng, {"recorded": np.array([0, 3, 1])})
    with pytest.raises(OptionError, match="must be 3"):
        corrupt(np.array([0, 1, 2]), 3, 0.0, rng, {"recorded": np.array([0])})
