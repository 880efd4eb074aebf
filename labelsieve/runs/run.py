"""The run folder: what is in it, what command it belongs to, and reading it again.

run.json            the command, resolved: data, model, method, settings, seed, versions, fingerprints, timings, results
manifest.parquet    every image      truth.parquet   true labels, where the user named a column (only scoring reads it)
preflight.json      findings         noise.json      estimated noise
scores.parquet, scores.csv           report.html
probs.parquet       class probabilities, one row per scored image
decisions.sqlite    what people decided               corrections.parquet   what was changed in the data: a patch
detector/           what the method learned, safetensors and config.json
checkpoints/        of work under way; removed when it is done
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.errors import RunError
from labelsieve.files import read_json
from labelsieve.tables import MANIFEST, SCORES, TRUTH, read_parquet


class Run:
    """One scan, opened from its folder.

    Raises:
        RunError: the folder is no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "run.json").is_file():
            raise RunError(
                f"'{self.folder}' is not a run folder: it has no run.json.",
                "Name the folder that labelsieve scan wrote with -o.",
            )

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json."""
        return read_json(self.folder / "run.json")

    @cached_property
    def scores(self) -> pa.Table:
        """One row per image, most suspicious first; columns of `labelsieve.tables.SCORES` and the method's own."""
        table = read_parquet(self.folder / "scores.parquet")
        lacking = [n for n in SCORES.names if n not in table.column_names]
        if lacking:
            raise RunError(
                f"'{self.folder / 'scores.parquet'}' lacks the column '{lacking[0]}'.",
                "Run labelsieve scan again.",
            )
        return table

    @cached_property
    def manifest(self) -> pa.Table:
        """Every image as it was read."""
        return read_parquet(self.folder / "manifest.parquet", MANIFEST)

    def truth(self) -> pa.Table | None:
        """True labels, where the user named a column of them."""
        path = self.folder / "truth.parquet"
        return read_parquet(path, TRUTH) if path.exists() else None

    def probs(self) -> pa.Table:
        """Class probabilities of every scored image: sample_id, and probs, a list of k in the order of `classes`."""
        return read_parquet(self.folder / "probs.parquet")

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted: columns of `probs`, rows of the noise matrix."""
        return list(self.noise["per_class"])

    @cached_property
    def noise(self) -> dict[str, Any]:
        """Estimated share of wrong labels, overall and per class, and the given -> true matrix."""
        return read_json(self.folder / "noise.json")

    @property
    def noise_rate(self) -> tuple[float, float, float]:
        """(estimate, low, high) of the share of wrong labels."""
        noise = self.noise
        return noise["rate"], noise["low"], noise["high"]

    @property
    def preflight(self) -> dict[str, Any]:
        """Findings about the data."""
        return read_json(self.folder / "preflight.json")

    @property
    def finished(self) -> bool:
        """Whether the scan ran to its end."""
        return self.record.get("state") == "finished"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / "report.html"
