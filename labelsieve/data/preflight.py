"""What is wrong with the data, before any heavy work."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.dataset import prompt_name
from labelsieve.tables import CONFLICT, CORRUPT, OK, UNLABELLED, counts

SHOWN = 20  # examples kept of each finding
ID_LIKE = re.compile(
    r"^(?:n\d{5,}|(?:class|cls|label|category|cat|c|id)[ _-]?\d+|[\d\W_]+|(?=.*\d)[0-9a-f]{8,}(?:-[0-9a-f]+)*|[a-z]\d{2,})$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Preflight:
    """Findings about a data set; every list is cut to a few examples, every count is whole."""

    images: int
    usable: int
    classes: dict[str, int]
    names: dict[str, str]  # label -> as written into prompts
    unreadable: int
    unreadable_examples: list[dict[str, str]]
    unlabelled: int
    twins: list[list[str]]  # classes that differ only in case or spaces
    lonely: list[str]  # classes with a single image
    id_like: list[str]  # class names that mean nothing to a language model
    conflicts: int  # images that also occur with another label
    conflict_examples: list[dict[str, str]]
    repeated: int  # images that occur again with the same label
    notes: list[str]
    unused_names: list[str] = field(
        default_factory=list
    )  # labels that the user named and that do not occur

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def warnings(self) -> list[str]:
        """One sentence per finding that a person should know of."""
        found = []
        if self.unreadable:
            first = self.unreadable_examples[0]
            found.append(
                f"{self.unreadable} images are unreadable and will not be scored (first: '{first['path']}', {first['reason']})."
            )
        if self.unlabelled:
            found.append(
                f"{self.unlabelled} images have no label and will not be scored."
            )
        found += [
            f"Classes {' and '.join(map(repr, group))} differ only in case or spaces."
            for group in self.twins
        ]
        if self.lonely:
            found.append(
                f"{len(self.lonely)} classes have a single image: {_some(self.lonely)}."
            )
        if self.id_like:
            found.append(
                f"Class names look like ids: {_some(self.id_like)}. Models that read names need words: give them with --class-names."
            )
        if self.conflicts:
            first = self.conflict_examples[0]
            found.append(
                f"{self.conflicts} images occur with different labels (first: '{first['path']}', {first['reason']})."
            )
        if self.repeated:
            found.append(f"{self.repeated} images are repeated with the same label.")
        if self.unused_names:
            found.append(
                f"--class-names has {len(self.unused_names)} labels that do not occur: {_some(self.unused_names)}."
            )
        return found + [note[0].upper() + note[1:] + "." for note in self.notes[:SHOWN]]


def check(manifest: pa.Table, names: dict[str, str], notes: list[str]) -> Preflight:
    """Look at a manifest. `names` maps labels to prompt names where the user gave any."""
    classes = counts(manifest["given_label"].drop_null())
    status = counts(manifest["status"])
    contents = manifest["content_hash"].filter(pc.equal(manifest["status"], OK))
    shown = {c: names.get(c) or prompt_name(c) for c in classes}
    return Preflight(
        images=len(manifest),
        usable=status.get(OK, 0) + status.get(CONFLICT, 0),
        classes=classes,
        names=shown,
        unreadable=status.get(CORRUPT, 0),
        unreadable_examples=_examples(manifest, CORRUPT),
        unlabelled=status.get(UNLABELLED, 0),
        twins=_twins(list(classes)),
        lonely=[c for c, n in classes.items() if n == 1],
        id_like=[c for c in classes if ID_LIKE.match(shown[c])],
        conflicts=status.get(CONFLICT, 0),
        conflict_examples=_examples(manifest, CONFLICT),
        repeated=len(contents) - len(pc.unique(contents)),
        unused_names=[c for c in names if c not in classes],
        notes=notes,
    )


def _examples(manifest: pa.Table, status: str) -> list[dict[str, str]]:
    rows = manifest.filter(pc.equal(manifest["status"], status)).slice(0, SHOWN)
    return rows.select(["path", "reason"]).to_pylist()


def _twins(classes: list[str]) -> list[list[str]]:
    groups = defaultdict(list)
    for name in classes:
        groups[
            re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name)).casefold()
        ].append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _some(values: list[str]) -> str:
    return ", ".join(values[:5]) + (
        f" and {len(values) - 5} more" if len(values) > 5 else ""
    )
