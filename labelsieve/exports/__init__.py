"""What other tools read: one format per file.

A file of this room offers

    TARGET: str                                        a folder ("folder") or the suffix of a file (".csv")
    write(rows: Rows, target: Path) -> list[Path]      writes the format, gives the files a person should know of

Labels are those that hold after people's decisions; the given ones stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import registry
from labelsieve.corrections.patch import labels_after
from labelsieve.corrections.policy import Policy, plan
from labelsieve.errors import OptionError, unknown
from labelsieve.files import path_to_uri
from labelsieve.runs.decisions import SETTLED, open_decisions
from labelsieve.runs.pictures import Images, open_pictures, original
from labelsieve.runs.run import Run

KEEP = ("all", "clean", "issues")
SCORE_COLUMNS = (
    "p_clean",
    "is_label_issue",
    "suggested_label",
    "suggested_prob",
    "rank",
    "status",
    "reason",
)


@dataclass(frozen=True)
class Rows:
    """What is exported.

    table: sample_id, path, given_label, label (after decisions; null: none), verdict, and the scores; one row per image.
    """

    table: pa.Table
    classes: list[str]
    pictures: Images
    probs: Mapping[str, np.ndarray]  # sample id -> [k]
    model_version: str

    def __iter__(self) -> Any:
        return iter(self.table.to_pylist())

    def file(self, sample_id: str, folder: Path) -> Path | None:
        """The image as a file: its own, or written into `folder` where it is embedded in a table; None when unreadable."""
        try:
            item = self.pictures.read(sample_id)
            if isinstance(item, str | Path):
                return Path(item).absolute()
            data, suffix = original(self.pictures, sample_id)
        except OptionError:
            raise
        except (
            Exception
        ):  # whatever its source or decoder says: a row without a picture stays a row
            return None
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / (safe_name(sample_id) + suffix)
        target.write_bytes(data)
        return target.absolute()


def safe_name(text: str) -> str:
    """Text as the name of one file or folder, the same for the same text: what could lead elsewhere becomes %XX."""
    name = (
        path_to_uri(text)
        .replace("/", "%2F")
        .replace("\\", "%5C")
        .replace(":", "%3A")
        .replace("\0", "%00")
    )
    return "%2E" + name[1:] if name.startswith(".") else name or "%"


def export(
    opened: str | Path | Run, to: str, target: str | Path, *, only: str = "all"
) -> list[Path]:
    """Write a run in the format of another tool.

    Args:
        to: a file of `labelsieve/exports`.
        target: file or folder to write.
        only: "all" images, "clean" ones (settled by people, or not flagged), or "issues" (flagged).

    Raises:
        OptionError: an unknown format, a suffix that does not fit, or a place that is taken.
    """
    opened = opened if isinstance(opened, Run) else Run(opened)
    room = registry.load("exports", to)
    if only not in KEEP:
        raise OptionError(unknown("--only", only, KEEP))
    target = Path(target)
    if room.TARGET == "folder":
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OptionError(
                f"'{target}' exists already.", "Choose another place with -o."
            )
    elif target.suffix.lower() != room.TARGET:
        raise OptionError(f"-o '{target}' must end in {room.TARGET}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    written: list[Path] = room.write(collect(opened, only), target)
    return written


def collect(opened: Run, only: str = "all") -> Rows:
    """Scores, decisions and pictures of a run, ready to be written."""
    decisions = open_decisions(opened)
    after = labels_after(plan(opened, decisions, Policy(drop=True)))
    verdicts = (
        {i: d.verdict for i, d in decisions.all_current().items()} if decisions else {}
    )
    scores = opened.scores
    ids = scores["sample_id"].to_pylist()
    given = scores["given_label"].to_pylist()
    table = pa.table(
        {
            "sample_id": scores["sample_id"],
            "path": scores["path"],
            "given_label": scores["given_label"],
            "label": pa.array(
                [after.get(i, g) for i, g in zip(ids, given, strict=True)], pa.string()
            ),
            "verdict": pa.array([verdicts.get(i) for i in ids], pa.string()),
            **{c: scores[c] for c in SCORE_COLUMNS},
        }
    )
    if decisions:
        decisions.close()
    issue = pc.fill_null(table["is_label_issue"], False)
    settled = pc.is_in(table["verdict"], pa.array(SETTLED))
    if only == "clean":
        table = table.filter(
            pc.and_(pc.or_(settled, pc.invert(issue)), pc.is_valid(table["label"]))
        )
    elif only == "issues":
        table = table.filter(issue)
    command = opened.record["command"]
    return Rows(
        table,
        opened.all_classes,
        open_pictures(opened),
        _probs(opened),
        f"labelsieve-{command['method']}-{Path(command['model']).name}",
    )


def _probs(opened: Run) -> dict[str, np.ndarray]:
    table = opened.probs()
    values = table["probs"].combine_chunks()
    scored = values.flatten().to_numpy().reshape(len(table), -1)
    # methods see the classes that occur, sorted; others want them as they were declared
    columns = [opened.all_classes.index(name) for name in opened.classes]
    probs = np.zeros((len(table), len(opened.all_classes)), dtype=scored.dtype)
    probs[:, columns] = scored
    return dict(zip(table["sample_id"].to_pylist(), probs, strict=True))
