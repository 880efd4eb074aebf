"""Why a label is suspected: the nearest images that surely belong to one class or the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.runs.pictures import cached_features
from labelsieve.runs.run import Run

# rows brought to float32 at once: 200 MB of 768 numbers, where all rows may be gigabytes
BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Images that are trusted, by class, in the space of the image tower.

    Attributes:
        ids: [n] sample ids.
        features: [n, d] of length one.
        trusted: rows, by class.
    """

    ids: pa.Array
    features: np.ndarray
    trusted: dict[str, np.ndarray]

    def nearest(self, sample_id: str, label: str | None, count: int = 3) -> list[str]:
        """Ids of the trusted images of a class that look most alike, nearest first.

        The image itself is left out.
        """
        # a search, as few images are asked for and a dictionary of all takes memory
        row = pc.index(self.ids, sample_id).as_py()
        candidates = self.trusted.get(label or "")
        if row < 0 or candidates is None:
            return []
        candidates = candidates[candidates != row]
        wanted = np.asarray(self.features[row], dtype=np.float32)
        cosines = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(candidates), BLOCK):
            part = self.features[candidates[start : start + BLOCK]]
            cosines.append(np.asarray(part, dtype=np.float32) @ wanted)
        order = np.argsort(-np.concatenate(cosines), kind="stable")[:count]
        return list(self.ids.take(pa.array(candidates[order])).to_pylist())


def neighbours(opened: Run) -> Neighbours | None:
    """The trusted images of a run: not flagged and in the upper half of their class.

    None without cached features.
    """
    cached = cached_features(opened)
    if cached is None:
        return None
    ids = pa.array(cached[0], pa.string())
    features = cached[1]
    scores = opened.scores.select(
        ["sample_id", "given_label", "p_clean", "is_label_issue"]
    )
    # images without a verdict are not trusted either
    kept = scores.filter(pc.invert(pc.fill_null(scores["is_label_issue"], True)))
    return Neighbours(ids, features, _trusted(kept, ids))


def _trusted(kept: pa.Table, ids: pa.Array) -> dict[str, np.ndarray]:
    """The better half of each class, as rows of `ids`."""
    # scores are in the order of suspicion, features in that of the manifest
    at = pc.index_in(kept["sample_id"], ids).to_numpy()
    label = kept["given_label"].combine_chunks().dictionary_encode()
    codes = label.indices.to_numpy()
    # by class, and the surest first within each
    order = np.lexsort((-kept["p_clean"].to_numpy(), codes))
    trusted = {}
    for group in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(group):
            name = label.dictionary[int(codes[group[0]])].as_py()
            trusted[name] = at[group[: (len(group) + 1) // 2]]
    return trusted
