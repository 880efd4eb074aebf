"""How a backbone is fine-tuned: the paper's recipe for its family, and what the user sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from labelsieve.classifiers.backbone import family_of
from labelsieve.settings import Above, AtLeast, AtMost, Below, Bounded, Share
from labelsieve.training.loop import Recipe

# Wei et al. 2024, section 4.1 (CLIP) and table 11 (other backbones); 10 epochs, momentum 0.9
# and a cosine schedule for all.
RECIPES: dict[str, dict[str, Any]] = {
    "clip": {"optimizer": "sgd", "lr": 5e-4, "weight_decay": 5e-4},
    "vit": {"optimizer": "sgd", "lr": 1e-2, "weight_decay": 1e-5},
    "resnet": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-5},
    "convnext": {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-4},
    "mae": {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-3},
    # ours: what BERT's authors searched (3e-5, 2 to 4 epochs; Devlin et al., NAACL 2019)
    "text": {
        "optimizer": "adamw",
        "lr": 3e-5,
        "weight_decay": 0.01,
        "epochs": 4,
        "batch_size": 32,
        "schedule": "smooth",
    },
    # logistic regression on frozen features, and nothing more
    "probe": {"tune": "head", "epochs": 0},
}


def recipe_name(checkpoint: str, wanted: str = "auto") -> str:
    """The name of the recipe for a checkpoint.

    Raises:
        ModelError: there is no such checkpoint.
    """
    if wanted != "auto":
        return wanted
    return str(family_of(checkpoint).recipe(checkpoint))


def mirrored(record: Mapping[str, Any]) -> bool:
    """Whether the scan of a record mirrored pictures: as it was told, or as it found out."""
    told = (record["command"].get("settings") or {}).get("mirror")
    found = record.get("method_facts", {}).get("mirror")
    # methods that have no such setting say nothing; photographs may be mirrored
    return next((bool(m) for m in (told, found) if m is not None), True)


@dataclass(frozen=True)
class Settings(Bounded):
    """How a backbone is trained; the recipe of its family comes first, then what the user sets.

    Raises:
        OptionError: a number that cannot be.
    """

    epochs: Annotated[int, AtLeast(0)] = 10
    batch_size: Annotated[int, AtLeast(1)] = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, AtLeast(0)] = 5e-4
    head_lr: Annotated[float | None, AtLeast(0)] = None  # auto: as lr
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    schedule: Literal["cosine", "smooth", "constant"] = "cosine"
    # largest norm of the gradient
    clip: Annotated[float | None, Above(0)] = None
    # parts a batch is computed in, to save memory
    accumulate: Annotated[int, AtLeast(1)] = 1
    # compute activations again for the gradient, to save memory
    checkpointing: bool = False
    # auto: blocks of a tower (the paper), else all; lora: a few numbers beside queries and values
    tune: Literal["blocks", "all", "head", "lora"] | None = None
    rank: Annotated[int, AtLeast(1)] = 8  # tune=lora
    # probe: the head begins as logistic regression on the training images; text: as the
    # zero-shot classifier; random: as in the paper
    head_start: Literal["probe", "text", "random"] = "probe"
    # auto: as the scan did
    mirror: bool | None = None
    # least share of a picture that a random crop keeps; 1 does not crop
    crop: Annotated[float, AtLeast(0.01), AtMost(1)] = 0.7
    # of these images, kept aside to choose the epoch on; 0: none, the last epoch is kept
    val_share: Annotated[float, AtLeast(0), AtMost(0.5)] = 0.1
    # what is kept aside: unflagged labels, fewer of them wrong; or a fair part of all given ones
    validate: Literal["clean", "given"] = "clean"
    # which epoch is saved, 0 being the start; both: the last one in a folder below
    keep: Literal["chosen", "last", "both"] = "chosen"
    # stop after so many epochs without a better one; auto: never
    patience: Annotated[int | None, AtLeast(1)] = None
    # use=gmm, loss=memory: epochs that trust every label
    warmup_epochs: Annotated[int, AtLeast(0)] = 1
    # The defaults of these five are those of DeFT's code: loss=sce,
    sce_alpha: Annotated[float, AtLeast(0)] = 1.0
    sce_beta: Annotated[float, AtLeast(0)] = 1.0
    # loss=elr,
    elr_momentum: Annotated[float, Share()] = 0.3
    elr_strength: Annotated[float, AtLeast(0)] = 5.0
    # loss=gce
    gce_q: Annotated[float, Above(0), Share()] = 0.7
    # loss=memory (`labelsieve.classifiers.trainers.memory`): regions of a class, a, τ, θ, λ1, λ2
    memory_per_class: Annotated[int, AtLeast(1)] = 8
    memory_momentum: Annotated[float, AtLeast(0), Below(1)] = 0.95
    memory_temperature: Annotated[float, Above(0)] = 0.1
    memory_keep: Annotated[float, Share()] = 0.5
    memory_refine: Annotated[float, AtLeast(0)] = 0.3
    memory_denoise: Annotated[float, AtLeast(0)] = 0.0
    # recipe=capro (`labelsieve.classifiers.trainers.capro`): the first epoch with prototypes, and
    # with corrected labels; α, β, γ, τ, m of the slow copy, m of prototypes, d, Q
    capro_prototypes: Annotated[int, AtLeast(0)] = 1
    capro_clean: Annotated[int, AtLeast(0)] = 2
    capro_alpha: Annotated[float, Share()] = 0.5
    capro_beta: Annotated[float, Share()] = 0.1
    capro_sure: Annotated[float, Share()] = 0.6
    capro_temperature: Annotated[float, Above(0)] = 0.1
    capro_momentum: Annotated[float, Share()] = 0.999
    capro_polish: Annotated[float, Share()] = 0.999
    capro_width: Annotated[int, AtLeast(1)] = 128
    capro_queue: Annotated[int, AtLeast(1)] = 2048
    # of the layers that it adds, which begin at random
    capro_lr: Annotated[float, AtLeast(0)] = 0.01
    # regulariser=context-vat (`labelsieve.training.context_vat`): its weight, the length of the
    # step relative to what the head is given, and how its direction is found
    vat_weight: Annotated[float, AtLeast(0)] = 1.0
    vat_size: Annotated[float, AtLeast(0)] = 1.0
    vat_probe: Annotated[float, Above(0)] = 0.1
    vat_steps: Annotated[int, AtLeast(1)] = 1

    def recipe(self) -> Recipe:
        """How it is optimised."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            accumulate=self.accumulate,
            clip=self.clip,
        )
