"""What decides a model's answers has one digest; whatever is changed, it is another one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from labelsieve import scan
from labelsieve.models import identity
from labelsieve.models.load import load_encoder

WORDS = ["[UNK]", "good", "bad", "fine", "poor", "film", "meal", "talk"]
MEAN = {"pooling_mode_mean_tokens": True}
CLS = {"pooling_mode_cls_token": True}


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A folder of sentence-transformers: eight words as vectors, averaged."""
    folder = tmp_path / "reader"
    folder.mkdir()
    write_words(folder, WORDS)
    rows = torch.randn(len(WORDS), 6, generator=torch.Generator().manual_seed(1))
    save_file({"embedding.weight": rows}, folder / "model.safetensors")
    kinds = {"": "StaticEmbedding", "1_Pooling": "Pooling"}
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in kinds.items()
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    write_pooling(folder, MEAN)
    return folder


def write_words(folder: Path, words: list[str]) -> None:
    level = WordLevel({word: number for number, word in enumerate(words)}, "[UNK]")
    made = Tokenizer(level)
    made.pre_tokenizer = Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    tokens.save_pretrained(folder)


def write_pooling(folder: Path, config: dict[str, Any]) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def of(folder: Path) -> str:
    return identity.fingerprint(load_encoder(str(folder)))


def test_sees_every_weight_and_the_precision(random_clip: Callable[..., Path]) -> None:
    def fresh(dtype: torch.dtype = torch.float32) -> Any:
        return load_encoder(str(random_clip()), dtype=dtype)

    first = identity.fingerprint(fresh())
    assert first == identity.fingerprint(fresh()) and len(first) == 16
    seen = {first, identity.fingerprint(fresh(torch.bfloat16))}
    encoder = fresh()
    # another device rounds differently; only its name is read here
    encoder.device = torch.device("cuda")
    seen.add(identity.fingerprint(encoder))
    assert len(seen) == 3
    encoder.device = torch.device("cpu")
    for name, parameter in encoder.model.named_parameters():
        with torch.no_grad():
            parameter.view(-1)[-1] += 1
        changed = identity.fingerprint(encoder)
        assert changed not in seen, name
        seen.add(changed)


@pytest.mark.parametrize("key", ["hidden_act", "layer_norm_eps", "num_attention_heads"])
@pytest.mark.parametrize("tower", ["text_config", "vision_config"])
def test_sees_the_configuration(
    random_clip: Callable[..., Path], tmp_path: Path, key: str, tower: str
) -> None:
    folder = shutil.copytree(random_clip(), tmp_path / "clip")
    before = of(folder)
    # of the same shape, so that nothing else would notice
    other = {"hidden_act": "relu", "layer_norm_eps": 0.5, "num_attention_heads": 4}
    edit(folder / "config.json", lambda c: c[tower].update({key: other[key]}))
    assert of(folder) != before


def test_sees_how_pictures_are_prepared(
    random_clip: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(random_clip(), tmp_path / "clip")
    sides = {"height": 16, "width": 16}
    content = {"image_processor_type": "CLIPImageProcessor", "crop_size": sides}
    content |= {"size": {"shortest_edge": 16}, "image_mean": [0.5] * 3}
    path = folder / "preprocessor_config.json"
    seen = {of(folder)}
    for change in ({}, {"image_std": [0.3] * 3}, {"image_mean": [0.4] * 3}):
        path.write_text(json.dumps({**content, **change}))
        seen.add(of(folder))
    assert len(seen) == 4


def test_sees_pooling_words_and_reading(reader: Path) -> None:
    first = of(reader)
    write_pooling(reader, CLS)
    seen = {first, of(reader)}
    write_pooling(reader, MEAN)
    assert of(reader) == first
    write_words(reader, [WORDS[0], *reversed(WORDS[1:])])
    seen.add(of(reader))
    prompts = {"prompts": {"q": "film "}, "default_prompt_name": "q"}
    path = reader / "config_sentence_transformers.json"
    path.write_text(json.dumps(prompts))
    seen.add(of(reader))
    assert len(seen) == 4


def test_is_of_contents_and_not_of_places(reader: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(reader, tmp_path / "other" / "place")
    (copy / "README.md").write_text("Words of a person decide nothing.")
    assert of(copy) == of(reader)


@pytest.mark.parametrize("name", ["tiny", "hashing"])
def test_embedded_models_are_the_same_in_every_process(name: str) -> None:
    program = (
        "from labelsieve.models import identity, load;"
        f"print(identity.fingerprint(load.load_encoder({name!r})))"
    )
    given = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert given == [identity.fingerprint(load_encoder(name))] * 2


def judged(reader: Path, output: Path) -> list[float]:
    texts = [f"{a} {b} {c}" for a in WORDS[1:] for b in WORDS[1:] for c in WORDS[5:]]
    labels = ["pro" if t.split()[1] in ("good", "fine") else "con" for t in texts]
    model = str(reader)
    run = scan(texts=texts, labels=labels, output=output, model=model, method="knn")
    scores: list[float] = run.scores["p_clean"].to_pylist()
    return scores


def test_scores_of_a_changed_model_are_its_own(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of the mean were given for those of the first word, and for other words."""
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "warm"))
    seen = [judged(reader, tmp_path / "mean")]
    for number in range(2):
        if number:
            write_words(reader, [WORDS[0], *reversed(WORDS[1:])])
        else:
            write_pooling(reader, CLS)
        monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "warm"))
        warm = judged(reader, tmp_path / f"warm{number}")
        monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / f"cold{number}"))
        assert warm == judged(reader, tmp_path / f"fresh{number}")
        assert warm not in seen
        seen.append(warm)


def test_names_what_changed_and_reads_only_that(reader: Path, tmp_path: Path) -> None:
    name = str(reader)
    record = identity.for_record(name, identity.origin_of(name))
    assert not identity.changes(name, record) and not identity.changes(name, {})
    # elsewhere, with other times: the same contents
    copy = shutil.copytree(reader, tmp_path / "copy")
    assert not identity.changes(str(copy), record)
    (copy / "model.safetensors").write_bytes(b"other")
    (copy / "added.json").write_text("{}")
    (copy / "modules.json").unlink()
    inner = ["1_Pooling/config.json"]  # no longer a module
    expected = sorted(["model.safetensors", "added.json", "modules.json", *inner])
    assert identity.changes(str(copy), record) == expected
    # a model that is not here cannot be compared
    assert not identity.changes(str(tmp_path / "gone"), record)


def test_a_file_replaced_while_work_went_on_counts_as_changed(reader: Path) -> None:
    name = str(reader)
    origin = identity.origin_of(name)
    write_pooling(reader, CLS)
    record = identity.for_record(name, origin)
    assert identity.changes(name, record) == ["1_Pooling/config.json"]
