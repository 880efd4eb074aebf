"""What the review pages show and what they write; knows nothing of HTTP."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException
from fastapi.responses import HTMLResponse, Response

from labelsieve.errors import OptionError, RunError
from labelsieve.review.queue import Filters, Suspects
from labelsieve.runs import report
from labelsieve.runs.decisions import Conflict, Decision, Decisions
from labelsieve.runs.pages import environment
from labelsieve.runs.pictures import Images, open_pictures, webp
from labelsieve.runs.run import Run

SMALL = 160


class Review:
    """One run under review: what the pages show, and what they write.

    Args:
        opened: a finished run.
        background: refine the ranking in a thread of its own, so that no answer waits for it.
    """

    def __init__(self, opened: Run, *, background: bool = True) -> None:
        if not opened.finished:
            raise RunError(
                f"'{opened.folder}' is not finished.",
                "Run labelsieve scan again; it continues.",
            )
        self.opened = opened
        self.pictures: Images = open_pictures(opened)
        self.decisions = Decisions(opened.folder)
        self.suspects = Suspects(opened, self.decisions)
        self._templates = environment()
        self._background = background
        self._refining = threading.Lock()
        self.reporting = threading.Lock()  # one at a time writes report.html

    def page(self, name: str, **values: Any) -> HTMLResponse:
        """A template of assets/review, filled in."""
        return HTMLResponse(
            self._templates.get_template(f"review/{name}.html.j2").render(**values)
        )

    def learn(self) -> None:
        """Refine the ranking when enough decisions came in."""
        if not self._background:
            self.suspects.refine_if_due()
        elif self._refining.acquire(blocking=False):
            threading.Thread(target=self._learn, daemon=True).start()

    def _learn(self) -> None:
        try:
            self.suspects.refine_if_due()
        finally:
            self._refining.release()

    def stage(
        self, filters: Filters, window: str, *, row: int | None = None, notice: str = ""
    ) -> dict[str, Any]:
        """What the card shows: the next suspect (or `row`), the reasons, progress."""
        rows = self.suspects.find(filters, window, 2)
        if row is not None:
            rows = [row, *(r for r in rows if r != row)][:2]
        shown = self.suspects.rows[rows[0]] if rows else None
        now = self.decisions.current(shown["sample_id"]) if shown else None
        alike = self.suspects.alike
        near = (
            [
                {"label": label, "ids": alike.nearest(shown["sample_id"], label)}
                for label in dict.fromkeys(
                    [shown["given_label"], shown["suggested_label"]]
                )
            ]
            if shown and alike
            else []
        )
        return {
            "card": shown,
            "p_wrong": float(self.suspects.p_wrong[rows[0]]) if rows else 0.0,
            "near": near,
            "seen": now.seq if now else 0,
            "now": said(now.verdict, now.label) if now else "",
            "upcoming": self.suspects.rows[rows[1]]["sample_id"]
            if len(rows) > 1
            else None,
            "progress": self.suspects.progress(filters),
            "filters": filters,
            "w": window,
            "notice": notice,
            "reasons": report.reasons(shown) if shown else None,
            "query": to_query(filters, window),
        }

    def decide(
        self, sample_id: str, verdict: str, label: str, window: str, seen: int
    ) -> str:
        """Write one decision; gives a notice when somebody else was faster."""
        row = self.row(sample_id)
        about = self.suspects.rows[row]
        if verdict == "other" and label not in self.suspects.at_class:
            raise HTTPException(422, f"'{label}' is no class of this data set.")
        if verdict == "accept":
            label = about["suggested_label"]
        if verdict in ("accept", "other") and label == about["given_label"]:
            verdict = "keep"
        return self.write(sample_id, verdict, label, window, seen)

    def write(
        self, sample_id: str, verdict: str, label: str, window: str, seen: int
    ) -> str:
        """A decision to the disk; gives a notice instead when somebody else was faster."""
        try:
            self.decisions.add(sample_id, verdict, label or None, by=window, seen=seen)
        except Conflict as conflict:
            return f"{conflict.what} It holds: {said(conflict.now.verdict, conflict.now.label) if conflict.now else 'undone'}."
        except OptionError as error:
            raise HTTPException(422, str(error)) from error
        self.learn()
        return ""

    def undo(self, window: str) -> tuple[list[Decision], str]:
        """Take back the latest decision of a window; gives what was undone, and that in words."""
        undone = self.decisions.undo(window)
        self.learn()
        if not undone:
            return undone, "Nothing to undo in this window."
        return undone, "1 decision was undone." if len(
            undone
        ) == 1 else f"{len(undone)} decisions were undone."

    def row(self, sample_id: str) -> int:
        """Row of an image of this run; 404 for everything else."""
        row = self.suspects.at.get(sample_id)
        if row is None:
            raise HTTPException(404, "No such image in this run.")
        return row

    def picture(self, sample_id: str, side: int) -> Response:
        """An image of this run, encoded anew."""
        if sample_id not in self.pictures:
            raise HTTPException(404, "No such image in this run.")
        found = webp(self.pictures, sample_id, side, quality=90)
        if found is None:
            raise HTTPException(404, "The image cannot be read.")
        return Response(
            found,
            media_type="image/webp",
            headers={"Cache-Control": "private, max-age=3600, immutable"},
        )


def said(verdict: str, label: str | None) -> str:
    """A verdict in words."""
    words = {
        "keep": "the label is right",
        "accept": f"it is {label}",
        "other": f"it is {label}",
        "none": "no class fits",
        "wrong": "the label is wrong",
        "skip": "skipped",
        "undo": "undone",
    }
    return words[verdict]


def to_query(filters: Filters, window: str) -> str:
    """Filters and window as the query of an address."""
    return urlencode({"w": window, **{k: v for k, v in asdict(filters).items() if v}})
