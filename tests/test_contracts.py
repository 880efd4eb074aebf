"""What every method and every noise model must do, run over every file of their rooms."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve import registry
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.spec import DataSpec
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.models.load import load_encoder, preprocess_of
from labelsieve.settings import as_dict, resolve

METHODS = registry.names("methods")
# those that judge one label per image; sets have tests/methods/test_sets.py
SINGLE = [
    name
    for name in METHODS
    if "single" in registry.constants("methods", name, ("JUDGES",))["judges"]
]
NOISE = [
    name
    for name in registry.names("noise/generators")
    if "labels" not in registry.constants("noise/generators", name, ("LABELS",))
]
QUICK = {
    "epochs": 2,
    "batch_size": 8,
    "folds": 2,
    "views": 1,
    "rounds": 1,
    "iterations": 5,
}  # where a method has them
# One class has a single image; names have accents, spaces, other scripts and characters that
# mean something to a shell or in HTML.
CLASSES = ("zéro  ", "一 (one)", "two_<b>&'\"", "lonely")


def quick(method: ModuleType) -> Any:
    names = {f.name for f in dataclasses.fields(method.Settings)}
    return resolve(method.Settings, {k: v for k, v in QUICK.items() if k in names})


def pictures(digits: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Twenty-eight digits, one alone in its class; two of nine labels of each other are wrong."""
    images, truth = digits
    rows = [
        *(r for k in range(3) for r in np.flatnonzero(truth == k)[:9]),
        int(np.flatnonzero(truth == 3)[0]),
    ]
    labels = [
        CLASSES[(int(truth[r]) + (i % 9 < 2)) % 3] for i, r in enumerate(rows[:-1])
    ] + ["lonely"]
    return images[rows], labels


def seen(images: np.ndarray, labels: list[str]) -> Dataset:
    """What a method sees; ids are numbers of rows and hashes of contents."""
    return prepare(DataSpec((images, labels)), preprocess_of("tiny")).dataset


@dataclasses.dataclass
class Judged:
    """One method's answers on the same pictures: as they came, shuffled, and with another seed."""

    images: Dataset
    first: Evidence
    shuffled_images: Dataset
    shuffled: Evidence
    weights_touched: bool


