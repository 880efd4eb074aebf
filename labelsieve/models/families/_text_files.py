"""What the folders of text encoders say: their modules, windows and pooling, all checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.models import hugging_face, trust
from labelsieve.models.text_encoder import POOLINGS, Pooling

MODULES = "modules.json"  # what makes a folder one of sentence-transformers
# Folders of modules lie in the model's own; "" is the folder itself.
INNER = re.compile(r"(?:[\w-][\w.-]*)?")
LONGEST_WINDOW = 512  # tokens, where a checkpoint allows more: attention is quadratic
# Positions that a tower of RoBERTa's kind keeps for itself.
RESERVED = 2


@dataclass(frozen=True)
class Module:
    """One of modules.json: its class, without the library's name, and its folder."""

    kind: str
    path: str


def find(name: str, inner: str) -> Path | None:
    """A file of a checkpoint on this machine, after a download if need be; None without it."""
    from transformers.utils import cached_file

    folder = Path(hugging_face.path_of(name))
    if folder.exists():
        path = folder / inner
        return path if path.is_file() else None
    # what is missing is None, not an error of its own
    lenient: dict[str, Any] = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
        "_raise_exceptions_for_gated_repo": False,
    }
    with hugging_face.one_line(name):
        try:
            located = cached_file(name, inner, **lenient)
        except (OSError, ValueError):  # no such model, or a name that is none
            return None
    return None if located is None else Path(located)


def read(name: str, inner: str) -> Any:
    """The JSON of a file of a checkpoint; None without it.

    Raises:
        ModelError: it is damaged.
    """
    path = find(name, inner)
    if path is None:
        return None
    with hugging_face.one_line(name):
        return json.loads(path.read_text(encoding="utf-8"))


def modules(name: str) -> list[Module] | None:
    """What modules.json lists, in its order; None where there is no such file.

    Raises:
        ModelError: it is damaged, names foreign code, or leads out of its folder.
    """
    listed = read(name, MODULES)
    if listed is None:
        return None
    with hugging_face.one_line(name):
        found = [Module(str(one["type"]), str(one["path"])) for one in listed]
    for one in found:
        if not one.kind.startswith("sentence_transformers."):
            raise trust.refusal(name, f"it needs code of its own, {one.kind[:80]}")
        if not INNER.fullmatch(one.path):
            raise trust.refusal(name, f"its {MODULES} names '{one.path[:80]}'")
    return [Module(one.kind.rpartition(".")[2], one.path) for one in found]


def inside(path: str, file: str) -> str:
    """A file in the folder of a module."""
    return f"{path}/{file}" if path else file


def pooling_of(name: str, path: str) -> Pooling:
    """What 1_Pooling/config.json says.

    Raises:
        ModelError: a way of pooling that is not known here.
    """
    config = read(name, inside(path, "config.json")) or {}
    # later versions name the mode, earlier ones have a switch for each
    named = config.get("pooling_mode")
    if isinstance(named, str):
        named = [named]
    if not named:
        switches = [key for key, on in config.items() if on is True]
        prefix = "pooling_mode_"
        named = [key.removeprefix(prefix) for key in switches if key.startswith(prefix)]
    modes = tuple(_mode(str(mode)) for mode in named)
    strange = [mode for mode in modes if mode not in POOLINGS]
    if strange or not modes:
        way = strange[0][:40] if strange else "none"
        raise trust.refusal(
            name, f"it pools by '{way}'", f"Known: {', '.join(POOLINGS)}."
        )
    return Pooling(modes)


def _mode(name: str) -> str:
    """The key in POOLINGS of a name in a configuration."""
    short = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    return short.get(name, name)


def window_of(name: str, config: Any, path: str = "") -> int:
    """Tokens that a tower takes at once, its special ones included."""
    stated = (read(name, inside(path, "sentence_bert_config.json")) or {}).get(
        "max_seq_length"
    )
    positions = getattr(config, "max_position_embeddings", None)
    most = LONGEST_WINDOW
    if isinstance(positions, int) and positions > RESERVED:
        padding = getattr(config, "pad_token_id", 0) or 0
        # towers like RoBERTa's count positions from behind their padding
        roberta = "roberta" in str(config.model_type) or "mpnet" in str(
            config.model_type
        )
        most = min(most, positions - (padding + 1 if roberta else 0))
    if isinstance(stated, int) and stated > RESERVED:
        most = min(most, stated) if isinstance(positions, int) else stated
    return int(most)


def prefix_of(name: str) -> str:
    """Words that the encoder was trained to find before every text; "" for none."""
    config = read(name, "config_sentence_transformers.json") or {}
    prompts = config.get("prompts")
    chosen = config.get("default_prompt_name")
    if isinstance(prompts, dict) and isinstance(chosen, str):
        prompt = prompts.get(chosen)
        return prompt[:500] if isinstance(prompt, str) else ""
    return ""
