"""DeFT's arithmetic against recordings of the authors' own code, and a slow plain version of it.

The recordings lie beside the repository (`../shared/parity`) or in LABELSIEVE_PARITY_DIR: a CLIP
checkpoint in `clip/` and `deft.npz`. Nothing here knows their sizes. The plain version needs no
files: whole prompts, concatenated visual prompts, a loop over images, torch's SGD.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.dataset import Dataset, prompt_name
from labelsieve.data.images import CLIP_MEAN, CLIP_STD
from labelsieve.features.task import Task
from labelsieve.methods import deft
from labelsieve.methods._dual_prompts import Detector, Step, complementary_labels
from labelsieve.models import adapters
from labelsieve.models.load import load_encoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.training.loop import (
    Problem,
    Recipe,
    epoch_order,
    fit,
    make_optimizer,
    step_generator,
)

CLOSE = 1e-4  # relative, float32


def up_to_end(ids: np.ndarray) -> list[int]:
    """Ids of one recorded prompt up to its end token, which has the largest id."""
    return [int(i) for i in ids[: int(ids.argmax()) + 1]]


class RecordedTokenizer:
    """Gives the recorded ids of the recorded texts; the checkpoint has no tokenizer files."""

    def __init__(self, recording: dict[str, np.ndarray]) -> None:
        self.ids: dict[str, list[int]] = {}
        context = len(recording["pos_context"])
        rows = zip(
            recording["class_names"],
            recording["prompt_token_ids"],
            recording["zero_shot_token_ids"],
            strict=True,
        )
        for name, prompt, plain in rows:
            words = up_to_end(prompt)
            self.ids[f"{prompt_name(str(name))}."] = words[:1] + words[1 + context :]
            self.ids[f"a photo of a {prompt_name(str(name))}."] = up_to_end(plain)

    def __call__(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(input_ids=self.ids[text])


@pytest.fixture(scope="module")
def recorded_encoder(recording: dict[str, np.ndarray], parity_folder: Path) -> Any:
    encoder = load_encoder(str(parity_folder / "clip"))
    encoder.tokenizer = RecordedTokenizer(recording)
    return encoder


def visual(prompts: torch.Tensor) -> adapters.Tuning:
    parameter = nn.Parameter(prompts.clone())
    return adapters.Tuning({"visual_prompts": parameter}, parameter)


@pytest.fixture(scope="module")
def replay(recording: dict[str, np.ndarray], recorded_encoder: Any) -> SimpleNamespace:
    """The recorded training, done again: every step, the first gradients and what is learned."""
    names = [prompt_name(str(n)) for n in recording["class_names"]]
    contexts = torch.stack(
        [torch.tensor(recording[f"{side}_context"]) for side in ("pos", "neg")]
    )
    tokens = recorded_encoder.class_tokens(names, contexts.shape[1])
    tuned = visual(torch.tensor(recording["visual_prompts"]))
    detector = Detector(recorded_encoder, tokens, DualPrompts(contexts), tuned)
    images, labels, others = (
        torch.tensor(recording[k]) for k in ("images", "labels", "complementary_labels")
    )
    steps: list[Step] = []

    def loss_of(batch: Any, loaded: Any) -> torch.Tensor:
        selecting = batch.step >= int(recording["warmup_steps"])
        step = detector.step(
            images[batch.step],
            labels[batch.step],
            others[batch.step],
            selecting=selecting,
        )
        steps.append(step)
        return step.loss

    first = detector.step(
        images[0], labels[0], others[0], selecting=int(recording["warmup_steps"]) == 0
    )
    grad = torch.autograd.grad(first.loss, list(detector.parameters().values()))
    recipe = Recipe(
        epochs=1,
        batch_size=1,
        lr=float(recording["lr"]),
        optimizer="sgd",
        momentum=float(recording["momentum"]),
        weight_decay=float(recording["weight_decay"]),
        schedule="constant",
    )
    fit(
        Problem(
            detector.parameters(), np.arange(len(images)), lambda rows: rows, loss_of
        ),
        recipe,
        seed=0,
    )
    return SimpleNamespace(
        steps=steps,
        grad=dict(zip(detector.parameters(), grad, strict=True)),
        detector=detector,
    )


def selected_by_the_authors(
    recording: dict[str, np.ndarray], number: int
) -> np.ndarray:
    """[b] bool, what phase 1 selected.

    Where no p_clean is above a half, the recording marks every row, for phase 2 trains on all of
    them then; phase 1 selected none, as its loss, the mean over nothing, shows.
    """
    marked, nothing = (
        recording["selected"][number],
        not (recording["p_clean"][number] > 0.5).any(),
    )
    assert not nothing or marked.all() or not marked.any()
    return np.zeros_like(marked) if nothing else marked


class TestRecordings:
    def test_zero_shot_logits(
        self, recording: dict[str, np.ndarray], recorded_encoder: Any, distance: Any
    ) -> None:
        texts = [
            f"a photo of a {prompt_name(str(n))}." for n in recording["class_names"]
        ]
        with torch.no_grad():
            pictures = recorded_encoder.image_features(
                torch.tensor(recording["images"][0])
            )
            logits = (
                recorded_encoder.logit_scale
                * pictures
                @ recorded_encoder.text_features(texts).T
            )
        assert distance(logits, recording["zero_shot_logits"]) < CLOSE

    def test_first_gradients(
        self, recording: dict[str, np.ndarray], replay: SimpleNamespace, distance: Any
    ) -> None:
        positive, negative = replay.grad["contexts"]
        assert distance(positive, recording["grad0_pos_context"]) < CLOSE
        assert distance(negative, recording["grad0_neg_context"]) < CLOSE
        for ours, theirs in zip(
            replay.grad["visual_prompts"],
            recording["grad0_visual_prompts"],
            strict=True,
        ):
            assert distance(ours, theirs) < CLOSE

    def test_every_step(
        self, recording: dict[str, np.ndarray], replay: SimpleNamespace, distance: Any
    ) -> None:
        assert len(replay.steps) == len(recording["images"])
        for number, step in enumerate(replay.steps):
            assert distance(step.positive, recording["logits_pos"][number]) < CLOSE
            assert distance(step.negative, recording["logits_neg"][number]) < CLOSE
            assert distance(step.p_clean, recording["p_clean"][number]) < CLOSE
            clear = (
                np.abs(recording["p_clean"][number] - 0.5) > CLOSE
            )  # rounding may decide the others
            assert np.array_equal(
                step.selected.numpy()[clear],
                selected_by_the_authors(recording, number)[clear],
            )

    def test_losses(
        self, recording: dict[str, np.ndarray], replay: SimpleNamespace, distance: Any
    ) -> None:
        for number, step in enumerate(replay.steps):
            class_loss, total = (
                recording["loss_cls"][number],
                recording["loss_total"][number],
            )
            if np.isnan(class_loss):  # the authors' mean over nothing
                assert not step.selected.any() and step.loss_class == 0
                total = recording["loss_neg"][number]
            else:
                assert distance(step.loss_class, class_loss) < CLOSE
            assert distance(step.loss_dual, recording["loss_neg"][number]) < CLOSE
            assert distance(step.loss, total) < CLOSE

    def test_what_is_learned(
        self, recording: dict[str, np.ndarray], replay: SimpleNamespace, distance: Any
    ) -> None:
        """Also the way from the start, so that a small step cannot hide behind a large start."""
        parameters = replay.detector.parameters()
        learned = {
            "pos_context": parameters["contexts"][0],
            "neg_context": parameters["contexts"][1],
            "visual_prompts": parameters["visual_prompts"],
        }
        for name, ours in learned.items():
            start, end = recording[name], recording[f"final_{name}"]
            assert distance(ours, end) < CLOSE
            assert distance(ours.detach().numpy() - start, end - start) < 10 * CLOSE


NAMES = ("cat", "a very long name indeed", "dog", "x", "red panda")


def plain_step(
    positive: torch.Tensor,
    negative: torch.Tensor,
    labels: list[int],
    others: list[int],
    *,
    selecting: bool,
    rule: str,
) -> Step:
    """The losses of one step, image by image and class by class (paper, section 3)."""
    p_clean, selected, class_losses, dual_losses = [], [], [], []
    for i, y in enumerate(labels):
        pairs = [
            torch.stack([positive[i, k].detach(), negative[i, k]]).softmax(0)
            for k in range(positive.shape[1])
        ]
        p_yes, p_no = (
            torch.stack([p[0] for p in pairs]),
            torch.stack([p[1] for p in pairs]),
        )
        chosen = bool(p_yes[y] > 0.5) and (rule != "real" or int(p_yes.argmax()) == y)
        probs, target = positive[i].softmax(0), y
        if selecting and not chosen:
            target = int(positive[i].argmax())
        else:
            loss = -probs[y].log()
            if (
                rule == "real" and not selecting
            ):  # symmetric: also the cross-entropy the other way round
                one_hot = torch.tensor(
                    [1.0 if k == y else 1e-4 for k in range(len(probs))]
                )
                loss = loss - (probs * one_hot.log()).sum()
            class_losses.append(loss)
        dual_losses.append(
            -p_no[others[i]].clamp(min=1e-5).log() - p_yes[target].clamp(min=1e-5).log()
        )
        p_clean.append(p_yes[y].detach())
        selected.append(chosen)
    # Nothing chosen: a zero gradient, not none; momentum and weight decay go on.
    loss_class = (
        torch.stack(class_losses).mean() if class_losses else 0 * positive.sum()
    )
    return Step(
        positive,
        negative,
        torch.stack(p_clean),
        torch.tensor(selected),
        loss_class,
        torch.stack(dual_losses).mean(),
    )


class PlainTraining:
    """DeFT over whole prompts and concatenated visual prompts; nothing of it is the package's."""

    def __init__(
        self, clip: Any, folder: Path, contexts: torch.Tensor, prompts: torch.Tensor
    ) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.clip = clip
        length = clip.model.config.text_config.max_position_embeddings
        rows = [tokenizer(f"{name}.").input_ids for name in NAMES]
        self.ids, self.end = (
            torch.zeros(len(rows), length, dtype=torch.long),
            torch.zeros(len(rows), dtype=torch.long),
        )
        for k, row in enumerate(rows):
            whole = [row[0], *[3] * contexts.shape[1], *row[1:]]
            self.ids[k, : len(whole)], self.end[k] = torch.tensor(whole), len(whole) - 1
        self.learned = [
            nn.Parameter(x.clone()) for x in (contexts[0], contexts[1], prompts)
        ]

    def step(
        self, pixels: torch.Tensor, labels: list[int], others: list[int], **how: Any
    ) -> Step:
        positive, negative, prompts = self.learned
        scale = self.clip.model.logit_scale.exp()
        images = self.clip.images(pixels, prompts)
        yes = scale * images @ self.clip.texts(self.ids, self.end, positive).T
        no = scale * images.detach() @ self.clip.texts(self.ids, self.end, negative).T
        return plain_step(yes, no, labels, others, **how)

    def gradients(self, step: Step) -> dict[str, torch.Tensor]:
        found = torch.autograd.grad(
            step.loss, self.learned, retain_graph=True, allow_unused=True
        )
        positive, negative, prompts = (
            torch.zeros_like(p) if g is None else g
            for p, g in zip(self.learned, found, strict=True)
        )
        return {
            "contexts": torch.stack([positive, negative]),
            "visual_prompts": prompts,
        }


