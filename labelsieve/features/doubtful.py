"""Doubtful pictures of a scan, and a second opinion on each: a queue of the review.

The fast form of `labelsieve.features.in_context`, on features that the scan left in the cache: a
linear classifier of trusted pictures answers about each doubtful one after a step on it and on
trusted pictures of the classes that it takes for likeliest. It is not asked what the label is, and
where label and another class are level for the scan, it is right no more often than the scan (see
the documentation): the queue says what it thinks, and leaves the decision to people.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa

from labelsieve.data.labels import SET
from labelsieve.runs.reading.features import feature_rows
from labelsieve.runs.reasons import Neighbours, Queue, neighbours
from labelsieve.runs.run import Run

if TYPE_CHECKING:
    import torch

MOST = 500  # doubtful pictures that are looked at: a second or two
TAUGHT = 100  # trusted pictures of a class that the classifier learns from
AT_ONCE = 100  # pictures: 100 x 15 examples x 512 numbers are 3 MB
NAME = "second-opinion"
TITLE = "Doubtful: the label and another class are level"
LEVEL = 0.3  # between the probabilities of the two
UNKNOWN = "the scan cannot tell"


def queues(opened: Run) -> list[Queue]:
    """The queue, the most nearly level first; none without features, or of sets of labels."""
    # one class is likeliest only where labels are one class each
    if opened.kind == SET or len(opened.classes) < 2:
        return []
    found = feature_rows(opened)
    rows = np.empty(0, dtype=np.int64) if found is None else doubtful(opened, found[0])
    if not len(rows):
        return []
    ids = opened.judged["sample_id"].take(pa.array(rows)).to_pylist()
    return [Queue(NAME, TITLE, ids, Opinions(opened, rows), [None] * len(ids))]


class Opinions(Sequence[str]):
    """What is said of each doubtful picture.

    The menu of a review names the queue before anybody asks for an opinion, and they take seconds:
    a classifier is trained, and torch is imported. So they are formed when the first is read.
    """

    def __init__(self, opened: Run, rows: np.ndarray) -> None:
        self._opened, self._rows = opened, rows
        self._said: list[str] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        # several pages may ask for the first at once
        with self._lock:
            if not self._said:
                self._said = self._form()
        return self._said[number]

    def _form(self) -> list[str]:
        known = neighbours(self._opened)
        assert known is not None, "rows were found by their features"
        classes = [
            name for name in self._opened.classes if known.trusted.get(name) is not None
        ]
        # nothing to compare with
        if len(classes) < 2:
            return [UNKNOWN] * len(self._rows)
        probs = opinions(known, classes, self._rows)
        said = []
        for best, share in zip(probs.argmax(1), probs.max(1), strict=True):
            speak_for = f"'{classes[best]}' ({100 * share:.0f} %)"
            said.append(f"{UNKNOWN}; trusted images speak for {speak_for}")
        return said


def doubtful(opened: Run, position: np.ndarray) -> np.ndarray:
    """Rows among the judged pictures where label and best other class are most nearly level.

    Args:
        position: [n] row of the features of each judged picture, -1 where it has none.
    """
    margin = np.abs(opened.judged["margin"].to_numpy())
    # null margins are NaN: nothing is known to be doubtful there
    usable = np.flatnonzero((position >= 0) & (margin <= LEVEL))
    return usable[np.argsort(margin[usable], kind="stable")[:MOST]]


def opinions(known: Neighbours, classes: list[str], rows: np.ndarray) -> np.ndarray:
    """Probabilities [m, k] of judged rows [m], each after its own step."""
    import torch

    from labelsieve.features import in_context, probe
    from labelsieve.features.in_context import Head, Settings

    # of the cached features there is one view
    fast = Settings(views=1)
    taught = {k: known.trusted[name][:TAUGHT] for k, name in enumerate(classes)}
    sure = np.concatenate([taught[k] for k in range(len(classes))])
    labels = np.repeat(np.arange(len(classes)), [len(rows) for rows in taught.values()])
    weight, bias = probe.linear(_features(known, sure), labels, len(classes), 0)
    head = Head(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        views = torch.from_numpy(_features(known, part))[:, None]
        answers = in_context.logits(views, head)[:, 0]
        rivals = in_context.likeliest(answers, fast.rivals).tolist()
        examples, of = _examples(known, taught, part, rivals, fast.shots)
        parts.append(in_context.adapt(views, examples, of, head, fast).numpy())
    return np.concatenate(parts)


def _features(known: Neighbours, rows: np.ndarray) -> np.ndarray:
    # copied: rows of the cache are mapped read-only, some of them half as wide
    return np.array(known.features[known.position[rows]], dtype=np.float32)


def _examples(
    known: Neighbours,
    taught: dict[int, np.ndarray],
    rows: np.ndarray,
    rivals: list[list[int]],
    shots: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples [m, e, d] and their classes [m, e]."""
    import torch

    from labelsieve.features import in_context

    found, classes = [], []
    for row, competing in zip(rows.tolist(), rivals, strict=True):
        # a trusted picture that is doubtful all the same is no example of itself
        pool = {k: taught[k][taught[k] != row] for k in competing}
        # alone in its class there is no other: all classes have as many, if none
        pool = {k: own if len(own) else taught[k] for k, own in pool.items()}
        key = str(known.ids[row]).rpartition("#")[2]
        drawn, of = in_context.draw(key, competing, pool, shots)
        found.append(_features(known, drawn))
        classes.append(of)
    return torch.from_numpy(np.stack(found)), torch.from_numpy(np.stack(classes))
