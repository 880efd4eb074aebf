"""Why an image is looked at.

Its nearest images that surely belong to one class or the other; and the queues of what pictures
show besides their labels: near-duplicates, outliers, dark and blurred ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.labels import SET, read_set
from labelsieve.runs.reading.features import feature_rows
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, one_chunk

# rows brought to float32 at once: 200 MB of 768 numbers, where all rows may be gigabytes
BLOCK = 65_536
# trusted images of a class that are compared, the surest ones: among so many some look alike, and
# a card waits for all of them
MOST = 16_384


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Images that are trusted, by class, in the space of the image tower.

    Attributes:
        ids: [n] sample ids of the judged images, in the order of `Run.judged`.
        at: row by sample id.
        features: [m, d] of length one.
        position: [n] int64 row of `features` of each image, -1 where it has none.
        trusted: rows among the judged images, by class.
    """

    ids: pa.Array
    at: RowsOf
    features: np.ndarray
    position: np.ndarray
    trusted: Mapping[str, np.ndarray]

    def nearest(self, sample_id: str, label: str | None, count: int = 3) -> list[str]:
        """Ids of the trusted images of a class that look most alike, nearest first.

        The image itself is left out.
        """
        rows = self.nearest_rows(self.at.get(sample_id, -1), label, count)
        return list(self.ids.take(pa.array(rows)).to_pylist())

    def nearest_rows(self, row: int, label: str | None, count: int = 3) -> np.ndarray:
        """As `nearest`, for a row among the judged images, and with their rows."""
        candidates = self.trusted.get(label or "")
        if row < 0 or candidates is None or self.position[row] < 0:
            return np.empty(0, dtype=np.int64)
        candidates = candidates[candidates != row]
        wanted = np.asarray(self.features[self.position[row]], dtype=np.float32)
        cosines = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(candidates), BLOCK):
            part = self.features[self.position[candidates[start : start + BLOCK]]]
            cosines.append(np.asarray(part, dtype=np.float32) @ wanted)
        order = np.argsort(-np.concatenate(cosines), kind="stable")[:count]
        return np.asarray(candidates[order])


def neighbours(opened: Run) -> Neighbours | None:
    """The trusted images of a run: not flagged and in the upper half of their class.

    None without cached features.
    """
    found = feature_rows(opened)
    if found is None:
        return None
    position, features = found
    trusted = _trusted_of_sets if opened.kind == SET else Trusted
    ids = one_chunk(opened.judged["sample_id"])
    return Neighbours(ids, opened.at, features, position, trusted(opened, position))


class Trusted(Mapping[str, np.ndarray]):
    """The better half of each class, `MOST` of them; a class is looked up when it is asked for."""

    def __init__(self, opened: Run, position: np.ndarray) -> None:
        judged = opened.judged
        names = pa.array(opened.classes, pa.string())
        codes = pc.index_in(judged["given_label"], names)
        flagged = pc.fill_null(judged["is_label_issue"], True)
        self._numbers = {name: number for number, name in enumerate(opened.classes)}
        self._codes = pc.fill_null(codes, -1).to_numpy()
        # images without a verdict are not trusted either
        self._kept = ~flagged.to_numpy() & (position >= 0)
        self._p_clean = judged["p_clean"].to_numpy()
        self._rows: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._rows:
            of_class = self._kept & (self._codes == self._numbers[name])
            rows = np.flatnonzero(of_class)
            # the surest first
            order = np.argsort(-self._p_clean[rows], kind="stable")
            self._rows[name] = rows[order][: min((len(rows) + 1) // 2, MOST)]
        if not len(self._rows[name]):
            raise KeyError(name)
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._numbers if self.get(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _trusted_of_sets(opened: Run, position: np.ndarray) -> dict[str, np.ndarray]:
    """Images whose sets have each class, the surest first, `MOST` of them."""
    judged = opened.judged
    flagged = pc.fill_null(judged["is_label_issue"], True).to_numpy()
    kept = np.flatnonzero(~flagged & (position >= 0))
    trusted: dict[str, list[int]] = defaultdict(list)
    # the better half of all: a class of its own has no probability in the scores
    order = kept[np.argsort(-judged["p_clean"].to_numpy()[kept], kind="stable")]
    labels = judged["given_label"]
    for row in order[: (len(order) + 1) // 2].tolist():
        for name in read_set(labels[row].as_py()):
            if len(trusted[name]) < MOST:
                trusted[name].append(row)
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
    why: Sequence[str]
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


_KINDS_OF_TEXTS = {
    "copy": "nearly the same words as",
    "crop": "one of the two is a part of the other,",
}
TABLES = ("duplicates", "quality")


def queues(opened: Run) -> list[Queue]:
    """What pictures of a run show besides their labels; only queues that hold something.

    Near-duplicates with different labels come first. A run of an earlier version has none.

    Raises:
        RunError: a table is damaged.
    """
    # of texts near-duplicates alone are sought
    kept = [(opened.folder / f"{name}.parquet").exists() for name in TABLES]
    found = [_rivals(opened)] if kept[0] else []
    if not kept[1]:
        return [queue for queue in found if queue.ids]
    table = opened.quality()
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
    pairs = opened.duplicates()
    pairs = pairs.filter(pairs["other_label"])
    about = _about(opened, pairs)
    partners: dict[str, tuple[str, str]] = {}
    # the most similar come first, so the first partner met is the best
    for row in pairs.sort_by([("similarity", "descending")]).to_pylist():
        first, second = row["sample_id"], row["other_id"]
        partners.setdefault(first, (second, row["kind"]))
        partners.setdefault(second, (first, row["kind"]))
    why = []
    # a scan of texts has noted down how it read them
    of_texts = "window" in (opened.record.get("preprocess") or {})
    kinds = _KINDS_OF_TEXTS if of_texts else _KINDS
    for other, kind in partners.values():
        path, label = about[other]
        why.append(f"{kinds[kind]} '{path}', which is labelled '{label}'")
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