# Which steps select differs, and so do all sizes.
CASES = [
    pytest.param({}, 5, 3, "threshold", id="threshold"),
    pytest.param({}, 5, 3, "real", id="real"),
    pytest.param(
        {"layers": 3, "text_layers": 3, "width": 16, "text_width": 48},
        1,
        1,
        "threshold",
        id="other-sizes",
    ),
    pytest.param(
        {"layers": 1, "text_layers": 1, "longest": 77, "image": 24, "patch": 8},
        16,
        6,
        "real",
        id="one-block",
    ),
]


class TestPlainVersion:
    @pytest.mark.parametrize(("sizes", "length", "count", "rule"), CASES)
    def test_training(
        self,
        random_clip: Callable[..., Path],
        naive_clip: Any,
        distance: Any,
        sizes: dict[str, int],
        length: int,
        count: int,
        rule: str,
    ) -> None:
        folder, generator = random_clip(**sizes), torch.Generator().manual_seed(2)
        encoder, clip = load_encoder(str(folder)), naive_clip(folder)
        size = encoder.preprocess.height
        contexts = torch.randn(2, length, encoder.text_width, generator=generator)
        prompts = 0.3 * torch.randn(
            len(encoder.image_layers), count, encoder.image_width, generator=generator
        )
        plain = PlainTraining(clip, folder, contexts, prompts)
        detector = Detector(
            encoder,
            encoder.class_tokens(NAMES, length),
            DualPrompts(contexts),
            visual(prompts),
        )
        optimizers = (
            torch.optim.SGD(plain.learned, lr=0.05, momentum=0.9, weight_decay=5e-3),
            make_optimizer(
                Recipe(1, 1, 0.05, momentum=0.9, weight_decay=5e-3),
                detector.parameters(),
            ),
        )
        seen = {
            "mixed": False,
            "another answer": False,
            "not the best class": rule != "real",
        }
        for number in range(5):
            pixels = torch.randn(8, 3, size, size, generator=generator)
            labels = torch.randint(len(NAMES), (8,), generator=generator)
            others = (
                labels + torch.randint(1, len(NAMES), (8,), generator=generator)
            ) % len(NAMES)
            how = {"selecting": number > 1, "rule": rule}
            theirs = plain.step(pixels, labels.tolist(), others.tolist(), **how)
            ours = detector.step(pixels, labels, others, **how)
            assert torch.equal(ours.selected, theirs.selected)
            for name in (
                "positive",
                "negative",
                "p_clean",
                "loss_class",
                "loss_dual",
                "loss",
            ):
                assert distance(getattr(ours, name), getattr(theirs, name)) < CLOSE, (
                    number,
                    name,
                )
            wanted = plain.gradients(theirs)
            parameters = detector.parameters()
            found = torch.autograd.grad(
                ours.loss, list(parameters.values()), retain_graph=True
            )
            for name, gradient in zip(parameters, found, strict=True):
                assert distance(gradient, wanted[name]) < CLOSE, (number, name)
            for optimizer, step in zip(optimizers, (theirs, ours), strict=True):
                optimizer.zero_grad()
                step.loss.backward()
                optimizer.step()
            if how["selecting"]:
                seen["mixed"] |= 0 < int(ours.selected.sum()) < 8
                seen["another answer"] |= bool(
                    (ours.positive.argmax(1) != labels)[~ours.selected].any()
                )
                seen["not the best class"] |= bool(
                    (ours.p_clean > 0.5)[~ours.selected].any()
                )
        assert all(seen.values()), (
            f"these steps would not see a wrong selection: {seen}"
        )
        for name, end in zip(
            ("contexts", "visual_prompts"),
            (torch.stack(plain.learned[:2]), plain.learned[2]),
            strict=True,
        ):
            assert distance(detector.parameters()[name], end) < CLOSE

    def test_nothing_selected_makes_no_class_gradient(
        self, random_clip: Callable[..., Path], naive_clip: Any, distance: Any
    ) -> None:
        """A meaningless negative context selects nothing; the dual loss still teaches prompts."""
        folder, generator = random_clip(), torch.Generator().manual_seed(0)
        encoder = load_encoder(str(folder))
        pixels = torch.randn(8, 3, 16, 16, generator=generator)
        labels = torch.arange(8) % len(NAMES)
        for seed in range(50):  # drawn until the condition holds
            contexts = torch.randn(
                2, 4, encoder.text_width, generator=generator.manual_seed(seed)
            )
            prompts = 0.1 * torch.randn(2, 2, encoder.image_width, generator=generator)
            detector = Detector(
                encoder,
                encoder.class_tokens(NAMES, 4),
                DualPrompts(contexts),
                visual(prompts),
            )
            step = detector.step(
                pixels, labels, (labels + 1) % len(NAMES), selecting=True
            )
            if not step.selected.any():
                break
        assert (
            not step.selected.any()
            and step.loss_class == 0
            and step.loss == step.loss_dual
        )
        context, visual_gradient = torch.autograd.grad(
            step.loss, list(detector.parameters().values())
        )
        assert torch.equal(visual_gradient, torch.zeros_like(visual_gradient))
        plain = PlainTraining(naive_clip(folder), folder, contexts, prompts)
        theirs = plain.step(
            pixels,
            labels.tolist(),
            ((labels + 1) % len(NAMES)).tolist(),
            selecting=True,
            rule="threshold",
        )
        assert distance(context, plain.gradients(theirs)["contexts"]) < CLOSE

    def test_whole_training_of_the_paper(
        self,
        random_clip: Callable[..., Path],
        naive_clip: Any,
        labelled: Callable[..., Dataset],
        distance: Any,
        tmp_path: Path,
    ) -> None:
        """`detect` with the paper's settings: warm-up, both learning rates, cosine, last epoch."""
        folder, rng, seed = random_clip(), np.random.default_rng(3), 7
        encoder = load_encoder(str(folder))
        pictures = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
        images = labelled(
            encoder.preprocess, pictures, [NAMES[k % len(NAMES)] for k in range(20)]
        )
        settings = deft.Settings(
            **{
                **deft.PRESETS["paper"],
                "epochs": 3,
                "batch_size": 8,
                "context_length": 6,
                "tuning_size": 3,
                "image_lr": 0.05,
                "text_lr": 0.2,
                "context_start": "random",
            }
        )
        start = deft.build(
            Task(images, load_encoder(str(folder))), settings, seed
        ).parameters()
        evidence = deft.detect(Task(images, encoder, seed, tmp_path, "x"), settings)

        plain = PlainTraining(
            naive_clip(folder),
            folder,
            start["contexts"].detach(),
            start["visual_prompts"].detach(),
        )
        order = [NAMES.index(name) for name in images.names]
        plain.ids, plain.end = plain.ids[order], plain.end[order]
        positive, negative, prompts = plain.learned
        optimizer = torch.optim.SGD(
            [
                {"params": [positive, negative], "lr": 0.2},
                {"params": [prompts], "lr": 0.05},
            ],
            momentum=0.9,
            weight_decay=5e-4,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
        last = np.empty(20)
        for epoch in range(3):
            for number, rows in enumerate(
                np.split(epoch_order(20, seed, epoch), [8, 16])
            ):
                randomness = step_generator(seed, epoch, number)
                labels = torch.from_numpy(images.labels[rows])
                others = complementary_labels(labels, len(NAMES), randomness)
                scaled = (
                    images.inputs(rows).float() / 255
                    - torch.tensor(CLIP_MEAN)[:, None, None]
                ) / torch.tensor(CLIP_STD)[:, None, None]
                pixels = crop_and_mirror(scaled, randomness)
                step = plain.step(
                    pixels,
                    labels.tolist(),
                    others.tolist(),
                    selecting=epoch > 0,
                    rule="threshold",
                )
                last[rows] = step.p_clean
                optimizer.zero_grad()
                step.loss.backward()
                optimizer.step()
            schedule.step()
        assert evidence.learned is not None
        assert (
            distance(evidence.learned["contexts"], torch.stack([positive, negative]))
            < 10 * CLOSE
        )
        assert distance(evidence.learned["visual_prompts"], prompts) < 10 * CLOSE
        assert distance(evidence.columns["score"], last) < 10 * CLOSE
        assert np.array_equal(evidence.flagged, last <= 0.5)
        assert 0 < evidence.flagged.sum() < 20


def test_complementary_labels_are_every_other_class_alike() -> None:
    labels = torch.arange(4).repeat(3000)
    others = complementary_labels(labels, 4, torch.Generator().manual_seed(0))
    counts = torch.zeros(4, 4)
    counts.index_put_((labels, others), torch.ones(len(labels)), accumulate=True)
    assert torch.equal(counts.diagonal(), torch.zeros(4))
    away = counts[~torch.eye(4, dtype=torch.bool)]
    assert (away - 1000).abs().max() < 5 * (
        3000 * 2 / 9
    ) ** 0.5  # five standard deviations of a binomial


def test_zero_shot_goes_through_the_same_features(
    random_clip: Callable[..., Path],
    labelled: Callable[..., Dataset],
    distance: Any,
) -> None:
    """What `scan` scores zero-shot with, against transformers' own forward pass."""
    from transformers import AutoTokenizer, CLIPModel

    folder, rng = random_clip(), np.random.default_rng(0)
    encoder = load_encoder(str(folder))
    images = labelled(
        encoder.preprocess,
        rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8),
        list("abcabcabc"),
    )
    found = Task(images, encoder).zero_shot()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = tokenizer(
        [f"a photo of a {name}." for name in images.names],
        padding=True,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        out = CLIPModel.from_pretrained(folder)(
            input_ids=texts, pixel_values=encoder.normalise(images.inputs(np.arange(9)))
        )
    assert distance(found.cosines / found.temperature, out.logits_per_image) < CLOSE
    assert distance(found.probs(), out.logits_per_image.softmax(1)) < CLOSE
