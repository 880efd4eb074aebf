"""What the review pages show and what they write; knows nothing of HTTP."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelsieve.audits import headline
from labelsieve.data.labels import SET, SINGLE
from labelsieve.errors import LabelsieveError, RunError
from labelsieve.estimation.noise_rate import says_little
from labelsieve.features import doubtful, projection
from labelsieve.review.auditing import Auditing
from labelsieve.review.deciding import Deciding, NotInRun
from labelsieve.review.filters import (
    GRID,
    MARKS,
    STATUSES,
    Filters,
    Sorting,
    to_query,
)
from labelsieve.review.queue import Suspects
from labelsieve.review.shown import Describing, Finding, Shown
from labelsieve.runs import reasons
from labelsieve.runs.decisions import Decisions
from labelsieve.runs.items._kept import Kept
from labelsieve.runs.pages import template
from labelsieve.runs.pictures import open_pictures
from labelsieve.runs.reading.mapped import keep as keep_mapped
from labelsieve.runs.run import Run, alone

PAIRS_SHOWN = (
    200  # entries of the menu of confusions; more than anybody scrolls through
)
HISTORY_SHOWN = 200
MOST_CELLS = 500  # of one answer: more than a screen shows
# images from which the first page does not wait for learning from answers
MANY = 50_000
FIRST_PAGE = (
    5.0  # seconds; a browser that does not come does not hold up what is prepared
)
# what is asked about each item, by the kind of its label: a file of assets/review/labels
LABELS = {SINGLE: "one", SET: "set"}


class Review:
    """One run under review: what the pages show, and what they write.

    Args:
        opened: a finished run.
        data: the scanned data, where they are no longer where they were scanned, or were in memory.
        background: learn from answers in a thread of its own, so that none waits for it.

    Raises:
        RunError: the run is not finished, or its data cannot be opened.
    """

    def __init__(
        self, opened: Run, *, data: Any = None, background: bool = True
    ) -> None:
        opened.require_finished()
        self.opened = opened
        # among many images learning from answers takes seconds, and nobody waits for it
        self._later = background and len(opened.scores) >= MANY
        # of a million images each takes its time, and the second core has nothing else to do
        with ThreadPoolExecutor(1) as beside:
            opening = beside.submit(open_pictures, opened, data)
            self.decisions = Decisions(opened.folder)
            try:
                self.suspects = Suspects(opened, self.decisions, learn=not self._later)
                self.pictures = Shown(opening.result(), Kept())
            except LabelsieveError:
                self.decisions.close()
                raise
        self._boxed = self.pictures.holds_boxes(self.suspects.columns.ids)
        self.describing = Describing(self.suspects, self.pictures)
        self.auditing = Auditing(opened, self.suspects, background=background)
        self.suspects.by_gain = self.auditing.by_gain
        self.deciding = Deciding(self.suspects, background=background)
        # read at once: filters may name a queue
        _ = self.queues
        # report.html is written by one request at a time
        self._reporting = threading.Lock()
        self._mapping = threading.Lock()
        self._shown = threading.Event()
        if background:
            threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        """What takes a second and is wanted later, so that nobody waits for it then."""
        # a page that is closed meanwhile has closed its decisions
        with contextlib.suppress(RunError):
            # the first page has the processor for itself
            self._shown.wait(FIRST_PAGE)
            self._prepare_all()

    def _prepare_all(self) -> None:
        if self._later:
            self.deciding.learn()
        importlib.import_module("scipy.stats")
        self.auditing.prepare()
        _ = self.suspects.alike
        _ = self.suspects.columns.by_name, self.suspects.columns.contents
        if self.suspects.similar is not None:
            self.suspects.similar.prepare()
        # last, as it takes longest: seconds for a million images
        self.auditing.by_gain()
        # so that none of all that has to be read and checked again the next time
        keep_mapped(self.opened)

    def page(self, name: str, **values: Any) -> str:
        """A template of assets/review, filled in."""
        page = template(f"review/{name}.html.j2")
        kind = self.pictures.kind
        thing = self.pictures.noun
        words = {"thing": thing, "things": f"{thing}s", "boxed": self._boxed}
        return page.render(
            kind=kind, labels=LABELS[self.opened.kind], **words, **values
        )

    # --- what the pages show

    def front_page(
        self, filters: Filters, window: str, *, row: int | None = None, person: str = ""
    ) -> str:
        """The page with the next suspect, or with a certain image."""
        stage = self._stage(filters, window, row, person=person)
        # what stands outside of the stage comes with the page
        page = self.page("page", oob=False, **stage, **self.frame())
        self._shown.set()
        return page

    def card(self, filters: Filters, window: str, **options: Any) -> str:
        """The part of the page that changes from decision to decision; options of `_stage`."""
        return self.page("stage", oob=True, **self._stage(filters, window, **options))

    def _stage(
        self,
        filters: Filters,
        window: str,
        row: int | None = None,
        *,
        notice: str = "",
        conflict: bool = False,
        person: str = "",
    ) -> dict[str, Any]:
        # two: the picture of the second is fetched ahead
        rows = self.suspects.find(filters, window, 2, person)
        if row is not None:
            rows = [row, *(r for r in rows if r != row)][:2]
            self.suspects.hold(window, [row], person)
        return {
            "card": self.describing.card(rows[0], filters.show) if rows else None,
            "upcoming": rows[1] if rows[1:] else None,
            "lease": self.suspects.ticket(window) or "",
            "notice": notice,
            "conflict": conflict,
            **self.state(filters, window),
        }

    def state(self, filters: Filters, window: str) -> dict[str, Any]:
        """How far it is, and what others do: stands on every view."""
        return {
            **self.counts(filters, window),
            "filters": filters,
            "w": window,
            "query": to_query(filters, window),
        }

    def frame(self) -> dict[str, Any]:
        """Menus of the filters."""
        return {
            "classes": self.suspects.columns.classes,
            "queues": self.queues,
            "statuses": [
                (name, s.title.replace("images", f"{self.pictures.noun}s"))
                for name, s in STATUSES.items()
            ],
            "has_features": self.suspects.similar is not None,
            "total": len(self.suspects.columns),
            "searched": self.pictures.searched(len(self.suspects.columns)),
            "caveats": self.caveats,
        }

    @property
    def caveats(self) -> list[str]:
        """What limits everything that the scan says, as report and terminal say it."""
        return list(self.opened.record.get("caveats", []))

    @cached_property
    def queues(self) -> list[dict[str, Any]]:
        """Queues beside the suspects: near-duplicates, outliers, dark ones, ..."""
        entries = []
        at = self.suspects.columns.at
        for queue in (*reasons.queues(self.opened), *doubtful.queues(self.opened)):
            rows = at.rows(queue.ids)
            shown = rows[rows >= 0]
            self.suspects.queues[queue.name] = shown
            self.describing.findings[queue.name] = Finding(queue, rows, at)
            entries.append(
                {"name": queue.name, "title": queue.title, "count": len(shown)}
            )
        return entries

    # --- one image

    def picture(self, row: int, size: str) -> bytes:
        """An item of this run as its kind shows it, in a size that its kind has.

        Raises:
            NotInRun: there is none, or it cannot be read.
        """
        if not 0 <= row < len(self.suspects.columns) or size not in self.pictures.sizes:
            raise NotInRun("No such image in this run.")
        picture = self.pictures.get(self.suspects.columns.sample_id(row), size)
        if picture is None:
            raise NotInRun("The image cannot be read.")
        return picture

    # --- many images

    def cells(
        self, filters: Filters, sorting: Sorting, window: str, start: int, count: int
    ) -> dict[str, Any]:
        """One screen of the grid; its images are this window's from now on."""
        rows = self.suspects.rows(filters, sorting)
        start = max(0, min(start, len(rows) - 1))
        shown = rows[start : start + min(count, MOST_CELLS)].tolist()
        self.suspects.hold(window, shown)
        return {
            "total": len(rows),
            "start": start,
            "cells": self.describing.cells(shown, window),
            "suggestions": self.suspects.offers(rows)[1],
            "lease": self.suspects.ticket(window),
            **self.counts(filters, window),
        }

    def rows(self, filters: Filters, sorting: Sorting) -> dict[str, Any]:
        """The first rows that pass the filters, and how many do; nobody holds them."""
        rows = self.suspects.rows(filters, sorting)
        return {"total": len(rows), "rows": rows[:MOST_CELLS].tolist()}

    def some_cells(
        self, filters: Filters, rows: Sequence[int], window: str, *, hold: bool = False
    ) -> dict[str, Any]:
        """Certain images as they are now.

        Args:
            hold: the window shows these from now on.
        """
        self.suspects.take_in()
        known = [r for r in rows[:MOST_CELLS] if 0 <= r < len(self.suspects.columns)]
        if hold:
            self.suspects.hold(window, known)
        cells = self.describing.cells(known, window)
        lease = self.suspects.ticket(window)
        return {"cells": cells, "lease": lease, **self.counts(filters, window)}

    def counts(self, filters: Filters, window: str) -> dict[str, Any]:
        """Progress and what others do, for scripts."""
        stop = self.auditing.stop()
        progress = self.suspects.progress(filters)
        sums = self.suspects.sums()
        # what was drawn at random says more than the scan, whatever people have seen since
        found = headline.of_standing(self.opened, sums, self.auditing.left())
        progress["left"] = found.left.about if found.left else None
        progress["words"] = found.to_find(sums.scanned_open)
        progress["headline"] = found.sentence
        return {
            "progress": progress,
            "others": self.describing.others(window),
            "stop": asdict(stop) if stop else None,
        }

    @cached_property
    def _says_little(self) -> bool:
        """Whether the model cannot say how many labels are wrong: then no page names a number."""
        _, low, high = self.opened.noise_rate
        return says_little(low, high)

    def grid_page(self, filters: Filters, sorting: Sorting, window: str) -> str:
        """The page with many images at once; a script asks for `cells`."""
        return self.page(
            "grid",
            sorting=sorting,
            pairs=self.suspects.pairs(PAIRS_SHOWN),
            **self.state(filters, window),
            **self.frame(),
        )

    # --- what was decided

    def history_page(self, window: str) -> str:
        """The latest decisions, each with a button to undo it."""
        # one more than is shown tells whether the last one was decided with others
        entries = self.decisions.history(HISTORY_SHOWN + 1)
        rows = self.describing.history(entries)[:HISTORY_SHOWN]
        return self.page("history", rows=rows, w=window)

    def write_report(self) -> Path:
        """Write report.html with what was decided so far."""
        from labelsieve.report.page import write  # not needed before the first report

        # a run that was scanned anew meanwhile gets no report of the old one
        with self._reporting, alone(self.opened):
            return write(self.opened, self.pictures.images)

    # --- the random sample

    def audit_page(self, window: str, person: str = "") -> str:
        """The page with the next image of the random sample."""
        return self.page("audit", **self._audit(window, person=person))

    def audit_card(self, window: str, **options: Any) -> str:
        """The part of the page that changes from answer to answer; options of `_audit`."""
        return self.page("audit_stage", **self._audit(window, **options))

    def _audit(
        self,
        window: str,
        notice: str = "",
        *,
        conflict: bool = False,
        person: str = "",
    ) -> dict[str, Any]:
        shown = self.auditing.as_dict(window, person)
        if shown["card"]:
            sample_id = shown["card"]["sample_id"]
            shown["card"]["facts"] = self.pictures.where(sample_id)
        return {
            **shown,
            "notice": notice,
            "conflict": conflict,
            "w": window,
            "lease": self.suspects.ticket(window) or "",
            "model": None if self._says_little else self.opened.noise["rate"],
            "caveats": self.caveats,
            "others": self.describing.others(window),
        }

    # --- the map

    def map_page(self, filters: Filters, window: str) -> str:
        """The page with all images as points; a script asks for `points`."""
        state = self.state(filters, window)
        return self.page("map", marks=MARKS, **state, **self.frame())

    def points(self) -> bytes:
        """What never changes of all n points: x, y and given label, n uint16 of each.

        Nothing without features.
        """
        places = self.places()
        if places is None:
            return b""
        given = self.suspects.columns.given.astype("<u2")
        x, y = places[:, 0].astype("<u2"), places[:, 1].astype("<u2")
        return x.tobytes() + y.tobytes() + given.tobytes()

    def states(self, filters: Filters) -> bytes:
        """What answers change: probability of an error in 255ths, and a state, n uint8 of each.

        States: numbers of `labelsieve.review.filters.MARKS`, and 128 where the filters leave the
        image in.
        """
        self.suspects.take_in()
        p = np.rint(np.asarray(self.suspects.now.p_wrong) * 255).astype(np.uint8)
        state = self.suspects.marks()
        # by default the map shows all: suspects stand out by their colour
        wanted = replace(
            filters,
            show="all" if filters.show == "flagged" else filters.show,
            decided="any" if filters.decided == "open" else filters.decided,
        )
        state[self.suspects.mask(wanted)] |= 128
        return p.tobytes() + state.tobytes()

    def places(self) -> np.ndarray | None:
        """[n, 2] uint16 where each image lies on the map; None without features."""
        with self._mapping:
            if self.suspects.places is None:
                made = projection.of_run(self.opened)
                if made is None:
                    return None
                rows = self.suspects.columns.at.rows(made.ids.to_pylist())
                places = np.zeros((len(self.suspects.columns), 2), dtype=np.uint16)
                places[rows[rows >= 0]] = np.rint(made.xy[rows >= 0] * GRID)
                self.suspects.places = places
        return self.suspects.places
