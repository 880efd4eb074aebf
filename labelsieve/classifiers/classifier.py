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

from labelsieve.classifiers import pretrained
from labelsieve.classifiers.backbone import Backbone, logits_of
from labelsieve.data.batches import batches
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.files import replacing
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.training.loop import is_memory_error, reason_of

BATCH = 256  # pictures at once; a ViT-B/16 takes about 2 GB for them
CARD = "README.md"  # where the hub looks for it


class Classifier:
    """A classifier of images or texts.

    Attributes:
        classes: names, in the order of the probabilities.
        preprocess: how items are prepared.
        card: the model card, Markdown.

    Example:
        >>> classifier = Classifier.from_pretrained("run/classifier")  # doctest: +SKIP
        >>> classifier.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: Sequence[str],
        card: str = "",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.classes, self.card = list(classes), card
        self.preprocess = backbone.preprocess
        self.backbone = backbone
        self.dtype = dtype
        self.device = next(backbone.model.parameters()).device

    @classmethod
    def from_pretrained(
        cls, where: str | Path, *, device: str = "auto", precision: str = "auto"
    ) -> Classifier:
        """Open what `labelsieve train` wrote, or any classifier of images or texts of
        transformers, by directory or hub id.

        Raises:
            ModelError: there is none, or it is damaged.
            OptionError: no such device or precision.
        """
        # before weights are read: a mistake is told at once
        chosen = choose_device(device)
        backbone, classes = pretrained.open_saved(str(where), device=chosen)
        card = Path(where) / CARD
        text = ""
        if card.is_file():
            # prose of whoever shared the model: it decides nothing, and need not be UTF-8
            text = card.read_text(encoding="utf-8", errors="replace")
        return cls(backbone, classes, text, dtype=choose_precision(precision, chosen))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration, preprocessing and card."""
        target = Path(folder)
        pretrained.save(self.backbone, self.classes, target)
        if self.card:
            with replacing(target / CARD) as scratch:
                scratch.write_text(self.card, encoding="utf-8")

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
        """[n, k] float32 class probabilities; NaN where an item cannot be read.

        Args:
            images: paths, encoded bytes, pictures or arrays; for classifiers that read: texts,
                their bytes, or `pathlib.Path` objects of files.
        """
        inputs = self.backbone.inputs
        probs = np.full((len(images), len(self.classes)), np.nan, dtype=np.float32)
        for part in batches(len(images), batch_size, None):
            rows, pictures = [], []
            for row in part:
                picture = inputs.read(images[row])
                if picture is not None:
                    rows.append(row)
                    pictures.append(picture)
            if rows:  # there may be none that can be read
                probs[rows] = self.probabilities(inputs.together(pictures))
        return probs

    def predict(
        self, images: Sequence[Any], *, batch_size: int = BATCH
    ) -> list[str | None]:
        """The most probable class of each item; None where it cannot be read."""
        # text is a sequence, too, of letters
        if isinstance(images, str | Path):
            kind = self.backbone.inputs.noun
            shown = str(images)[:60]
            raise OptionError(
                f"predict takes a list of {kind}s, not '{shown}'.",
                f"Use predict(['{shown}']).",
            )
        labels: list[str | None] = []
        for row in self.predict_proba(images, batch_size=batch_size):
            # a picture that cannot be read has no probabilities
            unread = np.isnan(row[0])
            labels.append(None if unread else self.classes[int(row.argmax())])
        return labels

    def probabilities(self, given: Any) -> np.ndarray:
        """What `Dataset.inputs` gives, such as uint8 [b, 3, height, width] -> [b, k] float32.

        Raises:
            LabelsieveError: the device's memory is too small for so many at once.
        """
        with too_much(
            "Try a smaller --batch-size, --precision bfloat16, or --device cpu."
        ):
            return self.logits(given).softmax(1).cpu().numpy()

    @torch.no_grad()
    def logits(self, given: Any) -> Tensor:
        """As `probabilities`, before the softmax: [b, k] float32 on the model's device."""
        self.backbone.model.eval()  # no dropout, and the running statistics
        inputs = self.backbone.inputs.ready(given, self.device)
        lower = self.dtype != torch.float32
        # weights stay float32; only products are computed lower
        with torch.autocast(self.device.type, self.dtype, enabled=lower):
            return logits_of(self.backbone.model, inputs).float()


@contextmanager
def too_much(help: str) -> Iterator[None]:
    """A device that ran out of memory, as one line that says what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_memory_error(error):
            raise  # a fault of ours, which must not be blamed on memory
        raise LabelsieveError(
            f"The memory of the device is too small: {reason_of(error)}.", help
        ) from error
