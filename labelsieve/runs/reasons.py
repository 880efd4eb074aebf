"""Why an image is looked at.

Its nearest images that surely belong to one class or the other; and the queues of what pictures
show besides their labels: near-duplicates, outliers, dark and blurred ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET, read_set
from labelsieve.runs.pictures import cached_features
from labelsieve.runs.run import Run
from labelsieve.tables import DUPLICATES, QUALITY, RowsOf, read_parquet

# rows brought to float32 at once: 200 MB of 768 numbers, where all rows may be gigabytes
BLOCK = 65_536
# trusted images of a class that are compared, the surest ones: among so many some look alike, and
# a card waits for all of them
MOST = 16_384


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

    @cached_property
    def at(self) -> RowsOf:
        """Row by sample id."""
        return RowsOf(self.ids)

    def nearest(self, sample_id: str, label: str | None, count: int = 3) -> list[str]:
        """Ids of the trusted images of a class that look most alike, nearest first.

        The image itself is left out.
        """
        row = self.at.get(sample_id, -1)
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
    if opened.kind == SET:
        return Neighbours(ids, features, _trusted_of_sets(kept, ids))
    return Neighbours(ids, features, _trusted(kept, ids))


def _trusted(kept: pa.Table, ids: pa.Array) -> dict[str, np.ndarray]:
    """The better half of each class, `MOST` of them, as rows of `ids`."""
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
            trusted[name] = at[group[: min((len(group) + 1) // 2, MOST)]]
    return trusted


def _trusted_of_sets(kept: pa.Table, ids: pa.Array) -> dict[str, np.ndarray]:
    """Images whose sets have each class, the surest first, `MOST` of them, as rows of `ids`."""
    at = pc.index_in(kept["sample_id"], ids).to_numpy()
    trusted: dict[str, list[int]] = defaultdict(list)
    # the better half of all: a class of its own has no probability in the scores
    order = np.argsort(-kept["p_clean"].to_numpy(), kind="stable")
    labels = kept["given_label"].to_pylist()
    for row in order[: (len(order) + 1) // 2].tolist():
        for name in read_set(labels[row]):
            if len(trusted[name]) < MOST:
                trusted[name].append(int(at[row]))
    return {name: np.array(rows) for name, rows in trusted.items()}


@dataclass(frozen=True)
class Queue:
    """Images with something in common that a person may want to look at, the worst first.

    ids: of the images. why: one sentence for each. partners: the other picture of each, where
    there is one.
    """

    name: str
    title: str
    ids: list[str]
    why: list[str]
    partners: list[str | None]


@dataclass(frozen=True)
class _Finding:
    column: str  # of QUALITY, true where a picture is meant
    title: str
    worst: str  # column that says how much
    descending: bool
    say: Callable[[Mapping[str, Any]], str]


def _size(row: Mapping[str, Any]) -> str:
    return f"{row['width']:.0f} × {row['height']:.0f} pixels"


# In the order in which they are offered.
_FINDINGS = {
    "outliers": _Finding(
        "outlier",
        "Unlike all other images",
        "isolation",
        True,
        lambda row: "no other image looks like it",
    ),
    "dark": _Finding(
        "dark",
        "Dark",
        "bright",
        False,
        lambda row: f"99 % of it is darker than {100 * row['bright']:.0f} % of white",
    ),
    "washed-out": _Finding(
        "washed_out",
        "Washed out",
        "floor",
        True,
        lambda row: f"95 % of it is lighter than {100 * row['floor']:.0f} % of white",
    ),
    "blurred": _Finding(
        "blurred", "Blurred", "blur", True, lambda row: "it has no sharp edge"
    ),
    "plain": _Finding(
        "plain",
        "Nearly of one colour",
        "entropy",
        False,
        lambda row: "it shows nothing",
    ),
    "odd-size": _Finding("odd_size", "Of an odd size", "width", False, _size),
    "odd-shape": _Finding("odd_shape", "Very long or very high", "width", False, _size),
}
_KINDS = {
    "copy": "the same picture as",
    "mirrored": "the mirror image of",
    "crop": "a part of the same picture as",
}


def queues(opened: Run) -> list[Queue]:
    """What pictures of a run show besides their labels; only queues that hold something.

    Near-duplicates with different labels come first. A run of an earlier version has none.

    Raises:
        RunError: a table is damaged.
    """
    if not (opened.folder / "quality.parquet").exists():
        return []
    found = [_rivals(opened)]
    table = read_parquet(opened.file("quality.parquet"), QUALITY)
    for name, finding in _FINDINGS.items():
        direction = "descending" if finding.descending else "ascending"
        order = [(finding.worst, direction), ("sample_id", "ascending")]
        rows = table.filter(table[finding.column]).sort_by(order).to_pylist()
        ids = [row["sample_id"] for row in rows]
        why = [finding.say(row) for row in rows]
        found.append(Queue(name, finding.title, ids, why, [None] * len(ids)))
    return [queue for queue in found if queue.ids]


def _rivals(opened: Run) -> Queue:
    """Near-duplicates whose labels differ, each with its most similar partner."""
    pairs = read_parquet(opened.file("duplicates.parquet"), DUPLICATES)
    pairs = pairs.filter(pairs["other_label"])
    about = _about(opened, pairs)
    partners: dict[str, tuple[str, str]] = {}
    # the most similar come first, so the first partner met is the best
    for row in pairs.sort_by([("similarity", "descending")]).to_pylist():
        first, second = row["sample_id"], row["other_id"]
        partners.setdefault(first, (second, row["kind"]))
        partners.setdefault(second, (first, row["kind"]))
    why = []
    for other, kind in partners.values():
        path, label = about[other]
        why.append(f"{_KINDS[kind]} '{path}', which is labelled '{label}'")
    others: list[str | None] = [other for other, _ in partners.values()]
    title = "Near-duplicates with different labels"
    return Queue("duplicates", title, list(partners), why, others)


def _about(opened: Run, pairs: pa.Table) -> dict[str, tuple[str, str]]:
    """Path and given label of all images of some pairs."""
    wanted = [pairs[name].combine_chunks() for name in ("sample_id", "other_id")]
    scores = opened.scores.select(["sample_id", "path", "given_label"])
    kept = scores.filter(pc.is_in(scores["sample_id"], pa.concat_arrays(wanted)))
    columns = (kept[name].to_pylist() for name in kept.column_names)
    return {i: (path, label) for i, path, label in zip(*columns, strict=True)}
