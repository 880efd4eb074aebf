"""Why a label is suspected: the nearest images that confidently belong to one class or the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.runs.pictures import cached_features
from labelsieve.runs.run import Run

BLOCK = 65_536  # rows brought to float32 at once


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Images that are trusted, by class, in the space of the image tower."""

    ids: pa.Array  # [n] sample ids
    features: np.ndarray  # [n, d] of length one
    trusted: dict[str, np.ndarray]  # class -> rows

    def nearest(self, sample_id: str, label: str | None, count: int = 3) -> list[str]:
        """Ids of the trusted images of class `label` that look most alike, nearest first; the image itself is left out."""
        row = pc.index(self.ids, sample_id).as_py()
        candidates = self.trusted.get(label or "")
        if row < 0 or candidates is None:
            return []
        candidates = candidates[candidates != row]
        wanted = np.asarray(self.features[row], dtype=np.float32)
        parts = [
            candidates[start : start + BLOCK]
            for start in range(0, len(candidates), BLOCK)
        ]
        alike = [
            np.asarray(self.features[part], dtype=np.float32) @ wanted for part in parts
        ]
        order = (
            np.argsort(-np.concatenate(alike), kind="stable")[:count]
            if alike
            else np.empty(0, dtype=np.int64)
        )
        return list(self.ids.take(pa.array(candidates[order])).to_pylist())


def neighbours(opened: Run) -> Neighbours | None:
    """The trusted images of a run: not flagged and in the upper half of their class. None without cached features."""
    found = cached_features(opened)
    if found is None:
        return None
    ids, features = pa.array(found[0], pa.string()), found[1]
    scores = opened.scores.select(
        ["sample_id", "given_label", "p_clean", "is_label_issue"]
    )
    kept = scores.filter(pc.invert(pc.fill_null(scores["is_label_issue"], True)))
    return Neighbours(ids, features, _trusted(kept, ids))


def _trusted(kept: pa.Table, ids: pa.Array) -> dict[str, np.ndarray]:
    at = pc.index_in(kept["sample_id"], ids).to_numpy()
    label = kept["given_label"].combine_chunks().dictionary_encode()
    codes = label.indices.to_numpy()
    order = np.lexsort((-kept["p_clean"].to_numpy(), codes))
    groups = (
        np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    )
    return {
        label.dictionary[int(codes[group[0]])].as_py(): at[
            group[: (len(group) + 1) // 2]
        ]
        for group in groups
    }
