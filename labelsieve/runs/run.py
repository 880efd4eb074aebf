"""The run folder: what is in it, and reading it again.

run.json            the command, resolved: data, model, method, settings, seed, versions,
                    fingerprints, timings, results; checksums of the other files and of itself
manifest.parquet    every image
truth.parquet       true labels, where the user named a column (only scoring reads it)
preflight.json      findings about the data
noise.json          estimated noise
scores.parquet      scores of every image
scores.csv          the same with the values of the data, also where a spreadsheet would take
                    them for a formula (`labelsieve export --to csv --safe-formulas` marks them)
probs.parquet       class probabilities, one row per scored image; of sets of labels the
                    probability that the picture shows each class
quality.parquet     what pictures show of themselves: size, light, sharpness, outliers
duplicates.parquet  pairs of near-duplicates
heat.parquet        of some pictures where they disagree with their label; of some methods
words.parquet       of flagged texts which words speak for their label and against it
report.html         what is in the run, for people
decisions.sqlite    what people decided
corrections.parquet what was changed in the data: a patch
detector/           what the method learned, safetensors and config.json
checkpoints/        of work under way; removed when it is done
"""

from __future__ import annotations

import contextlib
import webbrowser
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import registry
from labelsieve.data.labels import SET, SINGLE
from labelsieve.errors import RunError
from labelsieve.files import LONGEST_WAIT, read_json
from labelsieve.progress import note
from labelsieve.runs._shape import (
    check_noise,
    check_preflight,
    check_shape,
)
from labelsieve.runs.digests import DIGESTS, RESTORE, SIZES, read_record, verify
from labelsieve.runs.folder import FINISHED, WorkFolder
from labelsieve.runs.reading import mapped
from labelsieve.tables import (
    TRUTH,
    RowsOf,
    one_chunk,
    read_parquet,
)

RECORD = "run.json"
# What a scan judges one of for each image, in the plural.
NOUNS = {SINGLE: "labels", SET: "sets of labels"}
# what a scan writes; decisions and corrections are people's, and stay when a run is replaced
OWNED = (
    "scores.parquet",
    "scores.csv",
    "probs.parquet",
    "noise.json",
    "preflight.json",
    "manifest.parquet",
    "quality.parquet",
    "duplicates.parquet",
    "heat.parquet",
    "words.parquet",
    "truth.parquet",
    "detector",
    "report.html",
)


def run_folder(path: str | Path) -> WorkFolder:
    """The life of a run folder."""
    # the report is written again after decisions, so its bytes are not those of the scan
    return WorkFolder(
        Path(path), RECORD, OWNED, "run", changing=("report.html",), private=True
    )


@contextlib.contextmanager
def alone(run: str | Path | Run | None) -> Iterator[None]:
    """Keep other commands from a run folder while the block reads, plans and writes.

    They wait, and say so.

    Args:
        run: None for nothing to lock.

    Raises:
        RunError: no such run, or it was replaced while another command worked on it.
    """
    if run is None:
        yield
        return
    opened = run if isinstance(run, Run) else Run(run)
    before = opened.files
    with run_folder(opened.folder).locked(longest=LONGEST_WAIT):
        if Run(opened.folder).files != before:
            raise RunError(
                f"'{opened.folder}' was replaced since it was opened.",
                "Call again; it is read anew.",
            )
        yield


