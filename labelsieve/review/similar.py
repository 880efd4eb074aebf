"""Pictures that look like one picture, among a million, within a tenth of a second."""

from __future__ import annotations

import threading

import numpy as np

from labelsieve.runs.reading.features import feature_rows
from labelsieve.runs.run import Run

# numbers of all features that are multiplied within a tenth of a second; more are compared in
# fewer dimensions first
AT_ONCE = 40_000_000
DIMENSIONS = 48  # that hold nearly all of what tells pictures apart
SAMPLE = 20_000  # rows that the directions are found on
EXACT = 4096  # the best of the rough order, compared in full: more than anybody looks through
SORTED = 200_000  # cosines that are sorted in full within a fiftieth of a second
BLOCK = 65_536  # rows brought to float32 at once


class Similar:
    """Cosines between the features of scored images. Safe to use from several threads.

    Args:
        features: [m, d] of length one.
        position: [n] row of `features` of each scored image.
    """

    def __init__(self, features: np.ndarray, position: np.ndarray) -> None:
        self.features = features
        self.position = position
        self._rough: np.ndarray | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Compute the rough features of large data sets, which takes seconds."""
        with self._lock:
            if self._rough is None and self.features.size > AT_ONCE:
                self._rough = _reduced(self.features)

    def to(self, row: int) -> np.ndarray:
        """[n] float32 how much each image looks like one of them: cosines.

        Of large data sets the best are exact, and the others in the rough order below them.
        """
        wanted = np.asarray(self.features[self.position[row]], dtype=np.float32)
        self.prepare()
        if self._rough is None:
            return self._cosines(np.arange(len(self.position)), wanted)
        rough = self._rough @ self._rough[self.position[row]]
        cosines = np.asarray(rough[self.position], dtype=np.float32)
        best = np.argpartition(-cosines, EXACT)[:EXACT]
        # lengths differ in fewer dimensions, so the exact ones are put above the others
        rest = 2 + float(np.abs(cosines).max())
        cosines -= rest
        cosines[best] = self._cosines(best, wanted)
        return cosines

    def nearest(self, row: int, rows: np.ndarray) -> np.ndarray:
        """The same `rows` [r], those that look most like one image first.

        Beyond the first `EXACT` of many, near equals may change places: steps of 1 / 65,535.
        """
        cosines = self.to(row)[rows]
        if len(rows) <= SORTED:
            return np.asarray(rows[np.argsort(-cosines, kind="stable")])
        # a million numbers are sorted in a tenth of a second; whole ones of 16 bits, by their
        # digits, in a tenth of that
        first = np.argpartition(-cosines, EXACT)[:EXACT]
        first = first[np.argsort(-cosines[first], kind="stable")]
        far = cosines[first[-1]] - cosines
        steps = far * np.float32(65_535 / max(float(far.max()), 1e-9))
        order = np.argsort(np.maximum(steps, 0).astype(np.uint16), kind="stable")
        later = np.ones(len(rows), dtype=bool)
        later[first] = False
        return np.asarray(rows[np.concatenate([first, order[later[order]]])])

    def _cosines(self, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        result = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), BLOCK):
            part = self.features[self.position[rows[start : start + BLOCK]]]
            result[start : start + BLOCK] = np.asarray(part, np.float32) @ wanted
        return result


def _reduced(features: np.ndarray) -> np.ndarray:
    """[m, DIMENSIONS] float32: features along the directions in which they differ most."""
    step = max(1, len(features) // SAMPLE)
    sample = np.asarray(features[::step], dtype=np.float32)
    # not centred: cosines are wanted, and these are inner products with the origin
    _, directions = np.linalg.eigh(sample.T @ sample)
    directions = directions[:, ::-1][:, :DIMENSIONS]
    result = np.empty((len(features), directions.shape[1]), dtype=np.float32)
    for start in range(0, len(features), BLOCK):
        part = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        result[start : start + BLOCK] = part @ directions
    return result


def similar(opened: Run) -> Similar | None:
    """The features of a run's judged images; None when the cache has them no longer."""
    found = feature_rows(opened)
    if found is None:
        return None
    position, features = found
    # an image without features looks like the first one, as it must look like something
    return Similar(features, np.maximum(position, 0))
