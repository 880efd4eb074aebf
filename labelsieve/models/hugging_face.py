"""Checkpoints in Hugging Face's layout, by directory or hub id, opened through transformers.

All that transformers loads for this package is loaded here, and under the same conditions: no
code from the checkpoint runs, nobody is asked on the terminal whether it may, weights are
safetensors, and what a damaged or hostile file raises becomes one line (`ModelError`).
"""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.data.images import Preprocess
from labelsieve.errors import LabelsieveError, ModelError
from labelsieve.models import trust

TINY = Path(__file__).parent.parent / "assets" / "tiny"  # the embedded model
USE = "Use tiny, a Hugging Face directory or a hub id."
# Without any of these files a checkpoint has no tokenizer or no image processor; with one of
# them that cannot be read it is damaged.
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# The hub's own bot that converts pickled weights and offers them as pull requests.
CONVERTER = "SFconvertbot"


def path_of(name: str) -> str:
    """A model's directory or hub id; "tiny" is a name for the embedded one."""
    return str(TINY) if name == "tiny" else name


@contextlib.contextmanager
def one_line(name: str, help: str = trust.COMPLETE) -> Iterator[None]:
    """What opening a model raises, as one line.

    Everything is caught, since libraries raise nearly everything on files that are wrong:
    ZeroDivisionError for no heads, AttributeError for a list in the place of a table.
    """
    try:
        yield
    except LabelsieveError:
        raise
    except Exception as error:
        if _is_offline(error):
            raise not_here(name) from error
        raise trust.refusal(name, _reason(error), help) from error


def not_here(name: str, instead: str = "") -> ModelError:
    """The error for a model of the hub that is not on this machine and cannot be fetched now."""
    # the demo model has no owner before its name, and a slip of the pen is no name of the hub
    if "/" not in name and difflib.get_close_matches(name, ["tiny"]):
        return ModelError(f"Model '{name}' is unknown. Did you mean 'tiny'?")
    return ModelError(
        f"Model '{name}' is not on this machine, and the hub cannot be reached.",
        f"Run 'hf download {name}' once with a network, or copy its folder here and give "
        f"that as --model. {instead}".rstrip(),
    )


def _is_offline(error: Exception) -> bool:
    """Whether the libraries of the hub say, in one of their ways, that there is no connection."""
    said = str(error)
    return "couldn't connect to" in said or "offline mode" in said.lower()


def _reason(error: Exception) -> str:
    """First line of an error's message, without its full stop."""
    lines = str(error).strip().split("\n")
    # a validator of transformers says what is wrong in the line below
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    line = " ".join(line.split()).rstrip(".:")
    if isinstance(error, AttributeError | TypeError | KeyError):
        # words of Python, which say nothing of files
        return f"what one of its files says is of another kind ({line[:200]})"
    return line[:300] or type(error).__name__


def read_config(name: str) -> Any:
    """The configuration of a checkpoint, an object of transformers; no weights are read.

    Raises:
        ModelError: not found, not readable, or with sizes that cannot be.
    """
    # a copy, since callers write their classes into it
    return copy.deepcopy(_read_config(name, _stamp(name)))


def _stamp(name: str) -> tuple[int, int] | None:
    """Size and time of a local config.json: with another one it is read again."""
    path = Path(path_of(name)) / "config.json"
    with contextlib.suppress(OSError, ValueError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return None


@lru_cache(maxsize=32)  # each family looks; a hub id would be looked up each time
def _read_config(name: str, stamp: tuple[int, int] | None) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    path = path_of(name)
    with one_line(name, USE), hushed():
        raw, _ = PreTrainedConfig.get_config_dict(path)
        trust.check_config(name, raw)
        if "auto_map" in raw and raw.get("model_type") not in CONFIG_MAPPING:
            raise trust.refusal(
                name, "it needs code of its own, which is never run", USE
            )
        return AutoConfig.from_pretrained(path, trust_remote_code=False)


def architecture_of(config: Any) -> str:
    """The class of transformers that wrote a checkpoint, as far as it says so."""
    names = config.architectures
    return str(names[0]) if isinstance(names, list) and names else ""


def read_model(
    name: str,
    kind: Any,
    config: Any,
    *,
    new_head: bool = False,
    body_only: bool = False,
) -> Any:
    """A model of transformers with the weights of a checkpoint, float32 on the CPU.

    Args:
        kind: a class with `from_pretrained`, such as `AutoModel`.
        config: of `read_config`.
        new_head: weights outside the body may be missing, or be there and not be used.
        body_only: likewise those of heads, and of a pooler that is not used.

    Raises:
        ModelError: weights that are no safetensors, missing, of other shapes or not finite.
    """
    path = path_of(name)
    revision = _check_files(name, kind, config)
    with one_line(name), without_bar(), hushed():
        model, report = kind.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            revision=revision,
            ignore_mismatched_sizes=True,  # they are in the report, by name
        )
        if new_head:
            # unused weights are then the old head and what only pre-training needs
            report = {**report, "unexpected_keys": ()}
        if body_only:
            missing = report["missing_keys"]
            needed = [key for key in missing if not key.startswith("pooler.")]
            report = {**report, "unexpected_keys": (), "missing_keys": needed}
        body = (f"{model.base_model_prefix}.",) if new_head else ("",)
        trust.check_loaded(name, report, body)
        trust.check_weights(name, model.state_dict())
    return model


def _check_files(name: str, kind: Any, config: Any) -> str | None:
    """Refuse files that must not be opened; gives the revision to load of a hub id."""
    with one_line(name):
        described = describe(lambda: kind.from_config(config, trust_remote_code=False))
        _, revision = _checked_files(name, described)
    return revision


