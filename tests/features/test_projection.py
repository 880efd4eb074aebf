"""The map: deterministic, kept, and look-alikes beside each other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelsieve.features import projection
from labelsieve.features.projection import arrange, of_run, principal, read, spread
from labelsieve.runs.run import Run, run_folder


def clouds(n: int, d: int, groups: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    group = random.integers(0, groups, n)
    features = random.normal(size=(groups, d))[group]
    features = features + 0.3 * random.normal(size=(n, d))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), group


def share_of_own_group(xy: np.ndarray, group: np.ndarray) -> float:
    """How often the nearest other point is of the same group."""
    far = ((xy[:, None] - xy[None]) ** 2).sum(2)
    np.fill_diagonal(far, np.inf)
    return float((group[far.argmin(1)] == group).mean())


@pytest.mark.parametrize("library", [True, False])
def test_look_alikes_lie_beside_each_other(
    library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library:
        pytest.importorskip("openTSNE", reason="the extra 'map' is not installed")
    else:
        monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    features, group = clouds(160, 32)
    xy, method = arrange(features)
    assert method == "t-SNE" and xy.shape == (160, 2) and xy.dtype == np.float32
    assert xy.min() >= 0 and xy.max() <= 1
    assert share_of_own_group(xy, group) > 0.97
    if not library:  # of both, the one that is here everywhere
        assert np.array_equal(arrange(features)[0], xy)


def test_without_the_extra_many_are_shown_by_two_directions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(projection, "FEW", 100)
    features, _ = clouds(300, 32, 3)
    xy, method = arrange(features)
    assert method == "PCA"
    assert np.allclose(xy, spread(principal(features, 2)), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (50, 1), (95, 7)])
def test_few_points_and_features_of_one_number_have_places(
    shape: tuple[int, int],
) -> None:
    features = np.random.default_rng(0).normal(size=shape)
    xy, method = arrange(features)
    assert xy.shape == (shape[0], 2) and np.isfinite(xy).all() and method
    same, _ = arrange(np.ones(shape))
    assert np.isfinite(same).all() and same.min() >= 0 and same.max() <= 1


def test_main_directions_are_those_of_a_decomposition() -> None:
    features, _ = clouds(500, 20)
    ours = principal(features, 3)
    centred = features - features.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    theirs = centred @ directions[:3].T
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    # float16 features, as they are kept on a device, give nearly the same
    assert np.allclose(principal(features.astype(np.float16), 3), ours, atol=1e-2)


def test_distances_keep_their_proportions() -> None:
    points = np.random.default_rng(0).normal(size=(200, 2)) * (10, 1) + 5
    placed = spread(points)
    ratio = np.ptp(placed, axis=0) / np.ptp(points, axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=0.02)
    assert placed.min() >= 0 and placed.max() <= 1


def test_a_map_is_computed_once_and_kept_with_its_run(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = of_run(planted.run)
    assert made is not None and read(planted.run) is not None

    def never(features: np.ndarray) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(projection, "arrange", never)
    kept = of_run(planted.run)
    assert kept is not None and kept.method == made.method
    assert np.array_equal(kept.xy, made.xy) and kept.ids.equals(made.ids)
    assert set(made.ids.to_pylist()) == set(planted.given)


def test_a_map_that_is_damaged_or_of_other_features_is_computed_again(
    planted: Any,
) -> None:
    made = of_run(planted.run)
    path = Path(planted.folder) / projection.NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert read(planted.run) is None
    table = pq.ParquetFile(io.BytesIO(whole)).read()
    outside = table.set_column(1, "x", [np.full(len(table), 7, np.float32)])
    pq.write_table(outside, path)
    assert read(planted.run) is None
    again = of_run(planted.run)
    assert made is not None and again is not None and np.array_equal(again.xy, made.xy)
    run_folder(planted.folder).note({"features": "another model's.npy"})
    assert read(Run(planted.folder)) is None


def test_without_features_there_is_no_map(planted: Any) -> None:
    run_folder(planted.folder).note({"features": "elsewhere.npy"})
    assert of_run(Run(planted.folder)) is None
