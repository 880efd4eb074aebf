"""What the review pages show and what they write; knows nothing of HTTP."""

from __future__ import annotations

import importlib
import secrets
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.report import page as report
from labelsieve.review.queue import Filters, Suspects
from labelsieve.runs.decisions import Conflict, Decision, Decisions
from labelsieve.runs.pages import template
from labelsieve.runs.pictures import Images, open_pictures, webp
from labelsieve.runs.run import Run

AUDIT_VERDICTS = ("keep", "wrong", "skip")
BULK_SHOWN = 200  # pictures on the page that asks before a bulk decision
PAIRS_SHOWN = (
    200  # entries of the menu of confusions; more than anybody scrolls through
)
HISTORY_SHOWN = 200
QUALITY = 90  # of WebP: labels are judged by small details
WORDS = {
    "keep": "the label is right",
    "accept": "it is {label}",
    "other": "it is {label}",
    "none": "no class fits",
    "wrong": "the label is wrong",
    "skip": "skipped",
    "undo": "undone",
}


class NotInRun(LabelsieveError):
    """What was asked for is not in the run under review."""


class Review:
    """One run under review: what the pages show, and what they write.

    Args:
        opened: a finished run.
        data: the scanned data, where they are no longer where they were scanned.
        background: refine the ranking in a thread of its own, so that no answer waits for it.

    Raises:
        RunError: the run is not finished, or its data cannot be opened.
    """

    def __init__(
        self, opened: Run, *, data: str | None = None, background: bool = True
    ) -> None:
        opened.require_finished()
        self.opened = opened
        self.pictures: Images = open_pictures(opened, data)
        self.decisions = Decisions(opened.folder)
        self.suspects = Suspects(opened, self.decisions)
        self._background = background
        if background:
            # takes a second to load; the first answer of an audit would wait for it
            load = importlib.import_module
            threading.Thread(target=load, args=("scipy.stats",), daemon=True).start()
        self._refining = threading.Lock()
        # report.html is written by one request at a time
        self._reporting = threading.Lock()

    def page(self, name: str, **values: Any) -> str:
        """A template of assets/review, filled in."""
        return template(f"review/{name}.html.j2").render(**values)

    # --- single decisions

    def front_page(self, filters: Filters, window: str) -> str:
        """The page with the next suspect, the filters and the menu of confusions."""
        return self.page(
            "page",
            **self._stage(filters, window),
            classes=self.suspects.classes,
            pairs=self.suspects.pairs()[:PAIRS_SHOWN],
        )

    def card(
        self, filters: Filters, window: str, *, row: int | None, notice: str
    ) -> str:
        """The part of the page that changes from decision to decision.

        Args:
            row: shown instead of the next suspect.
        """
        return self.page("stage", **self._stage(filters, window, row, notice))

    def _stage(
        self, filters: Filters, window: str, row: int | None = None, notice: str = ""
    ) -> dict[str, Any]:
        # two: the picture of the second is fetched ahead
        rows = self.suspects.find(filters, window, 2)
        if row is not None:
            rows = [row, *(r for r in rows if r != row)][:2]
            self.suspects.hold(window, row)
        stage: dict[str, Any] = {
            "card": None,
            "progress": self.suspects.progress(filters),
            "filters": filters,
            "w": window,
            "lease": self.suspects.ticket(window) or "",
            "notice": notice,
        }
        if rows:
            stage |= self._about(rows[0])
            # its picture is fetched ahead
            stage["upcoming"] = (
                self.suspects.rows[rows[1]]["sample_id"] if rows[1:] else None
            )
        return stage

    def _about(self, row: int) -> dict[str, Any]:
        """A suspect with the reasons to suspect it, and what holds about it."""
        card = self.suspects.rows[row]
        now = self.decisions.current(card["sample_id"])
        near = []
        if self.suspects.alike is not None:
            # a suggestion may be the given label: shown once
            for label in dict.fromkeys([card["given_label"], card["suggested_label"]]):
                ids = self.suspects.alike.nearest(card["sample_id"], label)
                near.append({"label": label, "ids": ids})
        return {
            "card": card,
            "p_wrong": float(self.suspects.p_wrong[row]),
            "near": near,
            "seen": now.seq if now else 0,
            "now": in_words(now),
            "reasons": {
                "positive": card.get("positive_logit"),
                "negative": card.get("negative_logit"),
            },
        }

    def decide(
        self, sample_id: str, verdict: str, label: str, window: str, seen: int
    ) -> str:
        """Write one decision.

        Args:
            seen: number of the latest decision about the image that the window knows of.

        Returns:
            A notice when somebody else was faster, else nothing.

        Raises:
            NotInRun: no such image.
            OptionError: no such verdict or class.
        """
        about = self.suspects.rows[self.row(sample_id)]
        if verdict == "other" and label not in self.suspects.known_classes:
            raise OptionError(f"'{label}' is not a class of this data set.")
        if verdict == "accept":
            label = about["suggested_label"]
        # whatever key was pressed: naming the given label says that it is right
        if verdict in ("accept", "other") and label == about["given_label"]:
            verdict = "keep"
        return self._write(sample_id, verdict, label, window, seen)

    def _write(
        self, sample_id: str, verdict: str, label: str, window: str, seen: int
    ) -> str:
        try:
            self.decisions.add(sample_id, verdict, label or None, by=window, seen=seen)
        except Conflict as conflict:
            return f"{conflict.what} It holds: {in_words(conflict.now) or 'undone'}."
        self._learn()
        return ""

    def undo(self, window: str) -> tuple[int | None, str]:
        """Take back the latest decision of a window.

        Returns:
            Row of the image that it was about, and a notice.
        """
        undone = self.decisions.undo(window)
        self._learn()
        if not undone:
            return None, "Nothing to undo in this window."
        row = self.suspects.at.get(undone[0].sample_id)
        if len(undone) == 1:
            return row, "1 decision was undone."
        return row, f"{len(undone)} decisions were undone."

    def row(self, sample_id: str) -> int:
        """Row of an image.

        Raises:
            NotInRun: there is none.
        """
        row = self.suspects.at.get(sample_id)
        if row is None:
            raise NotInRun("No such image in this run.")
        return row

    def picture(self, sample_id: str, side: int) -> bytes:
        """An image of this run as WebP, at most `side` pixels wide and high.

        Raises:
            NotInRun: there is none, or it cannot be read.
        """
        if sample_id not in self.pictures:
            raise NotInRun("No such image in this run.")
        picture = webp(self.pictures, sample_id, side, QUALITY)
        if picture is None:
            raise NotInRun("The image cannot be read.")
        return picture

    # --- many decisions

    def bulk_page(self, window: str, given: str, suggested: str, above: float) -> str:
        """What a bulk decision would be about."""
        rows = self.suspects.bulk(given, suggested, above)
        return self.page(
            "bulk",
            w=window,
            given=given,
            suggested=suggested,
            above=above,
            count=len(rows),
            shown=[self.suspects.rows[r] for r in rows[:BULK_SHOWN]],
        )

    def accept_all(
        self, window: str, given: str, suggested: str, above: float, count: int
    ) -> bool:
        """Accept the suggestions of a pair.

        Returns:
            Whether it was done; not where somebody decided meanwhile, so that their number is
            no longer the `count` that was confirmed.
        """
        rows = self.suspects.bulk(given, suggested, above)
        # a person confirms what was on the screen, and nothing else
        if len(rows) != count:
            return False
        wanted = []
        for row in rows:
            wanted.append((self.suspects.rows[row]["sample_id"], "accept", suggested))
        self.decisions.add_all(wanted, by=window, batch=secrets.token_hex(8))
        self._learn()
        return True

    def history_page(self, window: str) -> str:
        """The latest decisions, each with a button to undo it."""
        rows = []
        for decision, can_undo in self.decisions.history(HISTORY_SHOWN):
            # a script may have decided about images that the scan could not read
            row = self.suspects.at.get(decision.sample_id)
            if row is not None:
                about = self.suspects.rows[row]
                words = in_words(decision)
                rows.append(
                    {
                        "decision": decision,
                        "open": can_undo,
                        "words": words,
                        "about": about,
                    }
                )
        return self.page("history", rows=rows, w=window)

    def undo_one(self, seq: int, window: str) -> None:
        """Take back one decision of the history."""
        self.decisions.undo_one(seq, window)
        self._learn()

    # --- the random sample

    def audit_page(self, window: str) -> str:
        """The page with the next image of the random sample."""
        return self.page("audit", **self._audit(window), notice="")

    def audit_card(self, window: str, notice: str) -> str:
        """The part of the audit page that changes from answer to answer."""
        return self.page("audit_stage", **self._audit(window), notice=notice)

    def _audit(self, window: str) -> dict[str, Any]:
        state = self.suspects.audit_state(window)
        card = None
        if state["next"] is not None:
            card = self.suspects.rows[self.suspects.at[state["next"]]]
        return {
            "audit": state,
            "card": card,
            "w": window,
            "lease": self.suspects.ticket(window) or "",
            "model": self.opened.noise,
        }

    def answer(self, sample_id: str, verdict: str, window: str) -> str:
        """Write one answer of the audit; returns and raises as `decide`."""
        if verdict not in AUDIT_VERDICTS:
            raise OptionError("An audit is answered with keep, wrong or skip.")
        self.row(sample_id)
        # 0: an image that was decided meanwhile is no fresh answer
        return self._write(sample_id, verdict, "", window, seen=0)

    def write_report(self) -> Path:
        """Write report.html with what was decided so far."""
        with self._reporting:
            return report.write(self.opened, self.pictures)

    # --- learning from decisions

    def _learn(self) -> None:
        """Refine the ranking when enough decisions came in."""
        if not self._background:
            self.suspects.refine_if_due()
        # one thread at a time: decisions that come in meanwhile count the next time
        elif self._refining.acquire(blocking=False):
            threading.Thread(target=self._refine, daemon=True).start()

    def _refine(self) -> None:
        try:
            self.suspects.refine_if_due()
        # the disk is full or the file damaged: the next decision says so to a person
        except RunError:
            pass
        finally:
            self._refining.release()


def in_words(decision: Decision | None) -> str:
    """What a decision says about the label; nothing where there is none."""
    if decision is None:
        return ""
    return WORDS[decision.verdict].replace("{label}", str(decision.label))


def to_query(filters: Filters, window: str) -> str:
    """Filters and window as the query of an address."""
    wanted = {name: value for name, value in asdict(filters).items() if value}
    return urlencode({"w": window, **wanted})
