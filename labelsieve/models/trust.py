"""What a model's files must satisfy before anything is computed with them.

A model folder may come from anyone. Weights are safetensors and nothing else, sizes are those
of a model that exists, files lie inside the folder, and every number is finite. Each check
raises `ModelError` with one line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # names the parts of a model in several files
# Entries of config.json that make transformers load other files or other code than the
# folder's safetensors and its own classes.
REFUSED = ("quantization_config", "transformers_weights", "configuration_files")
# Entries that decide how much is allocated; the many others are left to transformers.
SIZES = re.compile(
    r"(_sizes?|_dims?|_channels|_heads|_eps|^num_labels|_embeddings|^width|^heads)$"
)
LAYERS = re.compile(r"(_layers|^layers|^depths?)$")
LARGEST = 1_000_000  # of a size; vocabularies are the largest, up to 256,000 (SigLIP 2)
MOST_LAYERS = 1_000  # a thousand is ten times any image model's
# Sides of a prepared picture in pixels: 4096 x 4096 is 50 MB, and models take up to about 1,000.
LARGEST_SIDE = 4096
# Squares of larger weights overflow in float32 once summed over a layer.
LARGEST_WEIGHT = 1e12
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
CONVERT = (
    "Convert it where you trust it, with transformers: "
    "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)."
)
COMPLETE = "Is the directory complete?"
ELSEWHERE = "Get the model from its publisher again."


def refusal(name: str, reason: str, help: str = ELSEWHERE) -> ModelError:
    """The error for a model that is not opened."""
    return ModelError(f"Model '{name}' cannot be loaded: {reason}.", help)


def check_config(name: str, config: Mapping[str, Any]) -> None:
    """Numbers of a config.json that no model has, and entries that lead out of its folder."""
    for key, value in _leaves(config):
        if key in REFUSED and value is not None:
            raise refusal(name, f"its config.json sets {key}", CONVERT)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        most = _most(key)
        if not math.isfinite(value) or (most is not None and not 0 <= value <= most):
            raise refusal(name, f"its config.json gives {key} as {value}")


def _most(key: str) -> int | None:
    """The largest value an entry may have; None where it decides no size."""
    if LAYERS.search(key):
        return MOST_LAYERS
    return LARGEST if SIZES.search(key) else None


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values below a JSON value with the name that they stand under."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name), inner
            yield from _leaves(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield key, inner
            yield from _leaves(inner, key)


def weight_files(name: str, folder: Path) -> list[Path]:
    """The safetensors files of a model folder.

    Raises:
        ModelError: there are none, or the index names files outside the folder.
    """
    if (folder / "adapter_config.json").exists():
        # transformers would load another model, the one that this file names
        raise refusal(name, "it is an adapter of peft", "Merge it into its model.")
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / part for part in _parts(name, folder / INDEX)]
    # their content is never looked at
    for pattern in PICKLES:
        for path in folder.glob(pattern):
            reason = f"'{path.name}' is a pickle, which can run any code when opened"
            raise refusal(name, reason, CONVERT)
    raise refusal(name, f"it has no {WEIGHTS}", COMPLETE)


def _parts(name: str, index: Path) -> list[str]:
    """File names in an index, each in the folder itself."""
    content = json.loads(index.read_text(encoding="utf-8"))
    parts = sorted({str(part) for part in content["weight_map"].values()})
    for part in parts:
        if not re.fullmatch(r"[\w.-]+\.safetensors", part):
            raise refusal(name, f"its {INDEX} names the file '{part}'")
    return parts


def count_numbers(name: str, files: Sequence[Path]) -> int:
    """How many numbers safetensors files hold, by their headers alone."""
    total = 0
    # safetensors itself refuses headers of more than 100 MB and shapes beyond the file
    for path in files:
        try:
            with safe_open(path, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118  (not a mapping)
                    total += math.prod(tensors.get_slice(key).get_shape())
        except (OSError, SafetensorError) as error:
            raise refusal(
                name, f"'{path.name}' is damaged: {error}", COMPLETE
            ) from error
    return total


def check_size(name: str, model: nn.Module, numbers: int) -> None:
    """A model as configured, built without memory, against what its files hold.

    A configuration that describes a far larger model than the files hold would fill the memory
    with weights that nobody trained. Twice, since a file may hold tied weights once.
    """
    # buffers are small, and computed, not read
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > 2 * numbers:
        reason = f"its config.json describes {described:,} weights"
        raise refusal(name, f"{reason}, its files hold {numbers:,}", COMPLETE)


def check_loaded(
    name: str, report: Mapping[str, Any], own: Sequence[str] = ("",)
) -> None:
    """Whether the files gave every weight of the model, and no others.

    transformers draws missing weights at random and drops those it does not expect.

    Args:
        report: the loading info of `from_pretrained`.
        own: only names that start with one of these count; the rest may be new.
    """
    shapes = {key for key, *_ in report["mismatched_keys"]}
    faults = {
        "lack": report["missing_keys"],
        "have in another shape": shapes,
        "also have": report["unexpected_keys"],
    }
    for what, keys in faults.items():
        wrong = sorted(key for key in keys if key.startswith(tuple(own)))
        if wrong:
            reason = f"its weights {what} '{wrong[0]}'{_and_more(wrong)}"
            raise refusal(name, reason, "Do config.json and weights belong together?")


def _and_more(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def differences(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What tensors lack and have beyond a module, as `check_loaded` takes it."""
    own = model.state_dict()
    shapes = []
    for key in own.keys() & tensors.keys():
        if own[key].shape != tensors[key].shape:
            shapes.append((key, own[key].shape, tensors[key].shape))
    return {
        "missing_keys": own.keys() - tensors.keys(),
        "unexpected_keys": tensors.keys() - own.keys(),
        "mismatched_keys": shapes,
    }


