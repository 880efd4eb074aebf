"""What decides a model's answers: its weights, and every file that says how they are used.

The same weights give other answers with another activation, pooling, vocabulary or preparation
of pictures. `fingerprint` covers all of it and is the key of everything that is kept of a model's
answers. `changes` compares a model with the one that finished work was made with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelsieve.files import sha256
from labelsieve.models import hugging_face

# Configurations, vocabularies and merges of tokenizers, as the libraries write them.
SETTINGS = (".json", ".txt", ".model")
WEIGHTS = ".safetensors"
MODULES = "modules.json"  # names the folders inside that belong to the model, too


@dataclass(frozen=True)
class Origin:
    """The files of a model as they were when it was loaded.

    Attributes:
        settings: digest of all that are not weights; "" where there are no files.
        stamps: size, times and number of each file, by its name in the folder.
    """

    settings: str = ""
    stamps: Mapping[str, str] = field(default_factory=dict)


def origin_of(name: str) -> Origin:
    """What the files of a model hold now; the weights are not read."""
    files = _files(name)
    stamps = {inner: stamp for inner, stamp, _ in _stamped(files)}
    digest = hashlib.sha256()
    for inner, path in sorted(files.items()):
        if path.suffix != WEIGHTS:
            digest.update(f"{inner} {sha256(path)} ".encode())
    return Origin(digest.hexdigest() if files else "", stamps)


def fingerprint(encoder: Any) -> str:
    """Sixteen hex digits of all that decides an encoder's answers.

    That is its weights, their device and precision, how items are prepared, and the files with
    its configuration and its words. The same in every process.

    Args:
        encoder: a `DualEncoder` or `TextEncoder`.
    """
    about = (
        encoder.device.type,
        encoder.dtype,
        encoder.origin.settings,
        encoder.preprocess.to_json(),
        encoder.logit_scale,
    )
    digest = hashlib.sha256(" ".join(map(str, about)).encode())
    module: nn.Module = getattr(encoder, "model", encoder.image_tower)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        # numpy has no bfloat16, so every tensor is hashed as bytes
        as_bytes = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(as_bytes.numpy().data)
    return digest.hexdigest()[:16]


def for_record(name: str, origin: Origin) -> dict[str, dict[str, str]]:
    """What finished work keeps of its model's files, for `changes`.

    Args:
        origin: of the encoder that did the work. A file that is another one since has no digest.
    """
    digests = {}
    for inner, stamp, path in _stamped(_files(name)):
        if origin.stamps.get(inner) == stamp:
            digests[inner] = sha256(path)
    return {"model_stamps": dict(origin.stamps), "model_files": digests}


def changes(name: str, record: Mapping[str, Any]) -> list[str]:
    """Names of a model's files that are not those of `for_record`; empty where all are.

    Also where the model is not on this machine, and of a record without such facts: then nothing
    can be compared. Files whose stamps did not change are not read.
    """
    stamps, digests = record.get("model_stamps", {}), record.get("model_files", {})
    files = _files(name)
    if not files or not stamps:
        return []
    changed = []
    for inner, stamp, path in _stamped(files):
        if stamps.get(inner) == stamp:
            continue
        # copied or moved files have other stamps and the same content
        if inner in stamps and digests.get(inner) == sha256(path):
            continue
        changed.append(inner)
    if _is_folder(name):
        changed.extend(stamps.keys() - files.keys())
    else:
        # of a repository files come one by one, as they are asked for
        changed = [inner for inner in changed if inner in stamps]
    return sorted(changed)


def _is_folder(name: str) -> bool:
    return Path(_place(name)).is_dir()


def _place(name: str) -> str:
    """A model's directory or hub id, without a library's prefix."""
    path = hugging_face.path_of(name)
    return path if Path(path).is_dir() else path.rpartition(":")[2]


def _files(name: str) -> dict[str, Path]:
    """Files that a model may be read from, by their names in its folder."""
    folder = _folder(name)
    if folder is None:
        return {}
    found = {}
    for inner in ("", *_modules(folder)):
        for path in (folder / inner).glob("*"):
            # what is no file, a pipe for one, would be waited for
            known = path.suffix in (*SETTINGS, WEIGHTS) and path.is_file()
            if known and not path.name.startswith("."):
                found[path.relative_to(folder).as_posix()] = path
    return found


def _folder(name: str) -> Path | None:
    """Where a model lies on this machine; None for one without files."""
    import huggingface_hub

    place = _place(name)
    if Path(place).is_dir():
        return Path(place)
    for file in ("config.json", "open_clip_config.json"):
        # a name that is no name of the hub has no files there
        with contextlib.suppress(ValueError, OSError):
            located = huggingface_hub.try_to_load_from_cache(place, file)
            if isinstance(located, str):
                return Path(located).parent
    return None


def _modules(folder: Path) -> list[str]:
    """Folders inside a model's that its modules.json names."""
    path = folder / MODULES
    if not path.is_file():
        return []
    # whoever opens the model says what is wrong with the file
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        listed = json.loads(path.read_text(encoding="utf-8"))
        paths = {str(one["path"]) for one in listed}
        return sorted(p for p in paths if p and "/" not in p and not p.startswith("."))
    return []


def _stamped(files: Mapping[str, Path]) -> Iterator[tuple[str, str, Path]]:
    """Each file's name, stamp and path. The time of the last change cannot be set by hand."""
    for inner, path in sorted(files.items()):
        status = path.stat()
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        yield inner, " ".join(map(str, facts)), path
