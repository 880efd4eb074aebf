"""What the pages show of one image: its picture in a few sizes, and what is said about it."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve.cache import key_of
from labelsieve.progress import DOUBTED, chance, counted, how_wrong, wrong_in_full
from labelsieve.review.queue import CODE, IS_SETTLED, Suspects
from labelsieve.runs import items
from labelsieve.runs.decisions import Decision, person_of
from labelsieve.runs.items._kept import Kept
from labelsieve.runs.pictures import Images
from labelsieve.runs.reasons import Queue
from labelsieve.tables import RowsOf

ROOM = 192 << 20  # bytes of made pictures that are kept: 20,000 small ones
# "full" pictures are looked at once, and one of them may be as large as a thousand small ones
MOST_SEARCHED = 200_000  # texts that are searched, not their names alone: 200 MB
KEPT = ("small", "medium", "large")
KEYS = 9  # classes that have a key of their own, 1 to 9
NEAR = 6  # trusted images of a class beside a card; low screens show half of them
# a suggestion is offered first only where it is likelier than everything else together, and
# the label only where an error is clearly the less likely case
LIKELY = 0.5
SAID = {
    "keep": "the label is right",
    "accept": "it is {label}",
    "other": "it is {label}",
    "none": "no class fits",
    "wrong": "the label is wrong",
    "skip": "skipped",
    "undo": "undone",
}


def in_words(decision: Decision | None, say: Callable[[str], str] = str) -> str:
    """What a decision says about the label; nothing where there is none.

    Args:
        say: a label that was written down, as a person reads it.
    """
    if decision is None:
        return ""
    words = SAID[decision.verdict]
    return words.replace("{label}", say(decision.label)) if decision.label else words


class Shown:
    """The pictures of a run in the sizes of the pages. Safe to use from several threads."""

    def __init__(self, images: Images, kept: Kept | None = None) -> None:
        self.images = images
        self._on_disk = kept
        self._view = items.view_of(images)
        self.kind = items.kind_of(images)
        self.noun = items.noun_of(images)
        self.sizes = frozenset(self._view.SIZES)
        self.media: str = self._view.MEDIA
        self._made: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._taken = 0
        self._lock = threading.Lock()

    def get(self, sample_id: str, size: str) -> bytes | None:
        """An item as its kind shows it; None when it cannot be read.

        Args:
            size: of `sizes`.
        """
        key = (sample_id, size)
        with self._lock:
            kept = self._made.get(key)
            if kept is not None:
                self._made.move_to_end(key)
                return kept
        picture = self._from_disk(sample_id, size)
        if picture is not None and size in KEPT:
            self._keep(key, picture)
        return picture

    def _from_disk(self, sample_id: str, size: str) -> bytes | None:
        """An item as an earlier review made it, else made now and kept for later ones."""
        content = ""
        if (
            self._on_disk is not None
            and size in KEPT
            and hasattr(self._view, "VERSION")
        ):
            content = self.images.content(sample_id)
        # by what is in it, not by its name: the same picture in another run is the same
        name = (self.kind, self._view.SIZES[size], content)
        key = key_of(getattr(self._view, "VERSION", 0), *name) if content else ""
        picture = self._on_disk.get(key) if self._on_disk and key else None
        if picture is None:
            picture = self._view.show(self.images, sample_id, size)
            if self._on_disk and key and picture is not None:
                self._on_disk.put(key, picture)
        return picture

    def _keep(self, key: tuple[str, str], picture: bytes) -> None:
        with self._lock:
            # two requests may have made the same picture
            self._taken += len(picture) - len(self._made.pop(key, b""))
            self._made[key] = picture
            # what was wanted longest ago goes first
            while self._taken > ROOM:
                self._taken -= len(self._made.popitem(last=False)[1])

    def holds_boxes(self, ids: Any) -> bool:
        """Whether parts of pictures are judged, by the first of all ids."""
        crop = getattr(self.images, "crop", None)
        return bool(crop and len(ids) and crop(str(ids[0].as_py())))

    def where(self, sample_id: str) -> Any:
        """Facts of a part of a picture, but nothing that the scan found; None of a whole one."""
        facts = self.facts(sample_id)
        boxed = getattr(facts, "boxed", False)
        return replace(facts, heat=False) if boxed else None

    def contents(self, ids: pa.Array) -> pa.Array | None:
        """[n] what is written in items, for a search; None in pictures, and in too many texts."""
        letters = getattr(self._view, "letters", None)
        if letters is None or len(ids) > MOST_SEARCHED:
            return None
        found = [letters(self.images, sample_id) for sample_id in ids.to_pylist()]
        return pa.array(found, pa.large_string())

    def searched(self, count: int) -> str:
        """Where a search looks, of so many items."""
        if not hasattr(self._view, "letters"):
            return "paths"
        return "texts and names" if count <= MOST_SEARCHED else "names"

    def facts(self, sample_id: str) -> Any:
        """What is said beside an item, as its kind knows it; None when it cannot be read."""
        return self._view.facts(self.images, sample_id)


class Finding:
    """Why each image of a queue is in it; of thousands of them only those that are shown are told.

    Args:
        queue: the images with what is said of them.
        rows: [m] rows of the images, -1 of those that the run has not.
        at: rows by sample id.
    """

    def __init__(self, queue: Queue, rows: np.ndarray, at: RowsOf) -> None:
        self._queue, self._at = queue, at
        self._order = np.argsort(rows, kind="stable")
        self._sorted = rows[self._order]

    def of(self, row: int) -> tuple[str, int]:
        """The reason, and the row of the other image or -1; "" and -1 where the image is not in it.

        Args:
            row: of an image of the run.
        """
        place = int(np.searchsorted(self._sorted, row, "right")) - 1
        if place < 0 or self._sorted[place] != row:
            return "", -1
        number = int(self._order[place])
        partner = self._queue.partners[number]
        return self._queue.why[number], self._at.get(partner or "", -1)


class Describing:
    """Turns rows into what a template or a script of the pages shows."""

    def __init__(self, suspects: Suspects, pictures: Shown) -> None:
        self.suspects = suspects
        self.pictures = pictures
        columns = suspects.columns
        columns.read_contents = lambda: pictures.contents(columns.ids)
        # by name of a queue
        self.findings: dict[str, Finding] = {}

    def card(self, row: int, queue: str = "") -> dict[str, Any]:
        """Everything about one image, for the card's template.

        Args:
            queue: name of the queue that it is shown from.
        """
        finding = self.findings.get(queue)
        why, partner = finding.of(row) if finding else ("", -1)
        columns, now = self.suspects.columns, self.suspects.now
        sample_id = columns.sample_id(row)
        given = str(columns.name(int(columns.given[row])))
        # read once: what is accepted must be what is shown, and learning changes it
        code = int(self.suspects.offered[row])
        offered = columns.name(code)
        decision = self.suspects.decisions.current(sample_id)
        return {
            "row": row,
            "sample_id": sample_id,
            "path": columns.path(row),
            "given": given,
            "offered": offered,
            "offer": columns.text(code),
            "offered_prob": columns.probability(now, row, code),
            "words": wrong_in_full(float(now.p_wrong[row])),
            "p_wrong": float(now.p_wrong[row]),
            "primary": self.primary(row),
            "outside": bool(columns.outside[row]),
            "classes": self.classes(row),
            "chips": columns.chips(now, row, KEYS),
            "near": self.near(row, columns.compared(now, row, given, offered)),
            "facts": self.pictures.facts(sample_id),
            "seen": int(self.suspects.seen[row]),
            "decided": in_words(decision, columns.say),
            "person": person_of(decision.by) if decision else "",
            "reason": self.reason(row, given),
            "agreement": columns.number("agreement", row),
            "why": why,
            "partner": partner,
        }

    def primary(self, row: int) -> str:
        """Which answer is offered first: accept, keep, or neither."""
        p_wrong = float(self.suspects.now.p_wrong[row])
        differs = self.suspects.offered[row] != self.suspects.columns.given[row]
        # the best of the wrong classes is no answer to offer first
        if self.suspects.columns.outside[row]:
            return "none" if p_wrong >= LIKELY else ""
        likely = min(p_wrong, self.probability_offered(row)) >= LIKELY
        if differs and likely:
            return "accept"
        return "keep" if p_wrong < DOUBTED else ""

    def probability_offered(self, row: int) -> float:
        """Probability of what a reviewer is offered."""
        offered = int(self.suspects.offered[row])
        return self.suspects.columns.probability(self.suspects.now, row, offered)

    def classes(self, row: int) -> list[dict[str, Any]]:
        """The likeliest classes, each with its probability; of sets none, which have chips."""
        if self.suspects.columns.chips(self.suspects.now, row, KEYS):
            return []
        posterior = np.asarray(self.suspects.now.posterior[row], dtype=float)
        # an answer leaves zeros: what comes first among them is as in the list of classes
        order = np.argsort(-posterior, kind="stable")[:KEYS]
        given = int(self.suspects.columns.given[row])
        likely = []
        for code in order.tolist():
            name = self.suspects.columns.classes[code]
            likely.append(
                {"name": name, "p": float(posterior[code]), "given": code == given}
            )
        return likely

    def near(self, row: int, labels: list[str | None]) -> list[dict[str, Any]]:
        """Trusted images of the given and the offered class that look most alike."""
        if self.suspects.alike is None:
            return []
        near = []
        # a suggestion may be the given label: shown once
        for label in dict.fromkeys(labels):
            rows = self.suspects.alike.nearest_rows(row, label, NEAR).tolist()
            if rows:
                paths = [self.suspects.columns.path(r) for r in rows]
                images = [
                    {"row": r, "path": p} for r, p in zip(rows, paths, strict=True)
                ]
                near.append({"label": label, "images": images})
        return near

    def reason(self, row: int, given: str) -> str:
        """What the learned prompts say, in words; nothing where the method has none."""
        positive = self.suspects.columns.number("positive_logit", row)
        negative = self.suspects.columns.number("negative_logit", row)
        if positive is None or negative is None:
            return ""
        # a model to which the names say nothing would contradict what the pictures tell
        if not self.suspects.columns.prompts_tell:
            return ""
        fits = positive >= negative
        # a card says one thing: what outweighs the name is shown by look-alikes, not by a reason
        if fits != (float(self.suspects.now.p_wrong[row]) < LIKELY):
            return ""
        fit = "fits" if fits else "does not fit"
        return f"By its name alone, “{given}” {fit} this {self.pictures.noun}."

    def cells(self, rows: Iterable[int], window: str) -> list[dict[str, Any]]:
        """Images of the grid, or at a point of the map."""
        held = self.suspects.held(window)
        return [self._cell(int(row), held) for row in rows]

    def _cell(self, row: int, held: list[tuple[str, frozenset[int]]]) -> dict[str, Any]:
        columns, now = self.suspects.columns, self.suspects.now
        # read once, as of a card
        code = int(self.suspects.offered[row])
        cell: dict[str, Any] = {
            "row": row,
            "path": columns.path(row),
            "given": columns.name(int(columns.given[row])),
            "offered": columns.name(code),
            "offer": columns.text(code),
            "p": round(float(now.p_wrong[row]), 3),
            "chance": chance(float(now.p_wrong[row])),
            "words": how_wrong(float(now.p_wrong[row])),
            "full": wrong_in_full(float(now.p_wrong[row])),
            "primary": self.primary(row),
            "seen": int(self.suspects.seen[row]),
        }
        added, removed = columns.changes(int(columns.given[row]), code)
        if added or removed:
            signed = [f"+ {name}" for name in added] + [f"− {name}" for name in removed]
            cell["change"] = ", ".join(signed)
        if self.suspects.verdict[row]:
            decision = self.suspects.decisions.current(columns.sample_id(row))
            cell["decided"] = in_words(decision, columns.say)
            cell["settled"] = bool(IS_SETTLED[self.suspects.verdict[row]])
            cell["kept"] = bool(self.suspects.verdict[row] == CODE["keep"])
            cell["person"] = person_of(decision.by) if decision else ""
        for person, theirs in held:
            if row in theirs:
                cell["held"] = person or "another window"
        return cell

    def history(self, entries: Iterable[tuple[Decision, bool]]) -> list[dict[str, Any]]:
        """Decisions for the page that lists them, each with whether it can be undone."""
        columns = self.suspects.columns
        entries = list(entries)
        rows = []
        together = Counter(decision.batch for decision, _ in entries)
        for decision, can_undo in entries:
            row = columns.at.get(decision.sample_id)
            # a script may have decided about images that the scan could not read
            if row is not None:
                rows.append(
                    {
                        "decision": decision,
                        "open": can_undo,
                        # one image of the grid is a batch of its own
                        "together": bool(decision.batch)
                        and together[decision.batch] > 1,
                        "words": in_words(decision, columns.say),
                        "person": person_of(decision.by),
                        "row": row,
                        "path": columns.path(row),
                        "given": columns.name(int(columns.given[row])),
                    }
                )
        return rows

    def others(self, window: str) -> str:
        """What other windows hold, in a sentence; nothing where there are none."""
        named: dict[str, int] = {}
        unnamed = []
        for person, rows in self.suspects.held(window):
            if person:
                named[person] = named.get(person, 0) + len(rows)
            else:
                unnamed.append(len(rows))
        parts = [f"{person} looks at {self._count(n)}" for person, n in named.items()]
        if len(unnamed) == 1:
            parts.append(f"another window looks at {self._count(unnamed[0])}")
        elif unnamed:
            total = self._count(sum(unnamed))
            parts.append(f"{len(unnamed)} other windows look at {total}")
        sentence = ", ".join(parts)
        return sentence[:1].upper() + sentence[1:]

    def _count(self, number: int) -> str:
        return counted(number, self.pictures.noun)
