"""What a method works on: the data, the model, the seed, and a place for checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labelsieve.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Workplace:
    """What a method may use of the run: a folder for checkpoints and its detector, and the seed."""

    folder: Path
    seed: int
    fingerprint: (
        str  # of data, model and settings; a checkpoint of another one is not used
    )

    def checkpoint(self, name: str) -> Checkpoint:
        return Checkpoint(
            self.folder / "checkpoints" / f"{name}.safetensors", self.fingerprint
        )