class Run:
    """One scan, opened from its folder.

    Every file of a finished run is checked against its checksum when it is read.

    Raises:
        RunError: the folder is no run; on reading, a file is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        # of data in memory, which cannot be opened again: set by the scan that has them
        self.in_memory: Any = None
        # told at once and not at the first use, which may be far from here
        if not (self.folder / RECORD).is_file():
            raise RunError(
                f"'{self.folder}' is not a run folder: it has no run.json.",
                "Name the folder that labelsieve scan wrote with -o.",
            )

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {self.headline}"

    @property
    def headline(self) -> str:
        """What the scan found, in a sentence."""
        if not self.finished:
            return "not finished; the same command continues."
        # audits know of runs, and not the other way round
        words: str = registry.need("labelsieve.audits.headline").with_flags(self)
        return words

    @property
    def kind(self) -> str:
        """What labels are, of `labelsieve.data.labels`: SINGLE, or SET."""
        kind: str = self.record.get("labels", SINGLE)
        return kind

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, what limits it, and the first suspects as pictures."""
        from labelsieve.runs.pages import in_notebook

        return in_notebook(self)

    def suspects(self, n: int = 20) -> pa.Table:
        """The n most suspicious labels about which nobody has decided, as the run stands now.

        Returns:
            sample_id, path, given_label, suggested_label, p_wrong and suggested_prob; the
            probabilities have learned from all decisions.
        """
        from labelsieve.runs import standing

        now = standing.of_run(self)
        table = now.table()
        rows = np.flatnonzero(now.issue & (now.verdicts == None))  # noqa: E711
        rows = rows[np.argsort(-now.p_wrong[rows], kind="stable")][:n]
        # scored images come first among the scores, in the same order
        known = self.scores.select(["sample_id", "path", "given_label"]).take(rows)
        table = table.take(rows)
        known = known.append_column("suggested_label", table["suggested_label"])
        known = known.append_column("p_wrong", pc.subtract(1.0, table["p_clean"]))
        return known.append_column("suggested_prob", table["suggested_prob"])

    def to_pandas(self) -> Any:
        """The scores as a data frame; its index is that of the data frame that was scanned.

        Probabilities and suggestions have learned from all decisions, as those of `suspects`. For
        other data it is the user's id, the path, or the number of the row.

        Raises:
            RunError: pandas is not installed.
        """
        from labelsieve.runs import standing

        try:
            frame = standing.scores_of(self).to_pandas()
        except ImportError as error:
            raise RunError("pandas is not installed.", "pip install pandas") from error
        # an id is the user's key and a hash of the content
        keys = [i.rpartition("#")[0] for i in self.scores["sample_id"].to_pylist()]
        numbers = [key.removeprefix("row") for key in keys]
        # text alone is kept of an index; what were numbers are numbers again
        whole = all(number.lstrip("-").isdecimal() for number in numbers)
        frame.index = [int(number) for number in numbers] if whole else keys
        return frame

    def review(self, *, data: Any = None, port: int = 0, browser: bool = True) -> None:
        """Open the page where people decide, until interrupted (Ctrl+C, or the stop button).

        Args:
            data: where the data are now, if they have moved; of a run of data in memory, such as a
                data frame, these again: rows are known by their index or id, and compared.
            port: 0 takes a free one.
            browser: open the page in a browser; its address is printed in any case.

        Raises:
            RunError: the run is not finished, or its data cannot be opened.
        """
        self.warm()
        # by name: a run is opened also where the extra 'review' is not installed
        server = registry.need("labelsieve.review.server")
        session = registry.need("labelsieve.review.session")
        reviewed = session.Review(self, data=data)
        launch = webbrowser.open if browser else None
        listening = server.Listening("127.0.0.1", port, ())
        server.serve(reviewed, listening, launch=launch, tell=note)

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json, without the checksums and sizes."""
        # they are of use to `file` alone, and would fill the screen with --json
        return {k: v for k, v in self._record.items() if k not in (DIGESTS, SIZES)}

    @cached_property
    # read once: a run is opened again to see what was added
    def _record(self) -> dict[str, Any]:
        path = self.folder / RECORD
        record = read_record(path)
        check_shape(path, record, whole=record.get("state") == FINISHED)
        return record

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by name, of every file of a finished run; empty of one that is not."""
        return dict(self._record.get(DIGESTS, {}))

    def file(self, name: str) -> Path:
        """Path of a file of the run, once its bytes are known to be those of the scan.

        Args:
            name: path below the folder, "detector/config.json".

        Raises:
            RunError: it is damaged.
        """
        return verify(self.folder, name, self._record)

    @cached_property
    def scores(self) -> pa.Table:
        """One row per image, most suspicious first.

        Columns of `labelsieve.tables.SCORES` and the method's own.
        """
        return mapped.table(self, "scores.parquet")

    @cached_property
    def judged(self) -> pa.Table:
        """The rows of `scores` that a method judged; all others have no p_clean."""
        known = self.scores["p_clean"]
        # nothing is copied where all were judged, which is the rule
        return self.scores.filter(known.is_valid()) if known.null_count else self.scores

    @cached_property
    def at(self) -> RowsOf:
        """Rows of `judged` by sample id."""
        return mapped.rows_of(self, "judged", one_chunk(self.judged["sample_id"]))

    @cached_property
    def manifest(self) -> pa.Table:
        """Every image as it was read."""
        return mapped.table(self, "manifest.parquet")

    def truth(self) -> pa.Table | None:
        """True labels, where the user named a column of them."""
        # written where --truth-column was given, only
        path = self.file("truth.parquet")
        return read_parquet(path, TRUTH) if path.exists() else None

    def probs(self) -> pa.Table:
        """Class probabilities of every scored image.

        Columns sample_id, and probs, a list of k numbers in the order of `classes`.
        """
        return mapped.table(self, "probs.parquet")

    def quality(self) -> pa.Table:
        """What pictures show of themselves, columns of `labelsieve.tables.QUALITY`."""
        return mapped.table(self, "quality.parquet")

    def duplicates(self) -> pa.Table:
        """Pairs of near-duplicates, columns of `labelsieve.tables.DUPLICATES`."""
        return mapped.table(self, "duplicates.parquet")

    def warm(self) -> None:
        """Say that the tables are wanted soon: their checksums are compared in the background."""
        mapped.warm(self)

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted: columns of `probs`, rows of the noise matrix."""
        # JSON keeps the order in which they were written
        return list(self.noise["per_class"])

    @property
    def all_classes(self) -> list[str]:
        """Every class in the order that the data declare, also those without an image.

        It is what classifiers and exports take; where nothing is declared it is `classes`.

        Raises:
            RunError: labels that occur are not declared, or a class is declared twice.
        """
        declared = list(self.record.get("classes") or self.classes)
        known = set(declared)
        # numbers of labels would be taken from a list that does not have them
        if len(known) < len(declared) or not known.issuperset(self.classes):
            raise RunError(
                f"'{self.folder / RECORD}' is damaged: its classes are not those of "
                "the labels.",
                RESTORE,
            )
        return declared

    @cached_property
    def noise(self) -> dict[str, Any]:
        """Estimated share of wrong labels, overall and per class, and the given -> true matrix."""
        path = self.file("noise.json")
        noise = read_json(path)
        check_noise(path, noise)
        return noise

    @property
    def noise_rate(self) -> tuple[float, float, float]:
        """(estimate, low, high) of the share of wrong labels."""
        noise = self.noise
        return noise["rate"], noise["low"], noise["high"]

    @property
    def preflight(self) -> dict[str, Any]:
        """Findings about the data."""
        path = self.file("preflight.json")
        found = read_json(path)
        check_preflight(path, found)
        return found

    @property
    def finished(self) -> bool:
        """Whether the scan ran to its end."""
        return self.record.get("state") == FINISHED

    def require_finished(self) -> None:
        """Raise RunError where the scan did not run to its end."""
        if not self.finished:
            raise RunError(
                f"'{self.folder}' is not finished.",
                "Run labelsieve scan again with the same options; it continues.",
            )

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / "report.html"
