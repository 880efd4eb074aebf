"""`make clip-check` on random weights of the size of CLIP ViT-B/16: all but the download."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelsieve.bench import plan

SOURCE = Path(__file__).parents[2] / "tools" / "clip_check.py"


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("clip_check", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(**what: Any) -> dict[str, Any]:
    usual = {"tower": "A", "data": "d", "noise": "n", "method": "m", "state": "done"}
    return {**usual, "device": "cpu", "f1": 0.5, "auroc": 0.75, **what}


def test_the_table_has_means_over_seeds_and_says_what_did_not_run(program: Any) -> None:
    rows = [row(f1=0.4), row(f1=0.6), row(method="o", auroc=1.0), row(tower="B")]
    rows.append(row(tower="B", noise="other", state="failed"))
    assert program.table(rows).split("\n") == [
        "**A**",
        "",
        "| method | d, n |",
        "| --- | ---: |",
        "| m | .500 / .750 |",
        "| o | .500 / 1.000 |",
        "",
        "**B**",
        "",
        "| method | d, n |",
        "| --- | ---: |",
        "| m | .500 / .750 |",
    ]
    assert program.footer(rows).endswith("1 cells did not run, see table.md.")


def test_the_configuration_has_both_models_and_three_data_sets() -> None:
    planned = plan.read("clip", ["CLIP ViT-B/32=folder"])
    assert {t.name: t.model for t in planned.towers} == {
        "CLIP ViT-B/16": "openai/clip-vit-base-patch16",
        "CLIP ViT-B/32": "folder",
    }
    assert [d.name for d in planned.data] == ["CIFAR-10N", "CIFAR-100N", "photos"]


def test_a_model_that_is_not_there_stops_it_at_once(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    names = ("CLIP ViT-B/32", "CLIP ViT-B/16")
    nowhere = [f"--model={name}={tmp_path / 'nowhere'}" for name in names]
    assert program.main([*told, *nowhere]) == 1
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "out").exists()


def picture(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (40, 30, 3), dtype=np.uint8))


def encoded(rng: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    picture(rng).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tables and photos as the configuration expects them, a few of each."""
    rng = np.random.default_rng(0)
    n = 24
    names = np.array(["cat", "dog", "ship"])
    truth = names[np.arange(n) % 3]
    given = np.where(np.arange(n) % 5 == 0, names[(np.arange(n) + 1) % 3], truth)
    shared = {"index": list(range(n)), "image": [encoded(rng) for _ in range(n)]}
    people = dict.fromkeys(("worse_label", "random_label1", "aggre_label"), given)
    tables = {"cifar10n": people, "cifar100n": {"noisy_label": given}}
    for name, labels in tables.items():
        table = pa.table({**shared, "clean_label": truth, **labels})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    for i in range(n):
        folder = tmp_path / "photos" / str(truth[i])
        folder.mkdir(parents=True, exist_ok=True)
        picture(rng).save(folder / f"{i}.jpg")
    return tmp_path


@pytest.mark.slow
def test_a_random_model_of_the_real_size_goes_through_all_of_it(
    program: Any,
    data: Path,
    tmp_path: Path,
    random_clip: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = random_clip(
        width=768,
        layers=12,
        text_width=512,
        text_layers=12,
        longest=77,
        image=224,
        patch=16,
        common=512,
    )
    models = [f"--model={name}={folder}" for name in ("CLIP ViT-B/32", "CLIP ViT-B/16")]
    told = ["--data-root", str(data), "--out", str(tmp_path / "out"), "--jobs=1"]
    some = [f"--only=method={m},seed=0" for m in ("zero-shot", "deft*", "knn")]
    assert program.main([*told, *models, *some]) == 0
    first = capsys.readouterr().out
    for column in ("CIFAR-10N, worse_label", "CIFAR-100N, noisy_label", "photos, "):
        assert column in first
    for method in ("deft", "deft, tuned", "deft, paper", "zero-shot", "knn"):
        assert f"\n| {method} | ." in first, method
    assert first.count("**CLIP ViT-B/") == 2
    # done cells are not done again, and the table is the same
    assert program.main([*told, *models, *some]) == 0
    assert capsys.readouterr().out == first