def check_weights(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Every weight is finite, and none so large that sums of squares are not."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not _is_sound(tensor):
            raise refusal(name, f"its weights '{key}' are not finite numbers")


def _is_sound(tensor: Tensor) -> bool:
    if not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)  # one pass; NaN comes through
    return float(low) > -LARGEST_WEIGHT and float(high) < LARGEST_WEIGHT


def check_words(name: str, words: Any, rows: int, *, added: bool = True) -> None:
    """Every token of a tokenizer has its vector; some text would else end in an IndexError.

    Args:
        words: of transformers or like one; without `get_vocab` it cannot be asked.
        rows: of the matrix of token vectors.
        added: whether tokens that were added to the vocabulary need one, too.
    """
    known = words.get_vocab() if hasattr(words, "get_vocab") else {}
    if not added and hasattr(words, "get_added_vocab"):
        known = {word: known[word] for word in known.keys() - words.get_added_vocab()}
    largest = max(known.values(), default=0)
    if largest >= rows:
        reason = f"its tokenizer has token {largest}, its weights have {rows} tokens"
        raise refusal(name, reason, "Do tokenizer.json and weights belong together?")


def check_preprocess(name: str, preprocess: Preprocess) -> None:
    """How pictures are prepared can be computed, within memory."""
    sides = [preprocess.height, preprocess.width, preprocess.shortest_edge or 1]
    for side in sides:
        if not isinstance(side, int) or not 1 <= side <= LARGEST_SIDE:
            raise refusal(name, f"it takes pictures with a side of {side} pixels")
    # a number in a file; Pillow knows six ways of resizing
    if preprocess.resample not in list(Image.Resampling):
        raise refusal(
            name, f"it resizes pictures in no known way ({preprocess.resample})"
        )
    scales = (*preprocess.mean, *preprocess.std)
    if len(preprocess.mean) != 3 or len(preprocess.std) != 3:
        raise refusal(name, "its image_mean and image_std are not three numbers each")
    # pixels are divided by the standard deviation
    if not all(map(math.isfinite, scales)) or min(preprocess.std) <= 0:
        raise refusal(name, "its image_mean and image_std cannot be computed with")