@pytest.fixture(scope="module")
def judged(
    digits: tuple[np.ndarray, np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
    own_cache: Path,
) -> Any:
    """Every method runs twice, once; the tests look at what came out."""
    found: dict[str, Judged] = {}

    def judge(name: str) -> Judged:
        if name not in found:
            method = registry.load("methods", name)
            images, labels = pictures(digits)
            order = np.random.default_rng(5).permutation(len(labels))
            encoder = load_encoder("tiny")
            before = {n: p.clone() for n, p in encoder.image_tower.state_dict().items()}
            answers = []
            for pictures_seen in (
                seen(images, labels),
                seen(images[order], [labels[i] for i in order]),
            ):
                folder = tmp_path_factory.mktemp(name)
                task = Task(pictures_seen, encoder, 0, folder, "fingerprint")
                # whatever global generators hold decides nothing
                torch.rand(3)
                np.random.random()  # noqa: NPY002
                answers += [
                    pictures_seen,
                    method.detect(task, quick(method)),
                ]
            after = encoder.image_tower.state_dict()
            touched = before.keys() != after.keys() or any(
                not torch.equal(before[n], after[n]) for n in before
            )
            found[name] = Judged(*answers, weights_touched=touched)
        return found[name]

    return judge


# --- what a method's file offers


@pytest.mark.parametrize("name", METHODS)
def test_a_method_offers_what_the_room_asks_for(name: str) -> None:
    method = registry.load("methods", name)
    assert isinstance(method.COST, str) and method.COST
    assert isinstance(method.NEEDS, tuple) and set(method.NEEDS) <= {"text", "pixels"}
    assert isinstance(method.JUDGES, tuple) and set(method.JUDGES) <= {"single", "set"}
    assert (
        dataclasses.is_dataclass(method.Settings)
        and method.Settings.__dataclass_params__.frozen
    )
    assert list(inspect.signature(method.detect).parameters) == [
        "task",
        "settings",
    ]
    if hasattr(method, "judge"):
        assert list(inspect.signature(method.judge).parameters) == [
            "task",
            "settings",
            "learned",
        ]
    assert "default" in method.PRESETS
    for preset in method.PRESETS.values():
        resolve(method.Settings, preset)


def text_for(kind: Any, default: Any) -> list[Any]:
    """Texts that a setting of this type must take, as from --set."""
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    if choices:
        return [str(c) for c in choices]
    parts = typing.get_args(kind) or (kind,)
    texts = ["auto"] if type(None) in parts else []
    if default is not None:
        texts.append(str(default))
    return texts


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_can_be_written_on_the_command_line(name: str) -> None:
    settings = registry.load("methods", name).Settings
    kinds = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        for text in text_for(kinds[field.name], field.default):
            value = getattr(resolve(settings, {field.name: text}), field.name)
            if text == str(field.default):
                assert value == field.default and type(value) is type(field.default), (
                    field.name
                )
            else:
                assert str(value) == text or value is None, field.name
    assert resolve(settings, as_dict(settings())) == settings(), (
        "run.json can be read back"
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_read(name: str) -> None:
    folder = Path(registry.__file__).parent / "methods"
    files = [folder / f"{name.replace('-', '_')}.py", *folder.glob("_[!_]*.py")]
    trees = [ast.parse(f.read_text(encoding="utf-8")) for f in files]
    read = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("settings", "self", "self.settings")
    }
    unread = {
        f.name for f in dataclasses.fields(registry.load("methods", name).Settings)
    } - read
    assert not unread, f"never read: {unread}"


# --- what a method answers


@pytest.mark.parametrize("name", SINGLE)
def test_every_label_gets_a_probability(name: str, judged: Any) -> None:
    found = judged(name)
    n, k = len(found.images), 4
    assert n == 28 and found.images.classes == tuple(sorted(CLASSES))
    for evidence in (found.first, found.shuffled):
        assert (
            evidence.p_clean.shape
            == evidence.flagged.shape
            == evidence.suggested.shape
            == (n,)
        )
        assert (
            np.isfinite(evidence.p_clean).all()
            and (evidence.p_clean >= 0).all()
            and (evidence.p_clean <= 1).all()
        )
        assert evidence.flagged.dtype == bool
        assert evidence.suggested.dtype.kind == "i" and set(evidence.suggested) <= set(
            range(k)
        )
        assert evidence.probs.shape == (n, k) and (evidence.probs >= 0).all()
        assert np.abs(evidence.probs.sum(1) - 1).max() < 1e-4
        assert all(len(column) == n for column in evidence.columns.values())
        assert all(0 <= rate <= 1 for rate in evidence.rates)


@pytest.mark.parametrize("name", SINGLE)
def test_the_order_of_rows_and_a_second_run_change_no_bit(
    name: str, judged: Any
) -> None:
    found = judged(name)
    by_content = [
        {
            sample_id.partition("#")[2]: (
                e.p_clean[i],
                e.flagged[i],
                e.suggested[i],
                *e.probs[i],
                *(c[i] for c in e.columns.values()),
            )
            for i, sample_id in enumerate(images.ids.to_pylist())
        }
        for images, e in (
            (found.images, found.first),
            (found.shuffled_images, found.shuffled),
        )
    ]
    assert found.images.ids.to_pylist() != found.shuffled_images.ids.to_pylist()
    assert len(by_content[0]) == 28
    for content, answer in by_content[0].items():
        assert np.array_equal(
            np.array(answer, float),
            np.array(by_content[1][content], float),
            equal_nan=True,
        )


@pytest.mark.parametrize("name", SINGLE)
def test_the_tower_is_left_as_it_was(name: str, judged: Any) -> None:
    assert not judged(name).weights_touched


@pytest.mark.parametrize(
    "name", [n for n in SINGLE if hasattr(registry.load("methods", n), "judge")]
)
def test_what_was_learned_gives_the_same_answers(name: str, judged: Any) -> None:
    method, found = registry.load("methods", name), judged(name)
    if found.first.learned is None:
        pytest.skip("learns nothing with its default settings")
    learned = {
        k: v.detach().cpu().contiguous().clone() for k, v in found.first.learned.items()
    }
    again = method.judge(
        Task(found.images, load_encoder("tiny")), quick(method), learned
    )
    # votes that were out of fold are now of one probe, which has seen these images
    assert np.abs(again.p_clean - found.first.p_clean).max() < 0.1
    assert (again.suggested == found.first.suggested).mean() >= 0.9
    assert (again.flagged == found.first.flagged).mean() >= 0.9


# --- noise

K, N = 5, 4000


def noisy(name: str, labels: np.ndarray, rate: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(99)
    confusion = np.full((K, K), 0.05) + 0.75 * np.eye(K)
    context = {
        "matrix": confusion,
        "targets": np.array([1, 2, 3, 4, 0]),
        "pixels": rng.random((len(labels), 12)),
        "centre": True,
        "recorded": (labels + (np.arange(len(labels)) % 4 == 0)) % K,
    }
    found: np.ndarray = registry.load("noise/generators", name).corrupt(
        labels, K, rate, np.random.default_rng(seed), context
    )
    return found


@pytest.mark.parametrize("name", NOISE)
def test_noise_leaves_its_input_and_its_seed_decides(name: str) -> None:
    labels = np.random.default_rng(0).integers(0, K, N)
    kept = labels.copy()
    first = noisy(name, labels, 0.3, 1)
    assert (
        np.array_equal(labels, kept)
        and first is not labels
        and not np.shares_memory(first, labels)
    )
    assert (
        first.shape == labels.shape
        and first.dtype.kind == "i"
        and set(first) <= set(range(K))
    )
    np.random.random(7)  # noqa: NPY002 (the global generator decides nothing)
    assert np.array_equal(noisy(name, labels, 0.3, 1), first)
    assert (first != labels).any()
    if name != "recorded":  # labels that somebody gave are what they are
        assert not np.array_equal(noisy(name, labels, 0.3, 2), first)


@pytest.mark.parametrize(
    "name", [n for n in NOISE if n not in ("recorded", "class-conditional")]
)
def test_more_is_planted_at_a_higher_rate_and_nothing_at_zero(name: str) -> None:
    labels = np.random.default_rng(0).integers(0, K, N)
    none, few, many = (
        float((noisy(name, labels, rate, 1) != labels).mean())
        for rate in (0.0, 0.2, 0.4)
    )
    assert (
        none == 0 or name == "instance"
    )  # there the rate differs from picture to picture, around the nominal one
    assert none < 0.1 < few < 0.3 < many < 0.5
