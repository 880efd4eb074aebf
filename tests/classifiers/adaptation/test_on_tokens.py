"""Prompt tokens that take a step on one picture: what moves, what does not, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from labelsieve.classifiers.adaptation._examples import features
from labelsieve.classifiers.adaptation.on_tokens import OnTokens, Settings, translate
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.predict import predict
from labelsieve.classifiers.train import train
from labelsieve.errors import OptionError
from labelsieve.features.in_context import marginal_entropy
from labelsieve.runs.run import Run

CPU = {"device": "cpu", "precision": "float32"}
TOKENS = "in-context-tokens"


@pytest.fixture(scope="module")
def trained(
    planted_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Path]:
    """A run, and a classifier taken from the model that judged it."""
    folder = tmp_path_factory.mktemp("tokens") / "model"
    how = {"epochs": 1, "batch_size": 16, "tune": "all"}
    train(planted_base / "run", student="tiny", output=folder, settings=how, **CPU)
    return Run(planted_base / "run"), folder


@pytest.fixture()
def opened(trained: tuple[Run, Path]) -> Classifier:
    return Classifier.from_pretrained(trained[1], **CPU)


@pytest.fixture()
def views(opened: Classifier) -> Tensor:
    size = opened.preprocess
    generator = torch.Generator().manual_seed(3)
    return torch.randn(6, 3, size.height, size.width, generator=generator)


def asked(opened: Classifier, run: Run, **settings: Any) -> OnTokens:
    assert opened.backbone.linear is not None
    return OnTokens(opened, opened.backbone.linear, run, Settings(**settings))


def test_the_classifiers_own_tower_answers(
    opened: Classifier, trained: tuple[Run, Path], views: Tensor
) -> None:
    head = opened.backbone.linear
    assert head is not None
    own = asked(opened, trained[0], shots=0)
    seen = features(opened, head, views)
    # fine-tuned, it is no longer that of the scan
    torch.testing.assert_close(own._encoder.image_pooled(views), seen)


def test_a_step_of_each_kind_lowers_the_loss_and_leaves_the_towers_alone(
    opened: Classifier, trained: tuple[Run, Path], views: Tensor
) -> None:
    own = asked(opened, trained[0], lr=0.01, shots=2)
    weights = {k: v.clone() for k, v in own._encoder.model.state_dict().items()}
    rivals = torch.tensor([2, 0])
    rows, classes = own.examples.drawn("x", [2, 0])
    shown = torch.cat([views, own.examples.ready(rows)])
    labels = torch.from_numpy(classes)

    def loss(visual: Tensor, textual: Tensor) -> float:
        with torch.no_grad():
            answers = own._logits(shown, visual, textual, rivals)
        wrong = F.cross_entropy(answers[6:], labels)
        return float(marginal_entropy(answers[None, :6])[0] + 0.4 * wrong)

    before = loss(own._beside, own._words)
    visual = own._step(own._beside, own._words, shown, labels, rivals, True)
    middle = loss(visual, own._words)
    textual = own._step(visual, own._words, shown, labels, rivals, False)
    assert before > middle > loss(visual, textual)
    # by a share of their size, as AdamW's first step is as long in each number
    size = float(own._words.square().mean().sqrt())
    step = float((textual - own._words).abs().max())
    assert step == pytest.approx(0.01 * size, rel=1e-3)
    after = own._encoder.model.state_dict()
    assert all(torch.equal(weights[k], after[k]) for k in weights)
    assert all(p.grad is None for p in own._encoder.model.parameters())


def test_texts_move_the_classes_that_compete_and_no_other(
    opened: Classifier, trained: tuple[Run, Path], views: Tensor
) -> None:
    own = asked(opened, trained[0], shots=0)
    rivals = torch.tensor([1, 3])
    moved = own._words.flip(0)  # other words, so to speak
    still = own._logits(views, own._beside, own._words, rivals)
    found = own._logits(views, own._beside, moved, rivals)
    changed = (found - still).abs().amax(0) > 1e-6
    assert changed.tolist() == [False, True, False, True]


def test_a_head_that_is_the_class_texts_has_the_logits_of_moved_texts(
    opened: Classifier, trained: tuple[Run, Path], views: Tensor
) -> None:
    own = asked(opened, trained[0], shots=0)
    moved = own._words.flip(0)  # other words, so to speak
    pooled = own._encoder.image_pooled(views, [own._beside])
    common = F.normalize(own._encoder.project_image(pooled), dim=1)
    everyone = torch.arange(4)
    own._weight, own._bias = 50 * own._texts(own._words, everyone), torch.zeros(4)
    own._lengths = own._weight.norm(dim=1)
    object.__setattr__(opened.backbone, "common", True)
    found = own._logits(views, own._beside, moved, everyone)
    expected = 50 * common @ own._texts(moved, everyone).T
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_answers_depend_on_nothing_else_and_are_forgotten(
    trained: tuple[Run, Path], digits: Any
) -> None:
    run, model = trained
    pictures = list(digits[0][:3])
    settings = {"views": 4, "shots": 1}
    words = {"adapt": TOKENS, "context": run, "settings": settings, **CPU}
    found = predict(model, pictures, **words)
    backward = predict(model, pictures[::-1], **words)
    share = found["probability"].to_pylist()
    reversed_ = backward["probability"].to_pylist()[::-1]
    np.testing.assert_allclose(reversed_, share, atol=1e-5)
    plain = predict(model, pictures, **CPU)
    assert found["before"].to_pylist() == plain["label"].to_pylist()
    still = predict(model, pictures, **{**words, "settings": {**settings, "lr": 0.0}})
    assert not np.allclose(share, still["probability"])


def test_tokens_begin_as_a_gray_patch_with_a_direction_of_their_own(
    opened: Classifier, trained: tuple[Run, Path], views: Tensor
) -> None:
    own = asked(opened, trained[0], shots=0)
    encoder, words = own._encoder, own._words
    start = translate(words, encoder)
    assert start.shape == (len(words), encoder.image_width)
    assert torch.equal(start, translate(words, encoder))
    gray = torch.full((1, 3, *views.shape[2:]), 128, dtype=torch.uint8)
    patches = encoder.image_start(encoder.normalise(gray))[0, 1:]
    away = start - patches.mean(0)
    assert float(away.std() / patches.mean(0).std()) == pytest.approx(0.1, rel=1e-3)
    # "a" stands twice in "a photo of a"
    assert torch.equal(away[0], away[3])
    assert torch.linalg.matrix_rank(away, rtol=1e-3) == 3
    # sizes of words do not matter, their directions do
    torch.testing.assert_close(translate(2 * words, encoder), start)


def test_tokens_that_stay_hardly_change_what_is_seen(
    opened: Classifier, trained: tuple[Run, Path], digits: Any
) -> None:
    own = asked(opened, trained[0], shots=0)
    encoder = own._encoder
    pixels = torch.from_numpy(np.stack(digits[0][:32]).astype(np.float32))
    size = (opened.preprocess.height, opened.preprocess.width)
    shown = F.interpolate(pixels.reshape(32, 1, *pixels.shape[1:3]), size)
    shown = encoder.normalise(255 * (shown / shown.max()).expand(-1, 3, -1, -1))
    plain = encoder.image_pooled(shown)
    beside = encoder.image_pooled(shown, [own._beside])
    assert float(F.cosine_similarity(plain, beside).min()) > 0.9


def test_a_classifier_of_another_model_is_refused_in_one_line(
    trained: tuple[Run, Path], random_clip: Any, digits: Any, tmp_path: Path
) -> None:
    run, _ = trained
    other = tmp_path / "other"
    how = {"epochs": 0, "batch_size": 16}
    train(run.folder, student=str(random_clip()), output=other, settings=how, **CPU)
    words = {"adapt": TOKENS, "context": run, **CPU}
    with pytest.raises(OptionError, match=r"image tower of 'tiny'.*in-context"):
        predict(other, list(digits[0][:1]), **words)
    with pytest.raises(OptionError, match="lr"):
        predict(other, list(digits[0][:1]), **words, settings={"lr": -1})
