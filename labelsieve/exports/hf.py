"""Hugging Face data set: a folder for `datasets.load_from_disk`, with image (or text) and labels.

Classes are declared as the data declare them, in their order and with those that have no image.
Where the data have splits, so has it. `push` uploads such a folder to the hub.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from huggingface_hub.errors import RepositoryNotFoundError

from labelsieve.data.labels import SET
from labelsieve.data.text.reading import decode
from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.exports import Rows
from labelsieve.exports._labels import labels_of
from labelsieve.exports._splits import parts
from labelsieve.files import readable
from labelsieve.progress import note, plain

TARGET = "folder"
ITEMS = ("images", "texts")
HOLDS = ("single", "set")
LABELS = ("label", "given_label", "suggested_label")
# What the hub takes for the name of a data set, and `datasets` for that of a split.
OWN_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
NO_SPLIT = re.compile(r"\W")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write image or text, label (after decisions), given_label, sample_id and scores.

    Those that cannot be read are null.
    """
    features = _features(rows.classes, rows.kind, rows.modality)
    # its own cache would keep a second copy of every image
    with tempfile.TemporaryDirectory(prefix="labelsieve-") as cache:
        made: dict[str | None, Any] = {}
        for split, part in parts(rows, lambda name: NO_SPLIT.sub("_", name)):
            made[split] = _made(part, features, f"{cache}/{len(made)}")
        alone = None in made
        whole = made[None] if alone else datasets.DatasetDict(made)
        whole.save_to_disk(str(target))
        # it maps files of the folder that is about to go
        del whole, made
    return [target]


def _made(rows: Rows, features: Any, cache: str) -> Any:
    try:
        return datasets.Dataset.from_generator(
            lambda: _records(rows, features), features=features, cache_dir=cache
        )
    except Exception as error:
        # the library says only that a generator failed; ours says why
        if isinstance(error.__cause__, LabelsieveError):
            raise error.__cause__ from None
        raise


def check_push(name: str) -> None:
    """Whether an upload can be tried at all, before anything is written.

    Raises:
        OptionError: the name is none, there is no token, or the hub is switched off.
    """
    if not OWN_NAME.fullmatch(name):
        raise OptionError(
            f"--push-to-hub '{plain(name)}' is not OWNER/NAME.",
            "For example --push-to-hub me/pets.",
        )
    if huggingface_hub.constants.is_offline_mode():
        raise OptionError(
            "--push-to-hub needs the hub, which HF_HUB_OFFLINE switches off.",
            "Set HF_HUB_OFFLINE=0, or leave --push-to-hub out.",
        )
    if huggingface_hub.get_token() is None:
        raise OptionError(
            "--push-to-hub finds no token.", "Set HF_TOKEN, or run 'hf auth login'."
        )


def push(folder: Path, name: str) -> str:
    """Upload what `write` wrote; a new data set is private. Says first what is uploaded.

    Args:
        name: OWNER/NAME. Splits of the same name that are there are replaced.

    Returns:
        Address of its page.

    Raises:
        RunError: the hub cannot be reached, or refuses it.
    """
    address = f"{huggingface_hub.constants.ENDPOINT}/datasets/{name}"
    whole = datasets.load_from_disk(str(folder))
    try:
        note(f"{_uploaded(whole)} go to {address} ({_seen_by(name)}).")
        # said outright: without it the settings of the owner decide; the token is the environment's
        whole.push_to_hub(name, private=True)
    # its libraries raise their own errors, of the network and of the hub
    except Exception as error:
        reason = plain(
            (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        )
        raise RunError(
            f"'{readable(folder)}' cannot be uploaded to {address}: {reason}.",
            "The folder is written; the same command tries again.",
        ) from error
    return address


def _uploaded(whole: Any) -> str:
    """What people have to know before others see it."""
    splits = whole if isinstance(whole, dict) else {"train": whole}
    count = sum(len(part) for part in splits.values())
    size = sum(part.data.nbytes for part in splits.values()) / 1e6
    named = ", ".join(splits)
    return (
        f"{count:,} images ({named}; {size:.1f} MB) with their labels, ids, scores and "
        "verdicts"
    )


def _seen_by(name: str) -> str:
    """Who sees a data set; one that is there stays what it is."""
    try:
        about = huggingface_hub.HfApi().dataset_info(name)
    except RepositoryNotFoundError:
        return "a new private data set"
    return "there already, private" if about.private else "there already, PUBLIC"


def _features(
    names: list[str], kind: str, modality: str = "images"
) -> datasets.Features:
    classes: Any = datasets.ClassLabel(names=names)
    if kind == SET:
        classes = datasets.Sequence(classes)
    item: dict[str, Any] = {"image": datasets.Image()}
    if modality == "texts":
        item = {"text": datasets.Value("string")}
    return datasets.Features(
        {
            **item,
            "label": classes,
            "given_label": classes,
            "sample_id": datasets.Value("string"),
            "p_clean": datasets.Value("float64"),
            "is_label_issue": datasets.Value("bool"),
            "suggested_label": classes,
            "suggested_prob": datasets.Value("float64"),
            "verdict": datasets.Value("string"),
        }
    )


def _records(rows: Rows, features: Any) -> Iterator[dict[str, Any]]:
    known = set(rows.classes)
    for row, picture in rows.encoded():
        record = {name: row.get(name) for name in features}
        # a label that a person typed need not be a class
        for name in LABELS:
            if rows.kind == SET:
                record[name] = [x for x in labels_of(SET, record[name]) if x in known]
            elif record[name] not in known:
                record[name] = None
        if picture is not None and "text" in features:
            record["text"] = decode(picture[0])
        # as it was encoded: decoding and encoding again would change it
        elif picture is not None:
            record["image"] = {"bytes": picture[0], "path": None}
        yield record
