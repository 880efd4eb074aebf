"""The data of a run, as a training wants them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.images import Preprocess
from labelsieve.data.load import load
from labelsieve.data.sources._history import how_to_go_on
from labelsieve.data.spec import DataSpec
from labelsieve.errors import RunError
from labelsieve.runs import pictures
from labelsieve.runs.run import Run


def spec_for(opened: Run, data: Any) -> DataSpec:
    """The data of a run, or those that were named in their place."""
    # where the scan read them
    if data is None:
        return pictures.spec_of(opened)
    # moved: the columns are still the same
    if isinstance(data, str | Path):
        return replace(pictures.spec_of(opened), data=str(data))
    return load(data)


def read(opened: Run, spec: DataSpec, preprocess: Preprocess) -> Dataset:
    """The run's images as the backbone wants them; all that were scored must still be there."""
    # those that could not be read are in the scores, too, without p_clean
    scored = opened.scores.filter(pc.is_valid(opened.scores["p_clean"]))["sample_id"]
    images = prepare(
        spec,
        preprocess,
        classes=opened.all_classes,
        keep=scored.combine_chunks(),
    ).dataset
    if len(images) != len(scored):
        raise RunError(
            f"{len(scored) - len(images):,} of the {len(scored):,} images that "
            f"'{opened.folder}' scanned are gone or have changed.",
            how_to_go_on(spec.path(), opened.folder)
            or "Scan again, or name the data that were scanned with --data.",
        )
    return images


def validation_spec(spec: DataSpec, val: Any) -> DataSpec:
    """A table has the columns of the run's; what was named in full stays as it is."""
    # a specification, or data in memory
    if not isinstance(val, str | Path):
        return load(val)
    if Path(val).is_dir():  # class folders need no columns
        return DataSpec(str(val))
    return replace(
        spec, data=str(val), id_column=None, truth_column=None, split=None, root=None
    )


def trust_of(opened: Run) -> dict[str, float]:
    """Sample id -> p_clean, of all that was scored."""
    # what could not be read has no probability
    scored = opened.scores.filter(pc.is_valid(opened.scores["p_clean"]))
    ids, trust = scored["sample_id"].to_pylist(), scored["p_clean"].to_pylist()
    return dict(zip(ids, trust, strict=True))
