"""What every archive must do; new files are found by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from labelsieve import registry
from labelsieve.bench import command, plan, published, steps, worker
from labelsieve.bench.results import finished
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

ARCHIVES = registry.names("data/archives")


def whole(name: str, build: Any) -> Path:
    """A miniature of the archive."""
    if name == "cifar100n":
        build.cifar100([19, 29, 0])
        return build.human(
            "CIFAR-100_human.pt",
            {"clean_label": [19, 29, 0], "noisy_label": [19, 0, 0]},
        )
    if name == "cifar10n":
        build.cifar10([1, 2, 3, 4, 5])
        sets = ("clean_label", *registry.load("data/archives", name).SETS)
        return build.human("CIFAR-10_human.pt", {s: [1, 2, 3, 4, 5] for s in sets})
    makers = {
        "cifar100": build.cifar100,
        "tiny-imagenet": build.tiny,
        "stanford-cars": build.cars,
        "cub-200-2011": build.cub,
        "clothing1m": build.clothing,
        "webvision": build.webvision,
    }
    return makers[name]()


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_offers_what_the_room_asks_for(name: str) -> None:
    room = registry.load("data/archives", name)
    assert "http" in room.WHERE and "\n" not in room.WHERE and room.CITE
    assert {"train", "test"} <= set(room.SPLITS)


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_opens_as_data_with_stable_ids(
    name: str, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = whole(name, build)
    monkeypatch.chdir(folder.parent)
    room = registry.load("data/archives", name)
    for split in room.SPLITS:
        spec = room.open(Path(folder.name), split)
        assert isinstance(spec, DataSpec) and spec == room.open(
            folder, split
        )  # however the folder is named
        source = open_source(spec)
        rows = list(source.rows())
        # the archive's own order, whichever of its classes this part has
        assert {r.label for r in rows} <= set(source.classes)  # type: ignore[attr-defined]
        assert len({r.key for r in rows}) == len(rows) > 0 and all(
            r.label for r in rows
        )
        assert set(spec.class_names) <= {r.label for r in rows} | {
            r.truth for r in rows
        }
        assert all(r.split == split for r in rows)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_wrong_folder_names_itself_and_where_the_archive_is(
    name: str, tmp_path: Path
) -> None:
    room = registry.load("data/archives", name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            room.open(folder, "train")
        assert f"'{folder}'" in str(caught.value) and room.WHERE in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_unknown_part_is_told_the_nearest(name: str, build: Any) -> None:
    with pytest.raises(
        DataError,
        match=r"Split 'trian' is unknown; there are: .*Did you mean 'train'\?",
    ):
        registry.load("data/archives", name).open(whole(name, build), "trian")


# --- the ready configurations of the paper

PAPER = {
    "CIFAR-100": "cifar100",
    "Tiny-ImageNet": "tiny-imagenet",
    "Stanford-Cars": "stanford-cars",
    "CUB-200-2011": "cub-200-2011",
    "CIFAR-100N": "cifar100n",
    "Clothing1M": "clothing1m",
    "WebVision": "webvision",
}


@pytest.mark.parametrize("name", ["paper-synthetic", "paper-real"])
def test_configurations_hold_the_papers_setting(name: str) -> None:
    read = plan.read(name)
    assert [t.model for t in read.towers] == ["openai/clip-vit-base-patch16"]
    presets = {(m.detector, m.preset) for m in read.methods}
    assert {
        ("zero-shot", "default"),
        ("small-loss", "paper"),
        ("gmm", "paper"),
        ("deft", "paper"),
    } <= presets
    for data in read.data:
        assert data.archive == PAPER[data.name] and data.limit is None
        rates = {(n.kind, n.rate) for n in data.noise}
        kinds = {("symmetric-biased", r) for r in (0.2, 0.4, 0.6)} | {
            ("instance", r) for r in (0.2, 0.3, 0.4)
        }
        assert rates == (kinds if name == "paper-synthetic" else {("recorded", None)})
    rules = {
        m.settings.get("rule")
        for m in read.methods
        if (m.detector, m.preset) == ("deft", "paper")
    }
    assert rules == {None if name == "paper-synthetic" else "real"}


@pytest.mark.parametrize("name", ["paper-synthetic", "paper-real"])
def test_every_cell_of_the_configurations_gets_its_labels(
    name: str, build: Any, tmp_path: Path
) -> None:
    """All archives lie in one folder, as the configurations have it."""
    read = plan.read(name)
    for archive in sorted({str(d.archive) for d in read.data}):
        whole(archive, build)
    cells = [c for c in read.cells() if c.seed == 0]
    made = [
        s
        for s in steps.of(cells, steps.Workspace(tmp_path / "out", build.folder))
        if s.kind == "material"
    ]
    assert len(made) == (24 if name == "paper-synthetic" else 3)
    for step in made:
        step.folder.mkdir(parents=True)
        material = worker.material(step.job, step.folder, None)
        spec = DataSpec(**material["spec"])  # type: ignore[arg-type]
        rows = list(open_source(spec).rows())
        known = [r for r in rows if r.truth is not None]
        assert rows and (
            len(known) == len(rows) or step.job["data"]["name"] == "WebVision"
        ), step.job
        assert all(r.label is not None for r in rows)


@pytest.mark.slow
def test_the_papers_configuration_runs_with_another_tower_and_stands_beside_the_paper(
    build: Any, tmp_path: Path
) -> None:
    clean = [19, 29, 0, 11] * 9
    noisy = [*clean[:27], *([0, 11, 19, 29] * 3)[:9]]
    build.cifar100(clean)
    build.human("CIFAR-100_human.pt", {"clean_label": clean, "noisy_label": noisy})
    only = ["data=CIFAR-100N,seed=0", "method=zero-shot", "method=deft (paper)"]
    out = tmp_path / "out"
    found = command.run(
        "paper-real",
        steps.Workspace(out, build.folder),
        towers=["CLIP ViT-B/16=tiny"],
        only=only,
        jobs="1",
    )
    assert (found["done"], found["not_run"]) == (2, [])
    rows = {r["published_method"]: r for r in published.show(out)["beside"]}
    wrong = sum(a != b for a, b in zip(clean, noisy, strict=True)) / len(clean)
    assert [
        r["realised_rate"]
        for r in finished(pq.read_table(out / "results.parquet")).to_pylist()
    ] == [wrong] * 2
    deft = rows["DeFT"]
    assert (
        deft["method"] == "deft (paper)"
        and 0 <= deft["clean_f1"] <= 1
        and deft["published_clean_f1"] == pytest.approx(0.9058)
    )
    assert deft["differs"].split("; ") == [
        "model tiny (there CLIP ViT-B/16)",
        "36 images (there 50,000)",
        "over all images (there means over batches of the last epoch)",
    ]
    assert rows["Small-loss"]["method"] is None
    assert "Published beside ours: CIFAR-100N, human" in (out / "table.md").read_text(
        encoding="utf-8"
    )
