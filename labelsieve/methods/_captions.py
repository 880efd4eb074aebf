"""Texts that stand for pictures with several classes: made from templates, or a user's captions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labelsieve.errors import OptionError

# Sentences around a list of classes. Several of them, so that a head learns the classes and not
# the words beside them.
SENTENCES = (
    "a photo of {}.",
    "a picture of {}.",
    "an image showing {}.",
    "a photograph with {}.",
    "there is {} here.",
    "{} in one picture.",
    "this picture shows {}.",
    "a snapshot of {} together.",
    "{}.",
    "a scene with {}.",
)
JOINTS = (", ", " and ", " with ", " next to ")
ARTICLE = (
    0.7  # share of the names with "a" before them, as prompts for one class have it
)
LARGEST_FILE = 200_000_000  # bytes of captions: more are not read by mistake


def generate(
    names: Sequence[str], count: int, most: int, seed: int
) -> tuple[list[str], np.ndarray]:
    """Sentences about 1 to `most` classes each, as many as CoMC's script draws them.

    Returns:
        texts [m], and [m, k] bool which classes each names.
    """
    rng = np.random.default_rng([seed, count, len(names)])
    present = np.zeros((count, len(names)), dtype=bool)
    texts = []
    for row in range(count):
        # the number first, evenly, then which ones, without replacement
        size = int(rng.integers(1, min(most, len(names)) + 1))
        chosen = rng.choice(len(names), size, replace=False)
        present[row, chosen] = True
        listed = _listed([names[k] for k in chosen], rng)
        texts.append(SENTENCES[rng.integers(len(SENTENCES))].format(listed))
    return texts, present


def _listed(names: Sequence[str], rng: np.random.Generator) -> str:
    words = []
    for name in names:
        words.append(f"a {name}" if rng.random() < ARTICLE else name)
    *others, last = words
    joint = JOINTS[0]
    if not others:
        return last
    return joint.join(others) + JOINTS[rng.integers(1, len(JOINTS))] + last


def read(path: Path, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Captions of a file, one a line, that name a class; as `generate` gives them.

    As TaI-DPT matches them: longest names first, and what matched is taken out, so that "teddy
    bear" is no bear. Case does not matter, and a plural s is taken for the singular.

    Raises:
        OptionError: the file cannot be read, or names hardly any class.
    """
    lines = _lines(path)
    # a compound name before its parts
    order = sorted(range(len(names)), key=lambda k: -len(names[k]))
    patterns = [
        (k, re.compile(rf"\b{re.escape(names[k])}(?:s|es)?\b", re.IGNORECASE))
        for k in order
    ]
    texts, rows = [], []
    # a line that names no class would teach that none is there
    for line in lines:
        rest, found = line, np.zeros(len(names), dtype=bool)
        for k, pattern in patterns:
            rest, times = pattern.subn(" ", rest)
            found[k] = times > 0
        if found.any():
            texts.append(line)
            rows.append(found)
    present = np.array(rows).reshape(-1, len(names))
    unnamed = [names[k] for k in range(len(names)) if not present[:, k].any()]
    if unnamed:
        raise OptionError(
            f"Setting captions: no line of '{path}' names '{unnamed[0]}'"
            f"{f' and {len(unnamed) - 1} other classes' if unnamed[1:] else ''}.",
            "Add captions that do, name classes as captions do with --class-names, or leave "
            "the setting out: then sentences are made.",
        )
    return texts, present


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise OptionError(f"Setting captions: '{path}' is larger than 200 MB.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(
            f"Setting captions: '{path}' cannot be opened: {error.strerror}."
        ) from error
    except UnicodeDecodeError as error:
        raise OptionError(f"Setting captions: '{path}' is not UTF-8 text.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
