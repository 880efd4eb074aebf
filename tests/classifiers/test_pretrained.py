"""A saved classifier: the same bits again, open to transformers, and closed to damage."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.backbones import _hub
from labelsieve.errors import ModelError, RunError
from labelsieve.models.encoder import normalise
from labelsieve.runs.digests import digests_of, write_record

CPU = torch.device("cpu")
CLASSES = ["cat", "red panda", 'üñí "x"']


def pictures(side: int = 16, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def built(folder: Path, seed: int = 0) -> backbone.Backbone:
    return backbone.build(str(folder), CLASSES, seed=seed, device=CPU)


def every_backbone(
    random_clip: Any, random_siglip: Any, random_classifier: Any
) -> list[Path]:
    kinds = [random_classifier(kind) for kind in ("vit", "vit_mae", "resnet")]
    return [random_clip(), random_siglip(), *kinds]


def test_save_and_open_gives_the_same_bits(
    random_clip: Any, random_siglip: Any, random_classifier: Any, tmp_path: Path
) -> None:
    for number, folder in enumerate(
        every_backbone(random_clip, random_siglip, random_classifier)
    ):
        saved, target = built(folder), tmp_path / str(number)
        pretrained.save(saved, CLASSES, target)
        again, classes = pretrained.open_saved(str(target), device=CPU)
        assert classes == CLASSES and again.preprocess == saved.preprocess
        with torch.no_grad():
            wanted = backbone.logits_of(saved.model.eval(), pictures())
            assert torch.equal(backbone.logits_of(again.model, pictures()), wanted), (
                folder
            )
        assert not [
            p.name for p in target.iterdir() if p.suffix in (".bin", ".pt", ".pkl")
        ]
        assert json.loads((target / "config.json").read_text())["id2label"] == {
            str(i): c for i, c in enumerate(CLASSES)
        }
        assert (target / "preprocessor_config.json").is_file()


@pytest.mark.parametrize(("edge", "share"), [(24, 0.875), (24, 0.9), (384, 0.9)])
def test_pictures_are_prepared_as_convnexts_processor_does(
    random_classifier: Callable[..., Path], tmp_path: Path, edge: int, share: float
) -> None:
    """Resized by a share, then cropped; from 384 pixels on warped to a square."""
    from PIL import Image
    from transformers import ConvNextImageProcessorPil

    pretrained.save(built(random_classifier("resnet")), CLASSES, tmp_path)
    theirs = ConvNextImageProcessorPil(size={"shortest_edge": edge}, crop_pct=share)
    theirs.save_pretrained(tmp_path)
    preprocess = pretrained.open_saved(str(tmp_path), device=CPU)[0].preprocess
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize(
        (130, 90)
    )
    wanted = theirs(picture, return_tensors="pt").pixel_values
    ours = normalise(
        torch.from_numpy(preprocess(picture).copy()).permute(2, 0, 1)[None],
        preprocess,
        CPU,
    )
    assert ours.shape == wanted.shape and (ours - wanted).abs().mean() < 0.02


def test_a_damaged_tower_is_an_error(
    random_clip: Callable[..., Path], tmp_path: Path
) -> None:
    pretrained.save(built(random_clip()), CLASSES, tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ModelError, match="cannot be loaded"):
        pretrained.open_saved(str(tmp_path), device=CPU)


class TestStrangers:
    """Model folders of others, towers and classifiers of transformers."""

    @pytest.fixture(params=["tower", "vit"])
    def folder(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        random_clip: Callable[..., Path],
        random_classifier: Callable[..., Path],
    ) -> Path:
        own = random_clip() if request.param == "tower" else random_classifier()
        pretrained.save(built(own), CLASSES, tmp_path)
        return tmp_path

    def refused(self, folder: Path) -> str:
        with pytest.raises(ModelError, match="cannot be loaded") as caught:
            pretrained.open_saved(str(folder), device=CPU)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def change(self, folder: Path, **tensors: torch.Tensor | None) -> None:
        own = load_file(folder / "model.safetensors")
        for name, tensor in tensors.items():
            key = name.replace("__", ".")
            if tensor is None:
                del own[key]
            else:
                own[key] = tensor
        save_file(own, folder / "model.safetensors", {"format": "pt"})

    def test_weights_that_are_no_numbers(self, folder: Path) -> None:
        self.change(folder, classifier__bias=torch.full((3,), torch.nan))
        assert "'classifier.bias' are not finite" in self.refused(folder)

    def test_a_head_that_is_missing(self, folder: Path) -> None:
        self.change(folder, classifier__bias=None)
        assert "lack 'classifier.bias'" in self.refused(folder)

    def test_a_head_of_other_classes(self, folder: Path) -> None:
        self.change(folder, classifier__bias=torch.zeros(4))
        assert "'classifier.bias'" in self.refused(folder)

    def test_pickled_weights(self, folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        torch.save(tensors, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        assert "is a pickle" in self.refused(folder)

    @pytest.mark.parametrize(
        "entries",
        [
            {"id2label": {"0": "a", "2": "b", "7": "c"}},
            {"id2label": ["a", "b", "c"]},
            {"num_hidden_layers": 10**9},
            {"hidden_size": 900_000, "intermediate_size": 900_000},
            {"architectures": 5, "model_type": "evil"},
            {"auto_map": {"AutoConfig": "evil.C"}, "model_type": "evil"},
        ],
    )
    def test_a_configuration_that_cannot_be(
        self, folder: Path, entries: dict[str, Any]
    ) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
        self.refused(folder)

    def test_a_stop_while_saving_leaves_the_old_files(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        opened, _ = pretrained.open_saved(str(folder), device=CPU)

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(_hub, "name_classes", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrained.save(opened, ["x", "y", "z"], folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_folder_says_where_its_classifier_is(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is a run folder.*labelsieve train"):
        pretrained.open_saved(str(tmp_path), device=torch.device("cpu"))


CHANGES = ["rename", "replace", "link", "unlink", "rmdir"]


class Stopped(BaseException):
    """As a kill."""


def stopped_at(change: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its n-th change of names on, this process changes nothing any more."""
    count = 0

    def counted(real: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            # what cleans up behind an exception is not there after a kill
            if count >= change:
                raise Stopped
            return real(*given, **named)

        return call

    for name in CHANGES:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def test_saving_over_a_model_is_whole_or_not_at_all(
    random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    """Killed before each change of a name: one of both models opens, to the bit."""
    old, new = built(random_classifier(), 1), built(random_classifier(), 2)
    answers = [backbone.logits_of(b.model.eval(), pictures()) for b in (old, new)]
    kept = set()
    finished = False
    change = 0
    while not finished:
        change += 1
        target = tmp_path / str(change)
        pretrained.save(old, CLASSES, target)
        with pytest.MonkeyPatch.context() as killing:
            stopped_at(change, killing)
            try:
                pretrained.save(new, CLASSES, target)
                finished = True
            except Stopped:
                pass
        kept.add(which(target, answers))
        # the same call again ends as one that was left alone
        pretrained.save(new, CLASSES, target)
        assert which(target, answers) == 1
        assert not [path for path in target.iterdir() if path.name[0] == "."]
    assert kept == {0, 1} and change > 8


def which(folder: Path, answers: list[torch.Tensor]) -> int:
    """Number of the model that gave these answers; parts of two give none of them."""
    opened, _ = pretrained.open_saved(str(folder), device=CPU)
    given = backbone.logits_of(opened.model, pictures())
    return [torch.equal(given, answer) for answer in answers].index(True)


def test_a_link_among_the_files_of_a_model_is_not_followed(
    random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    """What a killed call left is read instead of the model; a stranger could plant a link."""
    pretrained.save(built(random_classifier(), 1), CLASSES, tmp_path / "model")
    victim = tmp_path / "home"
    victim.mkdir()
    (victim / "letter").write_text("mine")
    (tmp_path / "model" / pretrained.WHOLE).symlink_to(victim)
    pretrained.open_saved(str(tmp_path / "model"), device=CPU)
    with pytest.raises(OSError, match="model"):
        pretrained.save(built(random_classifier(), 2), CLASSES, tmp_path / "model")
    assert [path.name for path in victim.iterdir()] == ["letter"]


class TestHiddenFolder:
    """What a killed `save` left is opened instead of the model, so it is checked as one."""

    @pytest.fixture
    def two(
        self, random_classifier: Callable[..., Path], tmp_path: Path
    ) -> tuple[Path, list[torch.Tensor]]:
        """A model, and another whose files have not got their names yet."""
        old, new = built(random_classifier(), 1), built(random_classifier(), 2)
        folder = tmp_path / "model"
        pretrained.save(old, CLASSES, folder)
        with pytest.MonkeyPatch.context() as killing:
            killing.setattr(pretrained, "_link_or_copy", stop)
            with pytest.raises(Stopped):
                pretrained.save(new, CLASSES, folder)
        assert (folder / pretrained.WHOLE).is_dir()
        answers = [backbone.logits_of(b.model.eval(), pictures()) for b in (old, new)]
        return folder, answers

    def test_the_newer_model_is_opened_and_published(self, two: Any) -> None:
        folder, answers = two
        assert which(*two) == 1
        pretrained._publish(folder)
        assert which(folder, answers) == 1
        assert not [path for path in folder.iterdir() if path.name[0] == "."]

    @pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
    def test_a_flipped_bit_is_named(self, two: Any, file: str) -> None:
        path = two[0] / pretrained.WHOLE / file
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
        with pytest.raises(RunError, match=rf"{file}.*damaged.*Remove '.*whole'"):
            pretrained.open_saved(str(two[0]), device=CPU)

    def test_files_that_were_put_there_are_named(self, two: Any) -> None:
        (two[0] / pretrained.WHOLE / "tokenizer.json").write_text("{}")
        with pytest.raises(RunError, match=r"'tokenizer.json' was not saved with it"):
            pretrained.open_saved(str(two[0]), device=CPU)

    @pytest.mark.parametrize("files", [False, True])
    def test_a_folder_that_no_save_made_is_no_model(
        self, random_classifier: Callable[..., Path], tmp_path: Path, files: bool
    ) -> None:
        old, new = built(random_classifier(), 1), built(random_classifier(), 2)
        answers = [backbone.logits_of(b.model.eval(), pictures()) for b in (old, new)]
        folder, hidden = tmp_path / "model", tmp_path / "model" / pretrained.WHOLE
        pretrained.save(old, CLASSES, folder)
        hidden.mkdir()
        if files:
            new.save(CLASSES, hidden)
        assert which(folder, answers) == 0
        pretrained.save(new, CLASSES, folder)
        assert which(folder, answers) == 1 and not hidden.exists()

    def test_a_finished_training_answers_for_its_own_files(self, two: Any) -> None:
        """A hidden model beside a verified one would have been used unverified."""
        folder, answers = two
        whole = folder / pretrained.WHOLE
        planted = shutil.copytree(whole, folder.parent / "planted")
        pretrained._publish(folder)
        digests = digests_of(folder, ["model.safetensors", "config.json"])
        write_record(folder / pretrained.RECORD, {"sha256": digests})
        path = planted / "model.safetensors"
        tensors = {name: tensor + 1 for name, tensor in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})
        sealed = digests_of(planted, digests)
        write_record(planted / pretrained.SEAL, {"sha256": sealed})
        shutil.move(planted, whole)
        assert which(folder, answers) == 1


def stop(*_: Any) -> None:
    raise Stopped


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_a_record_that_is_no_file_is_damage(
    random_classifier: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    """Taken for none, it would let weights pass that nobody has checked."""
    folder = tmp_path / "model"
    pretrained.save(built(random_classifier(), 1), CLASSES, folder)
    record = folder / pretrained.RECORD
    if kind == "folder":
        record.mkdir()
    elif kind == "pipe":
        os.mkfifo(record)
    else:
        record.symlink_to("nowhere")
    last = shutil.copytree(
        folder, folder / pretrained.LAST, ignore=shutil.ignore_patterns("training*")
    )
    for where in (folder, last):
        with pytest.raises(RunError, match=rf"{pretrained.RECORD}' (cannot|is miss)"):
            pretrained.open_saved(str(where), device=CPU)


def test_a_disk_without_room_keeps_the_old_model_and_names_the_place(
    random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    old, folder = built(random_classifier(), 1), tmp_path / "model"
    pretrained.save(old, CLASSES, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, limit[1]))
    try:
        with pytest.raises(OSError) as told:
            pretrained.save(built(random_classifier(), 2), CLASSES, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert told.value.filename == str(folder / pretrained.WEIGHTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_seal_without_checksums_seals_nothing(tmp_path: Path) -> None:
    (tmp_path / pretrained.SEAL).write_text("{}", encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"is damaged|config\.json"):
        pretrained._verify_newer(tmp_path)
