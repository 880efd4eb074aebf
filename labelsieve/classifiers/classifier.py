"""The trained model: opened from a directory or the hub, asked for labels, judged against
the truth, saved and shared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

pass
from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.backbone import Student
from labelsieve.data.images import decode, from_object, read_bytes
from labelsieve.errors import ImageError, LabelsieveError, OptionError
from labelsieve.models import encoder
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.training.loop import is_memory_error, reason_of

BATCH = 256
CARD = "README.md"


class Classifier:
    """An image classifier.

    Attributes:
        classes: names, in the order of the probabilities.
        preprocess: how pictures are prepared.
        card: the model card, Markdown.

    Example:
        >>> classifier = Classifier.from_pretrained("run/classifier")  # doctest: +SKIP
        >>> classifier.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        student: Student,
        classes: Sequence[str],
        card: str = "",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.classes, self.card = list(classes), card
        self.preprocess = student.preprocess
        self.student = student
        self.dtype = dtype
        self.device = next(student.model.parameters()).device

    @classmethod
    def from_pretrained(
        cls, where: str | Path, *, device: str = "auto", precision: str = "auto"
    ) -> Classifier:
        """Open what `labelsieve train` wrote, or any image classifier of transformers, by
        directory or hub id.

        Raises:
            ModelError: there is none, or it is damaged.
            OptionError: no such device or precision.
        """
        chosen = choose_device(device)
        student, classes = pretrained.open_saved(str(where), device=chosen)
        card = Path(where) / CARD
        text = card.read_text(encoding="utf-8") if card.is_file() else ""
        return cls(student, classes, text, dtype=choose_precision(precision, chosen))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration, preprocessing and card."""
        target = Path(folder)
        pretrained.save(self.student, self.classes, target)
        if self.card:
            (target / CARD).write_text(self.card, encoding="utf-8")

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, token: str | None = None
    ) -> str:
        """Upload to the Hugging Face hub; gives the address. Nothing but what
        `save_pretrained` writes leaves the machine.

        Raises:
            LabelsieveError: no network, not signed in, or not allowed to.
        """
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError

        try:
            huggingface_hub.create_repo(
                repo_id, private=private, token=token, exist_ok=True
            )
            with tempfile.TemporaryDirectory(prefix="labelsieve-") as folder:
                self.save_pretrained(folder)
                done = huggingface_hub.upload_folder(
                    repo_id=repo_id, folder_path=folder, token=token
                )
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise LabelsieveError(
                f"'{repo_id}' cannot be uploaded: {reason}.",
                "Check the network and sign in with hf auth login.",
            ) from error
        return str(done)

    def predict_proba(
        self, images: Sequence[Any], *, batch_size: int = BATCH
    ) -> np.ndarray:
        """[n, k] float32 class probabilities; NaN where a picture cannot be read.

        Args:
            images: paths, encoded bytes, pictures or arrays.
        """
        probs = np.full((len(images), len(self.classes)), np.nan, dtype=np.float32)
        for start in range(0, len(images), batch_size):
            read = {
                i: self._read(images[i])
                for i in range(start, min(start + batch_size, len(images)))
            }
            rows = [i for i, pixels in read.items() if pixels is not None]
            if rows:
                pixels = torch.from_numpy(np.stack([read[i] for i in rows])).permute(
                    0, 3, 1, 2
                )  # type: ignore[misc]
                probs[rows] = self.probabilities(pixels)
        return probs

    def predict(
        self, images: Sequence[Any], *, batch_size: int = BATCH
    ) -> list[str | None]:
        """The most probable class of each picture; None where it cannot be read."""
        if isinstance(images, str | Path):
            raise OptionError(
                f"predict takes a list of pictures, not '{images}'.",
                f"Use predict(['{images}']).",
            )
        probs = self.predict_proba(images, batch_size=batch_size)
        return [
            None if np.isnan(row[0]) else self.classes[int(row.argmax())]
            for row in probs
        ]

    def probabilities(self, pixels: Tensor) -> np.ndarray:
        """uint8 [b, 3, height, width], resized already -> [b, k] float32.

        Raises:
            LabelsieveError: the device's memory is too small for so many at once.
        """
        with too_much(
            "Try a smaller --batch-size, --precision bfloat16, or --device cpu."
        ):
            return self.logits(pixels).softmax(1).cpu().numpy()

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """As `probabilities`, before the softmax: [b, k] float32 on the model's device."""
        self.student.model.eval()
        inputs = encoder.normalise(pixels, self.preprocess, self.device)
        with torch.autocast(
            self.device.type, self.dtype, enabled=self.dtype != torch.float32
        ):
            return backbone.logits_of(self.student.model, inputs).float()

    def _read(self, item: Any) -> np.ndarray | None:
        try:
            encoded = isinstance(item, bytes | bytearray | memoryview | str | Path)
            picture = (
                decode(read_bytes(item), self.preprocess.about)
                if encoded
                else from_object(item)
            )
        except ImageError:
            return None
        return self.preprocess(picture)


@contextmanager
def too_much(help: str) -> Iterator[None]:
    """A device that ran out of memory, as one line that says what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise
        raise LabelsieveError(
            f"The memory of the device is too small: {reason_of(error)}.", help
        ) from error
