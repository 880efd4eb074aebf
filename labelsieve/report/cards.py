"""The suspects of the report: every flagged label with its picture, within a budget of bytes.

The first ones are large enough to judge; the further down the list, the smaller they are, so that
ten thousand fit into one file. What was decided about each is read from the decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve.data.labels import SET
from labelsieve.data.sources._groups import storage_order
from labelsieve.report import sets
from labelsieve.runs import items
from labelsieve.runs.pictures import Pictures
from labelsieve.runs.reasons import Neighbours, neighbours
from labelsieve.runs.run import Run
from labelsieve.runs.sets.standing import SetStanding
from labelsieve.runs.standing import Standing

MOST = 10_000  # suspects in one file; the rest lies in files beside it
LARGE = 100  # of them that come with reasons, and as large as a screen shows them
MEDIUM = 400
# Sides in pixels and WebP qualities of these, and of all that follow.
OF_LARGE = (400, 80)
OF_MEDIUM = (240, 75)
OF_SMALL = ((160, 65), (112, 55), (88, 45), (64, 40), (48, 30))
OF_REASONS = (96, 70)
# Bytes that the small ones may take together: with the others and all words the file stays
# below 25 MB.
BUDGET = 14_000_000
SURELY = (
    1.5  # times what a picture may take that it must be expected to take to be left out
)
NEAR = 3  # trusted pictures of each class beside a large one
WORKERS = 8  # decoding leaves Python's lock


@dataclass
class Suspects:
    """What the page needs of its suspects, column by column, as JSON has it.

    Attributes:
        classes: names that `given`, `suggested` and `decided` are numbers of; -1 is none.
        wrong: probability that the label is wrong; suggested_prob: that the suggestion is right.
        verdict: what people decided, empty where nobody did. decided: the right class, if known.
        kind: of the items, a file of `labelsieve.runs.items`.
        picture: each item as its kind embeds it, empty where it cannot be read.
        agreement: share of the votes that the given label had; empty where nobody voted.
        labels, members: of sets alone, the classes that occur, and places in `labels` of those of
            each of `classes`, by which people filter.
        near: by row, [class, numbers in `pool`] of the nearest trusted pictures.
    """

    classes: list[str]
    path: list[str]
    given: list[int]
    suggested: list[int]
    wrong: list[float]
    suggested_prob: list[float]
    verdict: list[str]
    decided: list[int]
    picture: list[str]
    kind: str = "images"
    agreement: list[float | None] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    members: list[list[int]] = field(default_factory=list)
    near: dict[int, list[tuple[int, list[int]]]] = field(default_factory=dict)
    pool: list[str] = field(default_factory=list)


def order(standing: Any) -> np.ndarray:
    """Rows [m] of a run's scored images that are suspects, the most suspicious first.

    Those that the scan flagged, and those that people called wrong.
    """
    # scores come with the most suspicious first; what people said of one moves no other
    return np.flatnonzero(standing.scanned.issue | standing.issue)


def suspects(
    opened: Run, standing: Any, rows: np.ndarray, pictures: Pictures
) -> Suspects:
    """The suspects `rows` [m] of a run for one file."""
    ids = standing.ids.take(rows).to_pylist()
    found = _columns(opened, standing, rows)
    found.kind = items.kind_of(pictures)
    # the largest part of the work, and of the file; of ids in the order of suspicion each would
    # lie in another part of a large table
    uris = opened.manifest["uri"].take(pa.array(opened.at.rows(ids)))
    found.picture = _pictures(ids, pictures, storage_order(uris).tolist())
    alike = neighbours(opened)
    if alike is not None and opened.kind == SET:
        _add_reasons_of_sets(found, standing, rows[:LARGE], alike, pictures)
    elif alike is not None:
        _add_reasons(found, ids[:LARGE], alike, pictures)
    return found


def _columns(opened: Run, standing: Any, rows: np.ndarray) -> Suspects:
    if opened.kind == SET:
        return Suspects(**sets.columns(opened, standing, rows))
    return _of_single(opened, standing, rows)


def _of_single(opened: Run, standing: Standing, rows: np.ndarray) -> Suspects:
    # scored images come first among the scores, in the order of the standing
    paths = opened.scores["path"].take(rows).to_pylist()
    # a reviewer is offered another class even where the label is likelier
    suggested = np.where(
        standing.suggested[rows] == standing.given[rows],
        standing.best_other[rows],
        standing.suggested[rows],
    )
    other = suggested == standing.best_other[rows]
    prob = np.where(
        other, standing.best_other_prob[rows], standing.suggested_prob[rows]
    )
    found = Suspects(
        classes=list(standing.classes),
        path=paths,
        given=standing.given[rows].tolist(),
        suggested=suggested.tolist(),
        # four digits: what a person reads, and half of the bytes
        wrong=sets.short(standing.p_wrong[rows]).tolist(),
        suggested_prob=sets.short(prob).tolist(),
        verdict=[verdict or "" for verdict in standing.verdicts[rows]],
        decided=standing.decided[rows].tolist(),
        picture=[],
    )
    # of data with votes alone
    if "agreement" in opened.scores.column_names:
        found.agreement = opened.scores["agreement"].take(rows).to_pylist()
    return found


def _pictures(ids: list[str], pictures: Pictures, order: Sequence[int]) -> list[str]:
    """Pictures of all suspects, smaller towards the end of the list.

    Args:
        order: places in the list, as they are best read.
    """
    small = max(1, len(ids) - LARGE - MEDIUM)
    room = BUDGET // small

    view = items.view_of(pictures)

    def encode(number: int) -> str:
        sample_id = ids[number]
        if number < LARGE:
            return str(view.embed(pictures, sample_id, *OF_LARGE))
        if number < LARGE + MEDIUM:
            return str(view.embed(pictures, sample_id, *OF_MEDIUM))
        return _within(pictures, sample_id, room)

    # one after the other, a thousand photos would take half a minute
    with ThreadPoolExecutor(WORKERS) as pool:
        encoded = dict(zip(order, pool.map(encode, order), strict=True))
    return [encoded[number] for number in range(len(ids))]


def _within(pictures: Pictures, sample_id: str, room: int) -> str:
    """An item as large as `room` characters allow; the smallest, where even that is larger."""
    view = items.view_of(pictures)
    (widest, finest), *others = OF_SMALL
    first = shown = str(view.embed(pictures, sample_id, widest, finest))
    for side, quality in others:
        if len(shown) <= room:
            break
        # a photo of half the side takes about a quarter of the bytes: what cannot fit is not tried,
        # as every try decodes the picture again
        hopeless = len(first) * (side / widest) ** 2 > SURELY * room
        if not hopeless or side == others[-1][0]:
            shown = str(view.embed(pictures, sample_id, side, quality))
    return shown


def _add_reasons(
    found: Suspects, ids: list[str], alike: Neighbours, pictures: Pictures
) -> None:
    """The nearest trusted pictures of the given and of the suggested class of each."""
    numbers: dict[str, int] = {}
    for row, sample_id in enumerate(ids):
        beside = []
        for label in dict.fromkeys((found.given[row], found.suggested[row])):
            if label < 0:
                continue
            near = alike.nearest(sample_id, found.classes[label], NEAR)
            beside.append((label, list(_pooled(near, numbers, found.pool, pictures))))
        found.near[row] = beside


def _add_reasons_of_sets(
    found: Suspects,
    standing: SetStanding,
    rows: np.ndarray,
    alike: Neighbours,
    pictures: Pictures,
) -> None:
    """The nearest trusted pictures of each class that is said to be missing or extra."""
    numbers: dict[str, int] = {}
    ids = standing.ids.take(rows).to_pylist()
    for place, (row, sample_id) in enumerate(zip(rows.tolist(), ids, strict=True)):
        beside = []
        for name in sets.changed(standing, row)[:2]:
            if name not in found.classes:
                found.classes.append(name)
            near = alike.nearest(sample_id, name, NEAR)
            pooled = list(_pooled(near, numbers, found.pool, pictures))
            beside.append((found.classes.index(name), pooled))
        found.near[place] = beside


def _pooled(
    ids: list[str], numbers: dict[str, int], pool: list[str], pictures: Pictures
) -> Iterator[int]:
    """Numbers of pictures in the pool; each is in it once, whatever it stands beside."""
    for sample_id in ids:
        if sample_id not in numbers:
            numbers[sample_id] = len(pool)
            embed = items.view_of(pictures).embed
            pool.append(embed(pictures, sample_id, *OF_REASONS))
        if pool[numbers[sample_id]]:
            yield numbers[sample_id]


def examples(
    opened: Run, standing: Any, rows: np.ndarray, pictures: Pictures
) -> list[dict[str, Any]]:
    """The most frequent confusions, each with its number of suspects and four pictures."""
    numbers = {name: number for number, name in enumerate(standing.classes)}
    embed = items.view_of(pictures).embed
    shown = []
    # more than a screenful nobody compares
    for pair in opened.noise["pairs"][:8]:
        if opened.kind == SET:
            here = sets.with_pair(standing, rows, pair["given"], pair["suggested"])
        else:
            here = rows[
                (standing.given[rows] == numbers.get(pair["given"], -1))
                & (standing.suggested[rows] == numbers.get(pair["suggested"], -1))
            ]
        ids = standing.ids.take(here[:4]).to_pylist()
        encoded = [embed(pictures, i, *OF_REASONS) for i in ids]
        shown.append(
            {**pair, "flagged": len(here), "embedded": list(filter(None, encoded))}
        )
    return shown
