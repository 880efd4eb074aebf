"""Shared fixtures: the embedded model, the real digits, and a cache of the test session's own."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

# no test fails because the machine was busy, or only on some days
hypothesis.settings.register_profile(
    "labelsieve", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("labelsieve")

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels and features of the tests go to a folder of their own, never to the user's."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LABELSIEVE_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_progress() -> None:
    from labelsieve import progress

    progress.be_quiet(True)


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The embedded model, float32 on the CPU. Shared: put no adapters into it (load your own for that)."""
    from labelsieve.models.load import load_encoder

    return load_encoder("tiny")


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: uint8 [1797, 8, 8] and their truth [1797]."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return (bundle.images * 255 / 16).astype(np.uint8), bundle.target.astype(np.int64)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[[np.ndarray], bytes]:
    """uint8 pixels -> PNG bytes."""
    return png


@pytest.fixture
def digit_folder(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """A folder of 40 real digits below the class folders zero, one, two, three; every fifth one in the wrong folder."""
    images, truth = digits
    rows = [r for k in range(4) for r in np.flatnonzero(truth == k)[:10]]
    for number, row in enumerate(rows):
        label = (truth[row] + (number % 5 == 0)) % 4
        target = tmp_path / "digits" / WORDS[label]
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{row:04d}.png").write_bytes(png(images[row]))
    return tmp_path / "digits"


def write_tokenizer(
    folder: Path, longest: int, *, opening: bool, pad: str = "<pad>"
) -> None:
    """One token per character, so that names have many lengths; id 1 ends a text, 2 opens it where wanted."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<end>", "<start>", "<unknown>"]
    vocabulary = {
        word: number
        for number, word in enumerate([*special, *(chr(c) for c in range(32, 127))])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    single = "<start> $A <end>" if opening else "$A <end>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(word, number) for number, word in enumerate(special[:3])],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        pad_token=pad,
        eos_token="<end>",
        bos_token="<start>",
        unk_token="<unknown>",
    ).save_pretrained(folder)


def shake(model: Any, seed: int = 0) -> Any:
    """Give every parameter a size at which it matters: fresh checkpoints attend to everything alike."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif "embedding" in name and "patch" not in name:
                parameter.copy_(0.5 * noise)
            elif name == "logit_scale":
                parameter.fill_(3.0)
            else:
                inputs = parameter[0].numel() if parameter.ndim > 1 else 25
                parameter.copy_(noise * inputs**-0.5)
    return model


@pytest.fixture(scope="session")
def random_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a CLIP with random weights and a tokenizer of characters; sizes as keywords."""
    from transformers import CLIPConfig, CLIPModel

    @functools.cache
    def make(
        *,
        width: int = 32,
        layers: int = 2,
        text_width: int = 32,
        text_layers: int = 2,
        longest: int = 40,
        image: int = 16,
        patch: int = 4,
        common: int = 24,
        activation: str = "quick_gelu",
    ) -> Path:
        folder = tmp_path_factory.mktemp("clip")
        shared = {
            "hidden_act": activation,
            "num_attention_heads": 2,
            "projection_dim": common,
        }
        text = {
            **shared,
            "vocab_size": 99,
            "hidden_size": text_width,
            "intermediate_size": 2 * text_width,
            "num_hidden_layers": text_layers,
            "max_position_embeddings": longest,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        }
        vision = {
            **shared,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "image_size": image,
            "patch_size": patch,
        }
        config = CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=common
        )
        shake(CLIPModel(config)).save_pretrained(folder)
        write_tokenizer(folder, longest, opening=True)
        return folder

    return make


@pytest.fixture(scope="session")
def random_siglip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a SigLIP with random weights and a tokenizer of characters; sizes as keywords."""
    from transformers import SiglipConfig, SiglipModel

    @functools.cache
    def make(
        *,
        width: int = 32,
        layers: int = 2,
        longest: int = 24,
        image: int = 16,
        patch: int = 4,
        pad: str = "<pad>",
    ) -> Path:
        folder = tmp_path_factory.mktemp("siglip")
        shared = {
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_attention_heads": 2,
            "num_hidden_layers": layers,
        }
        text = {
            **shared,
            "vocab_size": 99,
            "max_position_embeddings": longest,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            "projection_size": width,
        }
        config = SiglipConfig(
            text_config=text,
            vision_config={**shared, "image_size": image, "patch_size": patch},
        )
        shake(SiglipModel(config)).save_pretrained(folder)
        write_tokenizer(folder, longest, opening=False, pad=pad)
        return folder

    return make


class NaiveClip:
    """CLIP the slow, obvious way: transformers' own eager modules over whole sequences, tokens put together by hand."""

    def __init__(self, folder: Path | str) -> None:
        from transformers import CLIPModel

        self.model = (
            CLIPModel.from_pretrained(folder, attn_implementation="eager")
            .eval()
            .requires_grad_(False)
        )

    def pooled(self, pixels: Any, prompts: Any = None) -> Any:
        """[b, width]; `prompts` [layers, p, width] are set behind the image's tokens before each block anew."""
        import torch

        tower = self.model.vision_model
        x = tower.pre_layrnorm(tower.embeddings(pixels))
        own = x.shape[1]
        for number, layer in enumerate(tower.encoder.layers):
            if prompts is not None:
                x = torch.cat([x[:, :own], prompts[number].expand(len(x), -1, -1)], 1)
            x = layer(x, None)
        return tower.post_layernorm(x[:, 0])

    def images(self, pixels: Any, prompts: Any = None) -> Any:
        """[b, d] of length one."""
        features = self.model.visual_projection(self.pooled(pixels, prompts))
        return features / features.norm(dim=1, keepdim=True)

    def texts(self, ids: Any, end: Any, context: Any) -> Any:
        """[k, d] of length one; after the first token of each row the next ones are replaced by `context` [m, width]."""
        import torch

        tower = self.model.text_model
        embedded = tower.embeddings.token_embedding(ids)
        embedded = torch.cat(
            [
                embedded[:, :1],
                context.expand(len(ids), -1, -1),
                embedded[:, 1 + len(context) :],
            ],
            1,
        )
        length = ids.shape[1]
        future = torch.full((length, length), float("-inf")).triu(1)
        x = embedded + tower.embeddings.position_embedding.weight[:length]
        for layer in tower.encoder.layers:
            x = layer(x, future)
        read = torch.stack(
            [
                row[e]
                for row, e in zip(tower.final_layer_norm(x), end.tolist(), strict=True)
            ]
        )
        features = self.model.text_projection(read)
        return features / features.norm(dim=1, keepdim=True)


@pytest.fixture(scope="session")
def naive_clip() -> type[NaiveClip]:
    """The slow reference; hand it the folder of a checkpoint."""
    return NaiveClip


def relative(ours: Any, theirs: Any) -> float:
    """Largest difference over largest value; infinite where shapes differ or something is not finite."""
    a, b = (
        np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=np.float64)
        for x in (ours, theirs)
    )
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


