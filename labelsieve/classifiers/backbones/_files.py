"""A saved classifier as files, as far as the libraries have it in common."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from labelsieve import registry
from labelsieve.data.images import Preprocess
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.models import hugging_face, trust

CONFIG = "config.json"
RANDOM = "random"  # behind a model's name: from random weights
LIBRARY = "library"  # entry of a config.json that no model of transformers wrote
# What the paper's recipes are called after, by how names of architectures begin.
RECIPE_OF = {"vit": "vit", "deit": "vit", "resnet": "resnet", "wide_resnet": "resnet"}


def recipe_of(architecture: str) -> str:
    """The recipe for an architecture by its name; others take the gentlest."""
    # ViT-B-32 and resnet18.a1_in1k: what stands before the first mark
    first = re.split(r"[\d.\-]", architecture.lower())[0].rstrip("_")
    start = next((s for s in RECIPE_OF if re.fullmatch(rf"{s}(_.*)?", first)), None)
    return "convnext" if start is None else RECIPE_OF[start]


def file_of(name: str, place: str, file: str) -> Path:
    """A file of a folder or of a repository of the hub, after a download if need be.

    Raises:
        ModelError: it is not there.
    """
    from huggingface_hub import constants
    from transformers.utils import cached_file

    folder = Path(place)
    if folder.is_dir():
        if file == trust.WEIGHTS:
            trust.weight_files(
                name, folder
            )  # says what else lies there, pickles above all
        path: str | None = str(folder / file)
    else:
        with hugging_face.without_bar():
            path = cached_file(place, file, _raise_exceptions_for_missing_entries=False)
    if path is None or not Path(path).is_file():
        if not folder.is_dir() and constants.is_offline_mode():
            raise hugging_face.not_here(place)
        raise trust.refusal(name, f"it has no {file}", trust.COMPLETE)
    return Path(path)


def need(library: str, name: str, extra: str) -> ModuleType:
    """A library that wants torchvision, which must fit the torch that is installed.

    Raises:
        ModelError: it is not installed, or does not fit.
    """
    try:
        return registry.need(library)
    except (ImportError, RuntimeError, LabelsieveError) as error:
        # a torchvision that does not fit its torch raises RuntimeError when it is imported
        first = str(error).splitlines()[0].rstrip(".")
        reason = f"{library} cannot be imported ({first})"
        help = f"pip install 'labelsieve[{extra}]' reads this model."
        raise trust.refusal(name, reason, help) from error


def config_of(folder: str) -> dict[str, Any]:
    """The config.json of a folder, as data; empty where there is none that is an object."""
    path = Path(folder) / CONFIG
    try:
        if not path.is_file():  # a pipe would be waited for without end
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # whoever claims the folder says what is wrong with it
    return content if isinstance(content, dict) else {}


def is_of(name: str, prefix: str, library: str) -> bool:
    """Whether a name begins with a library's prefix, or is a folder that `write` wrote."""
    return name.startswith(prefix) or config_of(name).get(LIBRARY) == library


def classes_of(where: str, names: Any) -> list[str]:
    """Names of the classes, by the number of the logit.

    Args:
        names: `id2label` of a config.json.
    """
    # JSON's keys are text, those of an object of transformers are numbers
    if not isinstance(names, Mapping) or not all(
        re.fullmatch(r"\d+", str(n)) for n in names
    ):
        raise trust.refusal(where, f"its {CONFIG} names no classes")
    by_number = {int(number): str(name) for number, name in names.items()}
    if sorted(by_number) != list(range(len(names))) or not by_number:
        raise trust.refusal(
            where, "its config.json does not number its classes from 0 on"
        )
    return [by_number[number] for number in range(len(by_number))]


def write(
    folder: Path,
    library: str,
    about: Mapping[str, Any],
    classes: Sequence[str],
    model: nn.Module,
    preprocess: Preprocess,
) -> None:
    """A classifier of a library that has no format of its own for one."""
    names = {str(number): name for number, name in enumerate(classes)}
    content = {LIBRARY: library, **about, "id2label": names}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(f"{text}\n", encoding="utf-8")
    write_tensors(model, folder / trust.WEIGHTS)
    with hugging_face.hushed():
        processor(preprocess).save_pretrained(folder)


