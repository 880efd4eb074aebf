"""What is wrong with the data, before any heavy work."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.dataset import prompt_name
from labelsieve.data.labels import SINGLE, read_set
from labelsieve.data.manifest import Manifest
from labelsieve.tables import CONFLICT, CORRUPT, OK, UNLABELLED, counts

EMPTY = "the text is empty"  # why a row of texts cannot be used
SHOWN = 20  # examples kept of each finding, for the report
NAMED = 5  # of them in one sentence
# Names that mean nothing to a language model. Words with a number, such as "Boeing 747", do.
ID_LIKE = re.compile(
    r"""^(?:
        n\d{5,}                                               # WordNet: n01440764
        | (?:class|cls|label|category|cat|c|id)[ _-]?\d+      # class_7
        | [\d\W_]+                                            # 007, 12-3, ?!
        | (?=.*\d)[0-9a-f]{8,}(?:-[0-9a-f]+)*                 # hashes and UUIDs
        | [a-z]\d{2,}                                         # a123
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
# What tables write where there is no label. "None" may be a class, so it is asked, not assumed.
MISSING = {"nan", "null", "none", "na", "n/a", "<na>", "#n/a", "nil", "-"}


@dataclass(frozen=True)
class Preflight:
    """Findings about a data set; every list is cut to a few examples, every count is whole.

    It is kept as preflight.json: a new field needs a default, for runs made before.

    Attributes:
        images, usable, unreadable, unlabelled: how many there are.
        classes: label -> how many images carry it.
        names: label -> how it is written into prompts.
        twins: classes that differ only in case or spaces.
        lonely: classes with a single image.
        id_like: class names that mean nothing to a language model.
        conflicts: images that also occur with another label.
        repeated: images that occur again with the same label.
        notes: what listing and reading left out or found odd.
        unused_names: labels that the user named and that do not occur.
        empty: classes that the data declare and that have no image.
        findings: what is odd about texts: name, what, count, examples (path, reason).
        noun: what people call an item.
    """

    images: int
    usable: int
    classes: dict[str, int]
    names: dict[str, str]
    unreadable: int
    unreadable_examples: list[dict[str, str]]
    unlabelled: int
    twins: list[list[str]]
    lonely: list[str]
    id_like: list[str]
    conflicts: int
    conflict_examples: list[dict[str, str]]
    repeated: int
    notes: list[str]
    unused_names: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    findings: list[dict[str, str | int | list[dict[str, str]]]] = field(
        default_factory=list
    )
    noun: str = "image"

    def as_dict(self) -> dict[str, Any]:
        """What JSON keeps and `Preflight(**kept)` takes."""
        return asdict(self)

    def warnings(self) -> list[str]:
        """One sentence per finding that a person should know of."""
        notes = [f"{note[0].upper()}{note[1:]}." for note in self.notes[:SHOWN]]
        return [
            *self._of_images(),
            *self._of_findings(),
            *self._of_classes(),
            *notes,
        ]

    def _of_findings(self) -> Iterator[str]:
        for finding in self.findings:
            if finding["name"] == "empty" and finding["count"] == self.unreadable:
                continue  # what is unreadable was told already
            examples: Any = finding["examples"]
            first = examples[0]
            yield (
                f"{finding['what']}: {_number(int(str(finding['count'])), self.noun)} "
                f"(first: '{_short(first['path'])}', {_short(repr(first['reason']))})."
            )

    def _of_images(self) -> Iterator[str]:
        if self.unreadable:
            first = self.unreadable_examples[0]
            yield (
                f"{_are(self.unreadable, self.noun)} unreadable and will not be scored "
                f"(first: '{_short(first['path'])}', {_short(first['reason'])})."
            )
        if self.unlabelled:
            yield f"{_have(self.unlabelled, self.noun)} no label and will not be scored."
        if self.conflicts:
            first = self.conflict_examples[0]
            # never one alone: each has another row with the same image
            yield (
                f"{self.conflicts} {self.noun}s occur with different labels "
                f"(first: '{_short(first['path'])}', {_short(first['reason'])})."
            )
        if self.repeated:
            yield f"{_are(self.repeated, self.noun)} repeated with the same label."

    def _of_classes(self) -> Iterator[str]:
        for group in self.twins:
            names = " and ".join(map(repr, group))
            yield f"Classes {names} differ only in case or spaces."
        if self.lonely:
            have = _have(len(self.lonely), "class")
            yield f"{have} a single {self.noun}: {_some(self.lonely)}."
        if self.empty:
            have = _have(len(self.empty), "declared class")
            yield f"{have} no {self.noun}: {_some(self.empty)}."
        missing = [c for c in self.classes if c.strip().casefold() in MISSING]
        if missing:
            count = _number(sum(self.classes[c] for c in missing), self.noun)
            yield (
                f"Labels that read as if there were none are taken for classes: {_some(missing)} "
                f"({count}). Leave these cells empty, unless they are meant so."
            )
        if self.id_like:
            yield (
                f"Class names look like ids: {_some(self.id_like)}. "
                "Models that read names need words: give them with --class-names."
            )
        if self.unused_names:
            labels = _number(len(self.unused_names), "label")
            without = f"without {_one(self.noun)}"
            yield f"--class-names names {labels} {without}: {_some(self.unused_names)}."


def check(manifest: Manifest, names: Mapping[str, str]) -> Preflight:
    """Look at a manifest.

    Args:
        names: label -> how it is written into prompts, where the user gave any.
    """
    table = manifest.table
    classes = _counts(table["given_label"].drop_null(), manifest.kind)
    status = counts(table["status"])
    # images that carry two labels are counted as conflicts, not as repeated
    contents = table["content_hash"].filter(pc.equal(table["status"], OK))
    # as prompts will have them: a name that the user gave may be better than the label
    shown = {c: names.get(c) or prompt_name(c) for c in classes}
    return Preflight(
        images=len(table),
        usable=status.get(OK, 0) + status.get(CONFLICT, 0),
        classes=classes,
        names=shown,
        unreadable=status.get(CORRUPT, 0),
        unreadable_examples=_examples(table, CORRUPT),
        unlabelled=status.get(UNLABELLED, 0),
        twins=_twins(list(classes)),
        lonely=[c for c, n in classes.items() if n == 1],
        id_like=[c for c in classes if ID_LIKE.match(shown[c])],
        conflicts=status.get(CONFLICT, 0),
        conflict_examples=_examples(table, CONFLICT),
        repeated=len(contents) - len(pc.unique(contents)),
        unused_names=[c for c in names if c not in classes],
        notes=manifest.notes,
        empty=[c for c in manifest.classes if c not in classes],
        findings=[*_empty(table), *map(asdict, manifest.findings())],
        noun=manifest.noun,
    )


def _empty(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Texts that say nothing; they are unreadable, too, and many in one place have one cause."""
    rows = table.filter(pc.equal(table["reason"], EMPTY))
    if len(rows):
        examples = rows.slice(0, SHOWN).select(["path", "reason"]).to_pylist()
        about = {"name": "empty", "what": "Nothing but spaces"}
        yield {**about, "count": len(rows), "examples": examples}


def _counts(labels: pa.ChunkedArray, kind: str) -> dict[str, int]:
    """How many images carry each class, alone or in a set; most frequent first."""
    if kind == SINGLE:
        return counts(labels)
    found: dict[str, int] = defaultdict(int)
    # the same sets occur again and again: each is read once
    for text, images in counts(labels).items():
        for label in read_set(text):
            found[label] += images
    return dict(sorted(found.items(), key=lambda p: (-p[1], p[0])))


def _examples(table: pa.Table, status: str) -> list[dict[str, str]]:
    rows = table.filter(pc.equal(table["status"], status)).slice(0, SHOWN)
    return rows.select(["path", "reason"]).to_pylist()


def _twins(classes: list[str]) -> list[list[str]]:
    groups = defaultdict(list)
    for name in classes:
        # NFKC: an accent may be a letter of its own or part of the one below it
        letters = re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name))
        groups[letters.casefold()].append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _one(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _number(count: int, what: str) -> str:
    """Such as "1 image", "2 images" or "2 classes"."""
    # "class" is the one word here that takes -es
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


def _are(count: int, what: str) -> str:
    return f"{_number(count, what)} {'is' if count == 1 else 'are'}"


def _have(count: int, what: str) -> str:
    return f"{_number(count, what)} {'has' if count == 1 else 'have'}"


def _short(text: str) -> str:
    """At most 160 letters: a table may name a file of thousands."""
    return text if len(text) <= 160 else f"{text[:120]}…"


def _some(values: list[str]) -> str:
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    return ", ".join(values[:NAMED]) + more