@pytest.fixture(scope="session")
def distance() -> Callable[[Any, Any], float]:
    """Relative distance of two arrays or tensors."""
    return relative


@pytest.fixture
def labelled(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """What a method sees of pictures and labels in memory, through the real reading and a pixel cache of its own."""
    from labelsieve.data.dataset import labelled_images
    from labelsieve.data.manifest import read
    from labelsieve.data.pixel_cache import PixelCache
    from labelsieve.data.sources import arrays
    from labelsieve.data.spec import DataSpec

    caches = []

    def make(
        preprocess: Any, images: Any, labels: Any, template: str = "a photo of a {}."
    ) -> Any:
        cache = PixelCache(
            tmp_path / f"pixels{len(caches)}", preprocess.height, preprocess.width
        )
        caches.append(cache)
        table = read(
            arrays.open_source(DataSpec((list(images), list(labels)))),
            preprocess,
            cache,
        ).table
        return labelled_images(table, {}, template, preprocess, cache)

    yield make
    for cache in caches:
        cache.close()


@dataclass(frozen=True)
class Called:
    """What one call of the command line left: exit code and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session")
def call() -> Callable[..., Called]:
    """`call("scan", folder, "-o", run)`: the command line in this process, with the exit code a shell would see."""

    def run(*words: object) -> Called:
        from labelsieve import progress
        from labelsieve.cli import app

        out, err, argv, code = io.StringIO(), io.StringIO(), sys.argv, 0
        sys.argv = ["labelsieve", *map(str, words)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                app.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        finally:
            sys.argv = argv
            progress.be_quiet(True)
        return Called(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def digit_table(
    tmp_path_factory: pytest.TempPathFactory, digits: tuple[np.ndarray, np.ndarray]
) -> Path:
    """Parquet of 40 digits with planted errors and of what goes wrong: columns id, image, label, truth.

    Every fifth label is wrong. Beside them: "broken" and "empty" (no picture), "unlabelled", and "twin-a", "twin-b" (the
    same picture with two labels).
    """
    images, truth = digits
    rows = [r for k in range(4) for r in np.flatnonzero(truth == k)[:10]]
    columns: dict[str, list[Any]] = {"id": [], "image": [], "label": [], "truth": []}

    def add(key: str, image: bytes | None, label: str | None, true: str | None) -> None:
        for name, value in zip(columns, (key, image, label, true), strict=True):
            columns[name].append(value)

    for number, row in enumerate(rows):
        wrong = number % 5 == 0
        add(
            f"digit-{row}",
            png(images[row]),
            WORDS[(truth[row] + wrong) % 4],
            WORDS[truth[row]],
        )
    add("broken", b"this is no picture", "one", "one")
    add("empty", b"", "two", "two")
    other = np.flatnonzero(truth == 2)[20:23]
    add("unlabelled", png(images[other[0]]), None, "two")
    add("twin-a", png(images[other[1]]), "two", "two")
    add("twin-b", png(images[other[1]]), "three", "two")
    path = tmp_path_factory.mktemp("table") / "digits.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="session")
def scan_words(digit_table: Path) -> list[str]:
    """The words after `labelsieve` of a quick scan of `digit_table`; the truth and -o are not among them."""
    columns = [
        "--id-column",
        "id",
        "--label-column",
        "label",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=16",
        "-q",
    ]
    return ["scan", str(digit_table), *columns]


@dataclass(frozen=True)
class Scanned:
    """One finished scan of `digit_table`, shared by tests that only read it."""

    folder: Path
    words: list[str]
    printed: Any


@pytest.fixture(scope="session")
def scanned(
    tmp_path_factory: pytest.TempPathFactory,
    call: Callable[..., Called],
    scan_words: list[str],
    own_cache: Path,
) -> Scanned:
    folder = tmp_path_factory.mktemp("scanned") / "run"
    words = [*scan_words, "--truth-column", "truth", "--json", "-o", str(folder)]
    called = call(*words)
    assert called.code == 0, called.err
    return Scanned(folder, words, called.json())


HOSTILE = '<img src=x onerror="window.hacked=1">'  # a class of the planted folder
STRANGE = 'it\'s "odd" & <b>\n two.png'  # a file name in it


@pytest.fixture(scope="session")
def planted_base(
    tmp_path_factory: pytest.TempPathFactory, digits: tuple[np.ndarray, np.ndarray]
) -> Path:
    """`data/`, 48 digits in four class folders (one with a hostile name), every fourth in the wrong one, and `run/`, its scan.

    The scores are put there by us, whatever the model is worth: wrong labels have p_clean below 0.3 and the true class
    as suggestion with 0.95, right ones p_clean above 0.7.
    """
    from labelsieve import files as files_module
    from labelsieve import tables
    from labelsieve.pipeline.scan import scan

    base = tmp_path_factory.mktemp("scanned")
    images, truth = digits
    names = ("zero", "one", "two", HOSTILE)
    rows = [r for k in range(4) for r in np.flatnonzero(truth == k)[:12]]
    true_of = {}
    for number, row in enumerate(rows):
        wrong = number % 4 == 0
        label = names[(truth[row] + (1 + number // 4 % 2) * wrong) % 4]
        file = base / "data" / label / (STRANGE if number == 0 else f"{row:04d}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(images[row]))
        true_of[f"{label}/{file.name}"] = names[truth[row]]
    opened = scan(
        base / "data", output=base / "run", preset="fast", settings={"epochs": 1}
    )
    by_uri = dict(
        zip(
            opened.manifest["sample_id"].to_pylist(),
            opened.manifest["uri"].to_pylist(),
            strict=True,
        )
    )
    scores = opened.scores.sort_by("sample_id").to_pylist()
    for number, about in enumerate(scores):
        true = true_of[files_module.uri_to_path(by_uri[about["sample_id"]])]
        wrong = true != about["given_label"]
        other = true if wrong else names[(names.index(true) + 1) % 4]
        about.update(
            p_clean=0.02 + 0.005 * number if wrong else 0.7 + 0.005 * number,
            is_label_issue=wrong,
            suggested_label=other if wrong else true,
            suggested_prob=0.95,
            margin=-0.9 if wrong else 0.9,
        )
    scores.sort(key=lambda s: s["p_clean"])
    for rank, about in enumerate(scores, 1):
        about["rank"] = rank
    import pyarrow as pa

    tables.write_parquet(
        pa.Table.from_pylist(scores, schema=opened.scores.schema),
        base / "run" / "scores.parquet",
    )
    files_module.write_json(base / "run" / "true.json", true_of)
    found = files_module.read_json(base / "run" / "run.json")
    files_module.write_json(
        base / "run" / "run.json",
        {**found, "flagged": sum(s["is_label_issue"] for s in scores)},
    )
    return base


class Planted:
    """A copy of the planted folder and its run that a test may change."""

    def __init__(self, base: Path) -> None:
        import json

        from labelsieve.files import uri_to_path
        from labelsieve.runs.run import Run

        self.data, self.folder = base / "data", base / "run"
        self.run = Run(self.folder)
        true_of = json.loads((self.folder / "true.json").read_text())
        uris = zip(
            self.run.manifest["sample_id"].to_pylist(),
            self.run.manifest["uri"].to_pylist(),
            strict=True,
        )
        self.truth: dict[str, str] = {i: true_of[uri_to_path(u)] for i, u in uris}
        rows = self.run.scores.to_pylist()
        self.given: dict[str, str] = {r["sample_id"]: r["given_label"] for r in rows}
        self.wrong: list[str] = [
            r["sample_id"]
            for r in rows
            if r["given_label"] != self.truth[r["sample_id"]]
        ]

    def tree(self) -> dict[str, bytes]:
        """Every file of the data with its bytes, our own history left out; and every folder."""
        found = {}
        for path in sorted(self.data.rglob("*")):
            name = path.relative_to(self.data).as_posix()
            if not name.startswith(".labelsieve"):
                found[name] = path.read_bytes() if path.is_file() else b"folder"
        return found


@pytest.fixture
def planted(planted_base: Path, tmp_path: Path) -> Planted:
    import json
    import shutil

    base = tmp_path / "planted"
    shutil.copytree(planted_base, base)
    record = json.loads((base / "run" / "run.json").read_text())
    record["command"]["data"] = str(base / "data")
    (base / "run" / "run.json").write_text(json.dumps(record))
    return Planted(base)


@pytest.fixture(scope="session")
def chromium() -> Any:
    """A headless browser, or a skip that says what is missing."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    import shutil as tools

    found = (
        tools.which("chromium")
        or tools.which("chromium-browser")
        or tools.which("google-chrome")
    )
    if found is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[*flags.split(), "--disable-component-update", "--disable-sync"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def random_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of an image classifier of transformers with random weights, 16 pixels, three classes: vit, vit_mae or resnet."""
    from transformers import (
        ResNetConfig,
        ResNetForImageClassification,
        ViTConfig,
        ViTForImageClassification,
        ViTImageProcessor,
        ViTMAEConfig,
        ViTMAEForPreTraining,
    )

    @functools.cache
    def make(kind: str = "vit", dropout: float = 0.0) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        vit = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 16,
            "patch_size": 4,
        }
        if kind == "vit":
            model: Any = ViTForImageClassification(
                ViTConfig(**vit, num_labels=3, hidden_dropout_prob=dropout)
            )
        elif kind == "vit_mae":
            small = {
                "decoder_hidden_size": 16,
                "decoder_num_hidden_layers": 1,
                "decoder_num_attention_heads": 2,
                "decoder_intermediate_size": 32,
            }
            model = ViTMAEForPreTraining(ViTMAEConfig(**vit, **small))
        else:
            model = ResNetForImageClassification(
                ResNetConfig(
                    embedding_size=8,
                    hidden_sizes=[8, 16],
                    depths=[1, 1],
                    layer_type="basic",
                    num_labels=3,
                )
            )
        shake(model).save_pretrained(folder)
        sides = {"height": 16, "width": 16}
        ViTImageProcessor(
            size=sides, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
        ).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """Recordings of the authors' own code: beside the repository, or where LABELSIEVE_PARITY_DIR says."""
    folder = Path(
        os.environ.get("LABELSIEVE_PARITY_DIR")
        or Path(__file__).parents[2] / "shared" / "parity"
    )
    if not (folder / "deft.npz").exists():
        pytest.skip(f"no recordings at '{folder}'; set LABELSIEVE_PARITY_DIR")
    return folder


@pytest.fixture(scope="session")
def recording(parity_folder: Path) -> dict[str, np.ndarray]:
    """Every array of the recording, by key."""
    with np.load(parity_folder / "deft.npz") as file:
        return {key: file[key] for key in file.files}
