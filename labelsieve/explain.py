"""Why a label is suspected: the nearest images that confidently belong to one class or the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.pictures import cached_features
from labelsieve.run import Run

BLOCK = 65_536  # rows brought to float32 at once


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Images that are trusted, by class, in the space of the image tower."""

    rows: dict[str, int]  # sample id -> row of the features
    ids: np.ndarray  # [n]
    features: np.ndarray  # [n, d] of length one
    trusted: dict[str, np.ndarray]  # class -> rows

    def nearest(self, sample_id: str, label: str | None, count: int = 3) -> list[str]:
        """Ids of the trusted images of class `label` that look most alike, nearest first; the image itself is left out."""
        row = self.rows.get(sample_id)
        candidates = self.trusted.get(label or "")
        if row is None or candidates is None:
            return []
        candidates = candidates[candidates != row]
        wanted = np.asarray(self.features[row], dtype=np.float32)
        parts = [candidates[start : start + BLOCK] for start in range(0, len(candidates), BLOCK)]
        alike = [np.asarray(self.features[part], dtype=np.float32) @ wanted for part in parts]
        order = np.argsort(-np.concatenate(alike), kind="stable")[:count] if alike else np.empty(0, dtype=np.int64)
        return [str(i) for i in self.ids[candidates[order]]]


def neighbours(opened: Run) -> Neighbours | None:
    """The trusted images of a run: not flagged and in the upper half of their class. None without cached features."""
    found = cached_features(opened)
    if found is None:
        return None
    ids, features = found
    rows = {str(i): r for r, i in enumerate(ids)}
    scores = opened.scores
    kept = scores.filter(pc.invert(pc.fill_null(scores["is_label_issue"], True)))
    return Neighbours(rows, ids, features, _trusted(kept, rows))


def _trusted(kept: pa.Table, rows: dict[str, int]) -> dict[str, np.ndarray]:
    at = np.array([rows[i] for i in kept["sample_id"].to_pylist()], dtype=np.int64)
    label, p_clean = kept["given_label"].to_numpy(zero_copy_only=False), kept["p_clean"].to_numpy()
    order = np.lexsort((-p_clean, label))
    groups = np.split(order, np.flatnonzero(label[order][1:] != label[order][:-1]) + 1) if len(order) else []
    return {str(label[group[0]]): at[group[: (len(group) + 1) // 2]] for group in groups}
