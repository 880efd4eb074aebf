"""A classifier as files: saved as safetensors, opened again from a directory or the hub."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from labelsieve.classifiers.backbone import (
    Backbone,
    family_of,
    seeded,
    try_out,
)
from labelsieve.errors import ModelError, RunError
from labelsieve.files import readable, remove, replacing
from labelsieve.models import hugging_face
from labelsieve.progress import plain
from labelsieve.runs.digests import (
    DIGESTS,
    SIZES,
    digests_of,
    read_record,
    sizes_of,
    verify,
    write_record,
)
from labelsieve.training.checkpoint import writing_tensors

RECORD = "training.json"
LAST = "last"  # folder below the model's: the last epoch, with keep=both
WEIGHTS = "model.safetensors"
SCRATCH = ".model.partial"  # folder below the model's while it is written
WHOLE = (
    ".model.whole"  # likewise: written, and not all of its files have their names yet
)
SEAL = "whole.json"  # in that folder: checksums of all that belongs to the model
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
        # the place that a person knows: the scratch folder is gone when it is read
        with writing_tensors(folder / WEIGHTS):
            backbone.save(classes, scratch)
        names = sorted(path.name for path in scratch.iterdir())
        digests = digests_of(scratch, names)
        sizes = sizes_of(scratch, digests)
        write_record(scratch / SEAL, {DIGESTS: digests, SIZES: sizes})
        # from here on the new model is the one that holds
        scratch.rename(folder / WHOLE)
    finally:
        remove(scratch)
    _publish(folder)


def _publish(folder: Path) -> None:
    """Give the files of a whole new model their names, and take its own folder away."""
    whole = _newer(folder)
    if whole is None:
        # no model at all, as an empty folder; a link is nobody's to remove
        if not (folder / WHOLE).is_symlink():
            remove(folder / WHOLE)
        return
    _verify_newer(whole)
    # without a configuration nothing is a model: what is between two is never opened
    (folder / CONFIG).unlink(missing_ok=True)
    names = sorted(path.name for path in whole.iterdir() if path.name != SEAL)
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
    # the folder has its name only once its seal is there
    return whole if (whole / SEAL).is_file() else None


def _verify_newer(whole: Path) -> None:
    """Compare a whole new model with its own checksums.

    Raises:
        RunError: it is damaged, or has files that no `save` wrote.
    """
    help = f"Remove '{whole}', or save the model again where it was made."
    try:
        record = read_record(whole / SEAL)
        for name in CHECKED:
            verify(whole, name, record)
    except RunError as error:
        raise RunError(error.what, help) from None
    strange = {path.name for path in whole.iterdir()} - {*record.get(DIGESTS, {}), SEAL}
    if strange:
        name = plain(min(strange))
        raise RunError(f"'{whole}' is damaged: '{name}' was not saved with it.", help)


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
    # a finished training has given its files their names: whatever else lies there is not its own
    newer = None if _checksums(Path(where)) else _newer(Path(where))
    if newer is not None:
        _verify_newer(newer)
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
            f"Train one: labelsieve train {shlex.quote(readable(where))}; it is then in "
            f"'{readable(where)}/classifier'.",
        )


def _verify_saved(folder: Path) -> None:
    """Compare a folder that `train` wrote with the checksums in its record."""
    record = _checksums(folder)
    for name in CHECKED if record else ():
        if os.path.lexists(folder / RECORD):
            verify(folder, name, record)
        else:
            verify(folder.parent, f"{LAST}/{name}", record)


def _checksums(folder: Path) -> dict[str, Any]:
    """The record of a finished training that wrote a model's folder; empty for others.

    The last epoch lies in the folder of the chosen one, which has the record.
    """
    path = folder / RECORD
    if not os.path.lexists(path) and folder.name == LAST:
        path = folder.parent / RECORD
    # a folder or a pipe in its place is damage: only where nothing is was nothing written
    record = read_record(path) if os.path.lexists(path) else {}
    return record if record.get(DIGESTS) else {}