def describe(build: Callable[[], nn.Module]) -> nn.Module:
    """A module as configured, with the shapes of its weights and no memory for them."""
    # nothing is drawn for weights without memory; forked all the same, since the weights of
    # a new head are drawn next and must not depend on this
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build()


def read_tensors(name: str, described: nn.Module) -> dict[str, Tensor]:
    """The tensors of a checkpoint for a module that transformers does not know.

    Args:
        described: the module, by `describe`; the tensors have its names and shapes.

    Raises:
        ModelError: as `read_model`.
    """
    with one_line(name):
        tensors: dict[str, Tensor] = {}
        for path in _checked_files(name, described)[0]:
            tensors |= load_file(path)
        trust.check_loaded(name, trust.differences(described, tensors))
        trust.check_weights(name, tensors)
    return tensors


def _checked_files(name: str, described: nn.Module) -> tuple[list[Path], str | None]:
    """The files with the weights of a checkpoint, and their revision."""
    folder, revision = _folder_with_weights(path_of(name))
    files = trust.weight_files(name, folder)
    trust.check_size(name, described, trust.count_numbers(name, files))
    return files, revision


def _folder_with_weights(path: str) -> tuple[Path, str | None]:
    """Where the safetensors of a checkpoint lie on this machine, after a download if need be.

    Returns:
        The folder, and the revision of a hub id that has them; None is the main one.
    """
    from transformers.utils import cached_file

    if Path(path).exists():
        return Path(path), None
    # what is missing is None, not an error of its own
    lenient = {"_raise_exceptions_for_missing_entries": False}
    cached_file(path, "adapter_config.json", **lenient)  # seen by `weight_files`
    for revision in (None, *_conversions(path)):
        for file in (trust.WEIGHTS, trust.INDEX):
            with without_bar():
                located = cached_file(path, file, revision=revision, **lenient)
            if located is not None:
                return _with_parts(path, Path(located), revision), revision
    help = "https://huggingface.co/spaces/safetensors/convert makes them."
    raise trust.refusal(path, "it has no safetensors weights", help)


def _with_parts(path: str, located: Path, revision: str | None) -> Path:
    """The folder of downloaded weights, with all the parts that an index names."""
    from transformers.utils import cached_file

    if located.name == trust.INDEX:
        for part in trust.weight_files(path, located.parent):
            cached_file(path, part.name, revision=revision)
    return located.parent


def _conversions(path: str) -> Iterator[str]:
    """Revisions of a hub id with converted weights, where the main one has only pickles.

    openai/clip-vit-base-patch16, the paper's model, is such a one.
    """
    from huggingface_hub import constants, get_repo_discussions
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cache = Path(constants.HF_HUB_CACHE) / f"models--{path.replace('/', '--')}"
    for known in sorted((cache / "refs" / "refs" / "pr").glob("*")):
        yield f"refs/pr/{known.name}"  # downloaded before, also without a network
    with contextlib.suppress(HfHubHTTPError, OfflineModeIsEnabled, OSError):
        for discussion in get_repo_discussions(path, author=CONVERTER):
            if discussion.is_pull_request:
                yield str(discussion.git_reference)


def image_processor(name: str) -> Any:
    """The image processor of a checkpoint, None where it has none.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoImageProcessor

    return _optional(name, AutoImageProcessor, PROCESSORS)


# The warning that a tokenizer of transformers gives once, by its own name for it.
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"


def tokenizer(name: str) -> Any:
    """The tokenizer of a checkpoint, None where it has none.

    Raises:
        ModelError: it cannot be read.
    """
    from transformers import AutoTokenizer

    words = _optional(name, AutoTokenizer, TOKENIZERS)
    if words is None:
        return None
    # a prompt that is too long is refused in our words, which name its class
    words.deprecation_warnings[TOO_LONG] = True
    # Where the files are missing transformers may make up one that knows no words.
    return None if set(words.get_vocab()) <= set(words.all_special_tokens) else words


def _optional(name: str, kind: Any, files: Sequence[str]) -> Any:
    """A part of a checkpoint that it may lack."""
    path = path_of(name)
    folder = Path(path)
    if folder.is_dir() and not any((folder / file).exists() for file in files):
        return None
    try:
        # nobody is asked on the terminal whether foreign code may run: it may not
        with one_line(name), hushed():
            return kind.from_pretrained(path, trust_remote_code=False)
    except LabelsieveError as error:
        if not folder.is_dir() and isinstance(error.__cause__, OSError | ValueError):
            return None  # nothing of the kind on the hub
        raise


@lru_cache(maxsize=32)  # once: models are opened several times in a process
def _say_assumed(name: str) -> None:
    progress.note(
        f"Model '{name}' does not say how it wants its pictures (it has no {PROCESSORS[0]}): they "
        f"are prepared as CLIP's. If it was trained otherwise, add that file."
    )


def preprocess_with(name: str, processor: Any, image_size: int) -> Preprocess:
    """How a checkpoint wants its pictures.

    Args:
        processor: its image processor; None takes CLIP's own constants.
        image_size: in pixels, where the processor names none.

    Raises:
        ModelError: a preparation that cannot be computed.
    """
    if processor is None:
        _say_assumed(name)
    with one_line(name):
        preprocess = Preprocess.from_processor(processor, image_size)
        trust.check_preprocess(name, preprocess)
    return preprocess


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """No bar of transformers' own over weights.

    The hub's over downloads stays, unless progress is off.
    """
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    hub_shown = not are_progress_bars_disabled()
    logging.disable_progress_bar()  # switches the hub's off, too
    if hub_shown and not progress.is_quiet():
        enable_progress_bars()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
        if hub_shown:
            enable_progress_bars()
        else:
            disable_progress_bars()


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """No warnings of transformers, about new weights or torchvision: what counts is checked."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
