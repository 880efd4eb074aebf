"""A classifier as files: saved as safetensors, opened again from a directory or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from labelsieve.classifiers.backbone import (
    Student,
    TowerClassifier,
    _hushed,
    _one_line,
    _preprocess,
    _seeded,
    name_classes,
    read_config,
)
from labelsieve.data.images import Preprocess
from labelsieve.models.load import image_processor, without_bar
from labelsieve.runs.digests import read_record, verify

TOWER = "TowerClassifier"  # in `architectures` of a saved tower
RECORD = "training.json"
LAST = "last"  # folder below the model's: the last epoch, with keep=both
WEIGHTS = "model.safetensors"
# what decides a model's answers; the model card may be edited by hand
CHECKED = ("config.json", WEIGHTS, "preprocessor_config.json")


def save(student: Student, classes: Sequence[str], folder: Path) -> None:
    """Write weights, configuration and preprocessing as Hugging Face does; safetensors only."""
    folder.mkdir(parents=True, exist_ok=True)
    model = student.model
    tower = isinstance(model, TowerClassifier)
    config = model.vision_model.config if tower else model.config
    name_classes(config, classes)
    if tower:
        config.architectures = [TOWER]
        config.save_pretrained(folder)
        tensors = {
            name: t.detach().cpu().contiguous().clone()
            for name, t in model.state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    else:
        with without_bar():
            model.save_pretrained(folder)
    with _hushed():
        (student.processor or _processor(student.preprocess)).save_pretrained(folder)


def open_saved(where: str, *, device: torch.device) -> tuple[Student, list[str]]:
    """A student that `save` wrote, or any image classifier of transformers, and its classes.

    Raises:
        ModelError: there is none, or it is damaged.
        RunError: a file is not the one that the training wrote.
    """
    _verify_saved(Path(where))
    config = read_config(where)
    classes = [str(config.id2label[number]) for number in sorted(config.id2label)]
    with _seeded(0), _one_line(where), without_bar(), _hushed():
        if (config.architectures or [""])[0] == TOWER:
            model: Any = _open_tower(where, config, len(classes))
        else:
            from transformers import AutoModelForImageClassification

            model = AutoModelForImageClassification.from_pretrained(
                where, dtype=torch.float32
            )
    processor = image_processor(where)
    return Student(
        model.to(device).eval(), _preprocess(processor, config), processor
    ), classes


def _verify_saved(folder: Path) -> None:
    """Compare a folder that `train` wrote with the checksums in its record."""
    for name in CHECKED:
        if (folder / RECORD).is_file():
            verify(folder, name, read_record(folder / RECORD))
        # the last epoch lies in the folder of the chosen one, which has the record
        elif folder.name == LAST and (folder.parent / RECORD).is_file():
            record = read_record(folder.parent / RECORD)
            verify(folder.parent, f"{LAST}/{name}", record)


def _open_tower(where: str, config: Any, classes: int) -> TowerClassifier:
    from transformers import AutoModel
    from transformers.utils import cached_file

    model = TowerClassifier(AutoModel.from_config(config), classes)
    model.load_state_dict(load_file(cached_file(where, "model.safetensors")))
    return model


def _processor(preprocess: Preprocess) -> Any:
    """An image processor of transformers that does the same."""
    from transformers import CLIPImageProcessor

    sides = {"height": preprocess.height, "width": preprocess.width}
    return CLIPImageProcessor(
        size=sides
        if preprocess.shortest_edge is None
        else {"shortest_edge": preprocess.shortest_edge},
        crop_size=sides,
        do_center_crop=preprocess.shortest_edge is not None,
        resample=preprocess.resample,
        image_mean=list(preprocess.mean),
        image_std=list(preprocess.std),
    )
