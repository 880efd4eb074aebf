"""Asking a saved model: probabilities, tables, figures, and how it travels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import labelsieve
from labelsieve.classifiers import backbone
from labelsieve.classifiers.classifier import Classifier
from labelsieve.errors import LabelsieveError, OptionError
from labelsieve.models import encoder

CLASSES = ["zero", "one", "two", "three"]


def naive(opened: Classifier, picture: Image.Image) -> np.ndarray:
    """Softmax of the student's logits of one picture."""
    pixels = torch.from_numpy(opened.preprocess(picture.convert("RGB")).copy()).permute(
        2, 0, 1
    )[None]
    with torch.no_grad():
        logits = backbone.logits_of(
            opened.backbone.model,
            encoder.normalise(pixels, opened.preprocess, opened.device),
        )
    values = np.exp(logits[0].double().numpy())
    return values / values.sum()


def test_pictures_of_every_kind(
    opened: Classifier, digits: Any, encode: Any, tmp_path: Path
) -> None:
    images = digits[0][:4]
    (tmp_path / "a.png").write_bytes(encode(images[0]))
    given = [
        tmp_path / "a.png",
        encode(images[1]),
        images[2],
        b"no picture",
        Image.fromarray(images[3]),
    ]
    probs = opened.predict_proba(given, batch_size=2)
    for row, number in ((0, 0), (1, 1), (2, 2), (4, 3)):
        assert probs[row] == pytest.approx(
            naive(opened, Image.fromarray(images[number])), abs=1e-5
        )
    assert np.isnan(probs[3]).all() and probs.dtype == np.float32
    labels = opened.predict(given)
    assert labels[3] is None
    assert [labels[i] for i in (0, 1, 2, 4)] == [
        CLASSES[probs[i].argmax()] for i in (0, 1, 2, 4)
    ]
    assert opened.predict([]) == []
    with pytest.raises(OptionError, match=r"takes a list of images"):
        opened.predict("a.png")  # type: ignore[arg-type]


def test_saved_and_opened_again_is_the_same(
    opened: Classifier, digits: Any, tmp_path: Path
) -> None:
    opened.save_pretrained(tmp_path)
    again = labelsieve.Classifier.from_pretrained(
        tmp_path, device="cpu", precision="float32"
    )
    assert again.card == "# a card\n" and again.classes == CLASSES
    assert np.array_equal(
        again.predict_proba(digits[0][:8]), opened.predict_proba(digits[0][:8])
    )


def test_too_little_memory_says_what_helps(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(pixels: torch.Tensor) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(opened.backbone.model, "forward", full)
    with pytest.raises(LabelsieveError, match="smaller --batch-size"):
        opened.predict_proba([np.zeros((8, 8), dtype=np.uint8)])


def test_too_little_memory_of_the_machine_says_so_too(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        opened.backbone.model, "forward", lambda pixels: torch.empty(2**55)
    )
    with pytest.raises(
        LabelsieveError,
        match=r"memory of the device is too small: .*smaller --batch-size",
    ):
        opened.predict_proba([np.zeros((8, 8), dtype=np.uint8)])


def test_only_the_model_is_pushed(
    opened: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's two calls are taken down; everything before them is real."""
    import huggingface_hub

    asked: dict[str, Any] = {}

    def upload(**options: Any) -> str:
        asked["files"] = sorted(p.name for p in Path(options["folder_path"]).iterdir())
        asked["repo"] = options["repo_id"]
        return "address"

    monkeypatch.setattr(
        huggingface_hub,
        "create_repo",
        lambda repo, **options: asked.update(created=(repo, options)),
    )
    monkeypatch.setattr(huggingface_hub, "upload_folder", upload)
    assert opened.push_to_hub("me/mine", token="secret") == "address"
    assert asked["created"] == (
        "me/mine",
        {"private": True, "token": "secret", "exist_ok": True},
    )
    assert asked["files"] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_a_push_without_network_is_one_line(opened: Classifier) -> None:
    with pytest.raises(LabelsieveError, match="'me/mine' cannot be uploaded") as caught:
        opened.push_to_hub("me/mine")
    assert "\n" not in str(caught.value)


def test_a_card_that_is_not_utf8_is_no_obstacle(
    opened: Classifier, tmp_path: Path
) -> None:
    opened.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "README.md").write_bytes(b"# caf\xe9")
    again = Classifier.from_pretrained(tmp_path / "m", device="cpu")
    assert again.card == "# caf\ufffd" and again.classes == opened.classes