def write_tensors(model: nn.Module, path: Path) -> None:
    """The weights of a model under their own names."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        # safetensors refuses tensors that share memory
        tensors[name] = tensor.detach().cpu().contiguous().clone()
    save_file(tensors, path, {"format": "pt"})  # the format transformers looks for


def processor(preprocess: Preprocess) -> Any:
    """An image processor of transformers that does the same."""
    from transformers import CLIPImageProcessor

    sides = {"height": preprocess.height, "width": preprocess.width}
    edge = preprocess.shortest_edge
    return CLIPImageProcessor(
        size=sides if edge is None else {"shortest_edge": edge},
        crop_size=sides,
        do_center_crop=edge is not None,
        resample=preprocess.resample,
        image_mean=list(preprocess.mean),
        image_std=list(preprocess.std),
    )


def saved_preprocess(folder: str) -> Preprocess:
    """What `processor` wrote."""
    read = hugging_face.image_processor(folder)
    if read is None:
        reason = f"it has no {hugging_face.PROCESSORS[0]}"
        raise trust.refusal(folder, reason, trust.COMPLETE)
    side = hugging_face.preprocess_with(folder, read, SIDE)
    return side


SIDE = 224  # pixels, where a processor names none: ImageNet's usual side


def read_into(
    name: str, model: nn.Module, path: Path, new: frozenset[str] = frozenset()
) -> None:
    """Fill a model with the tensors of a safetensors file; they become its parameters.

    Args:
        model: with weights, or without memory (`hugging_face.describe`).
        new: names of weights that the file need not have, and that are kept as they are.

    Raises:
        ModelError: damaged, other names or shapes than the model's, or no finite numbers.
    """
    if not path.is_file():
        if path.name == trust.WEIGHTS:
            trust.weight_files(name, path.parent)  # names a pickle that lies there
        raise trust.refusal(name, f"it has no {path.name}", trust.COMPLETE)
    if path.suffix != ".safetensors":
        reason = f"'{path.name}' is no file of safetensors"
        raise trust.refusal(name, reason, trust.CONVERT)
    # by headers: nothing is read before it is known to fit
    trust.check_size(name, model, trust.count_numbers(name, [path]))
    tensors = load_file(path)
    for key, own in model.state_dict().items():
        # whatever the file has under this name belongs to other classes
        if key in new:
            tensors[key] = own
        elif key in tensors and own.is_floating_point():
            # weights train in float32, whatever they were stored in
            tensors[key] = tensors[key].float()
    trust.check_loaded(name, trust.differences(model, tensors))
    trust.check_weights(name, {k: t for k, t in tensors.items() if k not in new})
    # copies: what a file gives may be a view of it, and training writes into its weights
    model.load_state_dict({k: t.clone() for k, t in tensors.items()}, assign=True)
    model.requires_grad_(True)


def shape_in(name: str, path: Path, key: str) -> list[int]:
    """The shape of one tensor of a safetensors file.

    Raises:
        ModelError: no such file, or it lacks the tensor.
    """
    trust.weight_files(name, path.parent)
    trust.count_numbers(name, [path])  # names what is damaged
    with safe_open(path, framework="pt") as tensors:
        if key in tensors.keys():  # noqa: SIM118  (not a mapping)
            return list(tensors.get_slice(key).get_shape())
    raise trust.refusal(name, f"its weights lack '{key}'", trust.COMPLETE)


def refuse_meta(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Numbers that no file gave: a model that was described keeps none of its own."""
    lost = [key for key, tensor in tensors.items() if tensor.is_meta]
    if lost:
        raise trust.refusal(name, f"it computes '{lost[0]}', which is not saved")


def no_checkpointing(model: nn.Module) -> OptionError:
    """The error of `save_memory` for a model that cannot do that."""
    return OptionError(
        f"checkpointing is not supported by {type(model).__name__}.",
        "Use --set accumulate=4 instead.",
    )


def save_memory(model: Any) -> None:
    """Keep no activations of the blocks, where a model of timm or open_clip can do that.

    Raises:
        OptionError: it cannot.
    """
    try:
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise no_checkpointing(model) from error
