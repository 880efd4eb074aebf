"""The model card, in Hugging Face's form.

What a classifier was trained on, how, and how good it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsieve.runs.run import Run

TEMPLATE = Path(__file__).parent.parent / "assets" / "model_card.md.j2"
# How the card says what --use chose.
USES = {
    "clean": "the labels that the scan did not flag",
    "clean+relabelled": "the labels that the scan did not flag, and confident suggestions "
    "in place of flagged ones",
    "certified": "the labels that a random audit promises to be right, but for a share that "
    "was chosen beforehand",
    "all": "every given label, flagged or not (a baseline)",
    "weighted": "every given label, each weighed by the probability that it is right",
    "gmm": "before each epoch, the labels whose loss belongs to the lower of two Gaussians "
    "(a baseline)",
}


def write(opened: Run, record: Mapping[str, Any]) -> str:
    """The card, Markdown with a YAML head. No path of this machine is in it, only the
    names of files and folders.

    Args:
        opened: the run that was trained on.
        record: of the training (`training.json`).
    """
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, StrictUndefined

    command = record["command"]
    noun = record["figures"]["validation"]["noun"]
    task = f"{noun}-classification"
    tags = [task, "label-noise", "labelsieve"]
    # the hub links to the model that was fine-tuned, where it is one of the hub's
    checkpoint = command["student"]
    of_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint) is not None
    local = checkpoint == "tiny" or Path(checkpoint).exists() or not of_hub
    head = ModelCardData(
        library_name="labelsieve",
        pipeline_tag=task,
        tags=tags,
        base_model=None if local else checkpoint,
    )
    page = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    scanned = opened.record["command"]
    return page.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        head=head.to_yaml(),
        noun=noun,
        example="a text" if noun == "text" else "picture.jpg",
        record=record,
        command=command,
        scan=scanned,
        noise=opened.noise,
        use=USES[command["use"]],
        data=Path(scanned["data"]).name,
        student=_base_name(command["student"]),
        model=_base_name(scanned["model"]),
        settings=command["settings"],
        figures=record["figures"],
    )


def _base_name(checkpoint: str) -> str:
    # torchvision:resnet18/folder/weights.safetensors names a path behind the architecture
    library, mark, rest = checkpoint.partition(":")
    if mark and Path(rest.partition("/")[2] or rest).exists():
        return f"{library}:{Path(rest).name}"
    return Path(checkpoint).name if Path(checkpoint).exists() else checkpoint
