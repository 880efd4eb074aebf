"""What is chosen where the user left it open: the model by the pictures, the preset by arithmetic.

Nothing here looks at a clock, so that the same data and options give the same scores on a busy
machine. What was chosen and why is said, written into run.json, and overruled by --model and
--preset.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from labelsieve import progress, registry
from labelsieve.data.images import open_image, read_bytes
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.load import Options as Describing
from labelsieve.data.manifest import kind_of
from labelsieve.data.sources import Source
from labelsieve.errors import LabelsieveError, OptionError, unknown
from labelsieve.models.device import choose_device
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import (
    DEMO,
    DEMO_SIDE,
    PHOTOS,
    READER,
    WORDS,
    family_of,
    is_here,
    operations_of,
    ready,
)
from labelsieve.settings import resolve

AUTO = "auto"
# Needs no prompts and no pixels. NoisyAG-News with MiniLM, rows 0 to 2,999: AUROC .89, DeFT on
# frozen features .83, a probe .81.
FOR_TEXTS = "knn"
PRESET_FOR_TEXTS = "bayes"
KINDS = {"images", "texts"}  # those that come with labelsieve
TRIED = 8  # items that show how quick a model is here
# The method by the kind of labels, where none was named; "auto" is a method of its own.
DEFAULT = "default"
METHODS = {SINGLE: "deft", SET: "tai-adapter"}
LOOKED_AT = (
    64  # pictures whose size says which model is meant: they are opened, not decoded
)
# Passes of a picture through the image tower where a method trains: ten to fifteen epochs forward
# and backward, which is twice as much, and a few views.
PASSES = 30
# Operations that a processor does in one to three hours, at 100 to 300 thousand millions a second.
AFFORDABLE = 1e15
TOLD_FROM = 30.0  # seconds: what is quicker is not worth a line


def with_method(source: Source, options: Any) -> Any:
    """Options of a scan with the name of a method, by the labels where the user named none."""
    if options.method != DEFAULT:
        return options
    if getattr(source, "modality", "images") == "texts":
        preset = PRESET_FOR_TEXTS if options.preset == AUTO else options.preset
        return replace(options, method=FOR_TEXTS, preset=preset)
    return replace(options, method=METHODS[kind_of(source)])


def settle(
    source: Source, method: ModuleType, options: Any
) -> tuple[Any, dict[str, str]]:
    """Options of a scan without "auto", and why these were taken, by name.

    Raises:
        ModelError: as `model_for`.
    """
    why = {}
    if options.model == AUTO:
        name, why["model"] = model_for(source)
        options = replace(options, model=name)
    _check_reads(source, options.model)
    if getattr(source, "modality", "images") == "texts":
        options = _without_pixels(method, options)
    if options.preset == AUTO:
        device = choose_device(options.device).type
        given = options.settings or {}
        name, why["preset"] = preset_for(source, method, options.model, device, given)
        options = replace(options, preset=name)
        if name != "default":
            progress.note(f"--preset {name}: {why['preset']}.")
    return options, why


def _without_pixels(method: ModuleType, options: Any) -> Any:
    """Options of a scan of texts; raises OptionError where only pictures can be judged so."""
    if "pixels" not in method.NEEDS:
        return options
    # its views and adapters are those of pictures
    frozen = getattr(method, "WITHOUT_PIXELS", ())
    if not frozen:
        raise OptionError(
            f"Method {options.method} trains on pixels, and the data are texts.",
            "Take one of those that need none: labelsieve methods lists them.",
        )
    if options.preset != AUTO and options.preset not in frozen:
        raise OptionError(
            f"Preset {options.preset} of method {options.method} trains on pixels, and the "
            "data are texts.",
            f"Take --preset {frozen[0]}.",
        )
    of_training = getattr(method, "OF_TRAINING", ())
    for name in sorted(set(options.settings or {}) & set(of_training)):
        raise OptionError(
            f"Setting {name} of method {options.method} is one of training on pixels, and "
            "the data are texts.",
            "Leave it out.",
        )
    return replace(options, preset=frozen[0]) if options.preset == AUTO else options


def _check_reads(source: Source, model: str) -> None:
    """Raises OptionError where a model of pictures is named for texts, or the other way round."""
    items = getattr(source, "modality", "images")
    takes = getattr(family_of(model), "MODALITY", "images")
    # a kind of items from another package has models of its own
    if items != takes and "texts" in (items, takes) and {items, takes} <= KINDS:
        raise OptionError(
            f"--model '{model}' takes {takes}, and the items of the data are {items}.",
            f"For texts take --model {READER}, for pictures {PHOTOS}.",
        )


def model_for(source: Source) -> tuple[str, str]:
    """The model for the pictures of a source, and why.

    Raises:
        ModelError: it is not on this machine and cannot be downloaded.
    """
    modality = getattr(source, "modality", "images")
    if modality == "texts":
        if is_here(READER):
            return READER, "the items are texts"
        return WORDS, f"{READER} was not downloaded yet"
    if modality != "images":
        return DEMO, "the only model that needs no download"
    sides = [s for s in map(_side, _first_images(source)) if s is not None]
    side = float(np.median(sides)) if sides else 0.0
    if side <= DEMO_SIDE:
        return DEMO, f"the pictures are at most {DEMO_SIDE} pixels wide and high"
    # before anything is read: a download may be announced, or be impossible
    ready(PHOTOS)
    return PHOTOS, f"the pictures are larger than {DEMO_SIDE} pixels"


def _first_images(source: Source) -> Iterable[Any]:
    return (row.image for row in islice(source.rows(), LOOKED_AT))


def _side(image: Any) -> int | None:
    """The longer side of a picture in pixels; None for what is none."""
    try:
        if isinstance(image, bytes | str | Path):
            with open_image(read_bytes(image)) as header:
                return max(header.size)
        if isinstance(image, Image.Image):
            return max(image.size)
        # [h, w], [h, w, 3] or [3, h, w]: the two largest of up to three sides
        return int(sorted(np.shape(image))[-1])
    # decoders raise nearly everything on broken files, and arrays may be ragged
    except Exception:
        return None


def preset_for(
    source: Source,
    method: ModuleType,
    model: str,
    device: str,
    given: Mapping[str, Any],
) -> tuple[str, str]:
    """The preset of a method, and why.

    "tuned" where a setting of training is among those that were `given` and the default trains
    nothing; "fast" only where a processor would take hours.

    Raises:
        ModelError: the model's configuration cannot be read.
    """
    trains = tunes(resolve(method.Settings, method.PRESETS["default"], {}))
    of_training = sorted(given.keys() & set(getattr(method, "OF_TRAINING", ())))
    if of_training and not trains:
        return "tuned", f"{of_training[0]} is a setting of training"
    if device != "cpu" or "fast" not in method.PRESETS or not trains:
        return "default", "it is the method's own"
    each = PASSES * operations_of(model)
    if not each:
        return "default", "the arithmetic of the model is not known"
    affordable = int(AFFORDABLE / each)
    # no more rows are listed than are needed to know
    if sum(1 for _ in islice(source.rows(), affordable + 1)) <= affordable:
        return "default", f"up to {affordable:,} images are quick enough on a processor"
    return "fast", (
        f"more than {affordable:,} images in {PASSES} passes of {model} are more than "
        f"{AFFORDABLE:.0e} operations, hours on a processor; --preset default takes that time"
    )


def tunes(settings: Any) -> bool:
    """Whether a method with these settings trains a part of the tower, many passes long."""
    return getattr(settings, "tuning", "features") != "features"


def no_preset(preset: str, method: str, valid: Iterable[str]) -> OptionError:
    """The error for a preset that a method does not have."""
    if preset != "fast":
        return OptionError(unknown("--preset", preset, valid))
    # most wrote --fast, and have not heard of presets
    return OptionError(
        f"Method {method} has no fast preset (--fast); there are: {', '.join(sorted(valid))}.",
        "Leave out --fast, or take --method deft.",
    )


def passes_of(method: ModuleType, settings: Any) -> int:
    """About how often a picture goes through the image tower."""
    if tunes(settings):
        return PASSES
    # of methods that look at several views, by their number
    known: dict[int, int] = getattr(method, "FROZEN_PASSES", {})
    return known.get(getattr(settings, "views", 1), 1)


@torch.no_grad()
def tell_cost(
    encoder: DualEncoder, images: int, model: str, passes: int, noun: str = "image"
) -> None:
    """Say before the work what it will take here, by the pace of the fastest of small batches.

    Args:
        passes: of each item through the tower; see `passes_of`.
        noun: what people call an item.
    """
    pixels = encoder.normalise(encoder.blank(TRIED))
    whole = float("inf")
    # the first one also loads libraries, and others may be slowed down by what else runs
    for _ in range(4):
        start = time.perf_counter()
        encoder.image_features(pixels)
        each = (time.perf_counter() - start) / TRIED
        whole = min(whole, each * images * passes)
    if whole < TOLD_FROM:
        return
    # in the largest unit that leaves a digit or two
    times = "once" if passes == 1 else f"about {passes} times"
    minutes = progress.counted(max(1, round(whole / 60)), "minute")
    hours = f"{whole / 3600:.1f} hours" if whole > 5400 else minutes
    quicker = "; --fast takes 3 passes" if passes > 3 else ""
    progress.note(
        f"{images:,} {noun}s go {times} through {model}: about {hours} here{quicker}."
    )


def refuse_misplaced(choices: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse what is a word somewhere else; other unknown ones are refused later.

    Args:
        known: options of a scan, by name.

    Raises:
        OptionError: says where the word belongs.
    """
    for name in choices.keys() - known.keys():
        try:
            method = registry.load("methods", _named(choices))
        except LabelsieveError:
            return  # the method is what is wrong
        place = _place_of(name, method)
        if place:
            raise OptionError(f"Option '{name}' is unknown.", place)


def _named(choices: Mapping[str, Any]) -> str:
    """The method that was named; the one of single labels where none was."""
    named = str(choices.get("method", DEFAULT))
    return METHODS[SINGLE] if named == DEFAULT else named


def _place_of(name: str, method: ModuleType) -> str:
    """Where a word belongs that is no option of a scan; "" where it is not known."""
    if name in method.PRESETS:
        return f'It is a preset: preset="{name}".'
    if name in method.Settings.__dataclass_fields__:
        return f"It is a setting of the method: settings={{'{name}': ...}}."
    if name in Describing.__annotations__:
        return f"It describes the data: scan(load(data, {name}=...))."
    return ""


def refuse_side_texts(column: str | None, name: str, method: ModuleType) -> None:
    """Raises OptionError where texts beside pictures are named that the method does not read."""
    if column is not None and not getattr(method, "SIDE_TEXTS", False):
        raise OptionError(
            f"--side-text-column is not read by --method {name}.", "Use --method capro."
        )
