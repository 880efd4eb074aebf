"""TaI-Adapter: the ranking loss, noise, the head, captions; planted errors on mosaics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.sets import WORDS, mosaics_of_digits, seen
from sklearn.metrics import roc_auc_score

from labelsieve.data.augment import region
from labelsieve.errors import OptionError
from labelsieve.features.task import Task
from labelsieve.methods import _captions
from labelsieve.methods.tai_adapter import Head, Settings, detect, perturbed, train
from labelsieve.models.load import load_encoder
from labelsieve.training.losses import set_ranking


def test_the_ranking_loss_by_hand_and_by_a_double_loop() -> None:
    three = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[True, False, False]])
    assert set_ranking(*three).tolist() == [0.0]
    two = torch.tensor([[0.0, 0.5]]), torch.tensor([[True, False]])
    assert set_ranking(*two).tolist() == [1.5]
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 5, generator=generator)
    present = torch.rand(6, 5, generator=generator) < 0.4
    kept = scores.clone()
    found = set_ranking(scores, present, margin=0.7)
    for row in range(6):
        total = 0.0
        for j in range(5):
            for i in range(5):
                if present[row, j] and not present[row, i]:
                    total += max(0.0, 0.7 - float(scores[row, j] - scores[row, i]))
        assert np.isclose(float(found[row]), total, atol=1e-5)
    # the authors' code multiplies its argument in place
    assert torch.equal(scores, kept)


def test_noise_is_seeded_as_long_as_asked_for_and_none_where_it_is_zero() -> None:
    features = torch.nn.functional.normalize(torch.randn(500, 64), dim=1)
    made = [perturbed(features, 3.0, torch.Generator().manual_seed(s)) for s in (1, 1)]
    assert torch.equal(*made)
    length = (made[0] - features).norm(dim=1).mean()
    assert abs(float(length) - 3.0) < 0.1
    assert perturbed(features, 0.0, torch.Generator()) is features


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def bags(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texts as noisy sums of class vectors, what they name, and the class vectors."""
    rng = np.random.default_rng(seed)
    names = unit(rng.normal(size=(6, 32)))
    present = rng.random((400, 6)) < 0.3
    present[np.arange(400), rng.integers(6, size=400)] = True
    texts = unit(present @ names + 0.3 * rng.normal(size=(400, 32)))
    return texts, present, names


def test_without_training_the_head_is_zero_shot_and_training_lowers_the_loss() -> None:
    texts, present, names = bags()
    start = train(texts, present, names, Settings(epochs=0), 0)
    with torch.no_grad():
        cosines = start(torch.from_numpy(texts)).numpy()
    assert np.allclose(cosines, texts @ names.T, atol=1e-5)
    learned = train(texts, present, names, Settings(epochs=30, batch_size=64), 0)
    named = torch.from_numpy(present)
    losses = []
    for head in (start, learned):
        with torch.no_grad():
            losses.append(
                float(set_ranking(4 * head(torch.from_numpy(texts)), named).mean())
            )
    assert losses[1] < 0.95 * losses[0]


def test_the_order_of_the_classes_does_not_matter() -> None:
    texts, present, names = bags()
    order = [3, 0, 5, 1, 4, 2]
    first = train(texts, present, names, Settings(epochs=2), 0)
    turned = train(texts, present[:, order], names[order], Settings(epochs=2), 0)
    with torch.no_grad():
        inputs = torch.from_numpy(texts)
        assert torch.allclose(first(inputs)[:, order], turned(inputs), atol=1e-5)


def test_the_head_judges_without_noise() -> None:
    names = torch.from_numpy(bags()[2])
    head = Head(names, 0.2, torch.Generator().manual_seed(0)).eval()
    inputs = torch.from_numpy(bags()[0])
    with torch.no_grad():
        assert torch.equal(head(inputs), head(inputs))


def test_a_region_is_that_part_of_the_picture() -> None:
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[:, :, :4, 4:] = 1.0
    # at the border half a pixel of the neighbour shines through
    assert region(pixels, 0.5, 0.0, 0.5)[..., :-1, 1:].min() > 0.99
    assert region(pixels, 0.0, 0.5, 0.5)[..., 1:, :-1].max() < 0.01
    assert torch.allclose(region(pixels, 0.0, 0.0, 1.0), pixels, atol=1e-5)


def test_dropped_and_added_labels_are_found(digits: Any) -> None:
    images, true, given = mosaics_of_digits(digits, 300)
    data = seen(images, given)
    found = detect(Task(data, load_encoder("tiny")), Settings(texts=500))
    keys = {key: number for number, key in enumerate(data.ids.to_pylist())}
    right = np.zeros(data.labels.shape, dtype=bool)
    for key, row in keys.items():
        number = int(key.rpartition("#")[0].removeprefix("row"))
        right[row] = [name in true[number] for name in data.classes]
    wrong = right != data.labels
    for part in (data.labels, ~data.labels):
        assert roc_auc_score(wrong[part], 1 - found.p_clean[part]) > 0.9
    # the words fit digits, so that most suggestions are the true sets
    assert (found.suggested == right).all(1).mean() > (~wrong.any(1)).mean()


# --- captions


def test_sentences_name_what_they_say_they_name() -> None:
    # no word of the sentences around them
    names = ("cat", "dog", "lion", "bee")
    texts, present = _captions.generate(names, 300, 3, 0)
    assert len(texts) == 300 and set(present.sum(1)) == {1, 2, 3}
    for text, named in zip(texts, present, strict=True):
        words = set(text.replace(",", " ").replace(".", " ").split())
        assert words & set(names) == {names[k] for k in np.flatnonzero(named)}
    again, _ = _captions.generate(names, 300, 3, 0)
    assert texts == again and texts != _captions.generate(names, 300, 3, 1)[0]


def test_captions_of_a_file_are_matched_with_the_longest_names_first(
    tmp_path: Path,
) -> None:
    file = tmp_path / "captions.txt"
    file.write_text(
        "A teddy bear on a chair\nTwo BEARS\n\nnothing of it\nchairs and a bearing\n"
    )
    texts, present = _captions.read(file, ("bear", "teddy bear", "chair"))
    assert texts == ["A teddy bear on a chair", "Two BEARS", "chairs and a bearing"]
    assert present.tolist() == [
        [False, True, True],
        [True, False, False],
        [False, False, True],
    ]
    with pytest.raises(OptionError, match=r"no line of .* names 'lion'"):
        _captions.read(file, ("bear", "lion"))
    with pytest.raises(OptionError, match="cannot be opened"):
        _captions.read(tmp_path / "gone.txt", ("bear",))
    file.write_bytes(b"\xff\xfe\x00bear")
    with pytest.raises(OptionError, match="not UTF-8"):
        _captions.read(file, ("bear",))


def test_captions_teach_the_head(tmp_path: Path, digits: Any) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("".join(f"a photo of {w}.\n" for w in WORDS))
    images, _, given = mosaics_of_digits(digits, 20)
    settings = Settings(captions=str(file), epochs=1)
    found = detect(Task(seen(images, given), load_encoder("tiny")), settings)
    assert found.facts["texts"].startswith("4 captions of ")
