"""A classifier as files: saved as safetensors, opened again from a directory or the hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from labelsieve.classifiers.backbone import (
    Backbone,
    family_of,
    seeded,
    try_out,
)
from labelsieve.errors import ModelError
from labelsieve.files import remove, replacing
from labelsieve.models import hugging_face
from labelsieve.runs.digests import read_record, verify

RECORD = "training.json"
LAST = "last"  # folder below the model's: the last epoch, with keep=both
WEIGHTS = "model.safetensors"
SCRATCH = ".model.partial"  # folder below the model's while it is written
WHOLE = (
    ".model.whole"  # likewise: written, and not all of its files have their names yet
)
CONFIG = "config.json"
# what transformers writes of a tokenizer, as far as the fast ones read it
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
# what decides a model's answers; the model card may be edited by hand
CHECKED = (CONFIG, WEIGHTS, "preprocessor_config.json", *TOKENIZER)


def save(backbone: Backbone, classes: Sequence[str], folder: Path) -> None:
    """Write weights, configuration and preprocessing as Hugging Face does; safetensors only.

    Killed at any moment, `open_saved` finds the old model or the whole new one; other programs
    find one of both, or no configuration and thus no model, but never parts of two.
    """
    # of a call that was killed: the newer of both models, so it is not lost
    _publish(folder)
    # the folder may hold other files, so it is not replaced as a whole
    scratch = folder / SCRATCH
    remove(scratch)
    scratch.mkdir(parents=True)
    try:
        backbone.save(classes, scratch)
        # from here on the new model is the one that holds
        scratch.rename(folder / WHOLE)
    finally:
        remove(scratch)
    _publish(folder)


def _publish(folder: Path) -> None:
    """Give the files of a whole new model their names, and take its own folder away."""
    whole = _newer(folder)
    if whole is None:
        return
    # without a configuration nothing is a model: what is between two is never opened
    (folder / CONFIG).unlink(missing_ok=True)
    names = sorted(path.name for path in whole.iterdir())
    for name in sorted(names, key=lambda name: name == CONFIG):
        with replacing(folder / name) as scratch:
            _link_or_copy(whole / name, scratch)
    # under another name first: a folder that is half removed is no model
    remove(folder / SCRATCH)
    whole.rename(folder / SCRATCH)
    remove(folder / SCRATCH)


def _newer(folder: Path) -> Path | None:
    """The whole new model of a `save` that was killed before it had published it."""
    whole = folder / WHOLE
    # a link could lead to anybody's files, and no `save` makes one
    if whole.is_symlink() or not whole.is_dir():
        return None
    return whole


def _link_or_copy(old: Path, new: Path) -> None:
    """A second name for a file; where there are no hard links, a copy."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def open_saved(where: str, *, device: torch.device) -> tuple[Backbone, list[str]]:
    """A backbone that `save` wrote, or any classifier of transformers, and its classes.

    Raises:
        ModelError: there is none, or it is damaged.
        RunError: a file is not the one that the training wrote.
    """
    _refuse_run(where)
    newer = _newer(Path(where))
    if newer is not None:
        where = str(newer)
    _verify_saved(Path(where))
    family = family_of(where)
    with seeded(0), hugging_face.one_line(where):
        opened, classes = family.open_saved(where, device)
    opened.model.eval()
    try_out(where, opened, len(classes))
    return opened, list(classes)


def _refuse_run(where: str) -> None:
    """A scan's folder is the likeliest slip: its classifier lies inside."""
    if (Path(where) / "run.json").is_file():
        raise ModelError(
            f"'{where}' is a run folder, not a classifier.",
            f"Train one with 'labelsieve train {where}' and name '{where}/classifier'.",
        )


def _verify_saved(folder: Path) -> None:
    """Compare a folder that `train` wrote with the checksums in its record."""
    for name in CHECKED:
        if (folder / RECORD).is_file():
            verify(folder, name, read_record(folder / RECORD))
        # the last epoch lies in the folder of the chosen one, which has the record
        elif folder.name == LAST and (folder.parent / RECORD).is_file():
            record = read_record(folder.parent / RECORD)
            verify(folder.parent, f"{LAST}/{name}", record)
