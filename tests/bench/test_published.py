from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from labelsieve import registry, tables
from labelsieve.bench import published
from labelsieve.bench.results import RESULTS
from labelsieve.errors import RunError

CLIP = "openai/clip-vit-base-patch16"


def result(**given: Any) -> dict[str, Any]:
    """One row as the bench writes it, of the paper's own setting unless told otherwise."""
    row: dict[str, Any] = dict.fromkeys(RESULTS.names)
    row |= {
        "tower": "clip",
        "model": CLIP,
        "data": "cifar100",
        "noise": "symmetric-biased 40 %",
        "kind": "symmetric-biased",
        "nominal_rate": 0.4,
        "realised_rate": 0.396,
        "images": 50_000,
        "classes": 100,
        "method": "deft",
        "detector": "deft",
        "preset": "paper",
        "settings": "{}",
        "seed": 0,
        "state": "done",
        "clean_precision": 0.98,
        "clean_recall": 0.97,
        "clean_f1": 0.975,
    }
    return {**row, **given}


def beside(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return published.beside(pa.Table.from_pylist(list(rows), RESULTS)).to_pylist()


def of(found: list[dict[str, Any]], method: str) -> dict[str, Any]:
    (row,) = [r for r in found if r["published_method"] == method]
    return row


def test_there_are_559_figures_and_none_is_changed() -> None:
    table = published.load()
    assert table.schema.equals(published.PUBLISHED) and len(table) == 559
    counts = {
        r["task"]: r["count"]
        for r in table.group_by("task")
        .aggregate([([], "count_all")])
        .rename_columns(["task", "count"])
        .to_pylist()
    }
    assert counts == {"detection": 248, "classification": 311}
    lines = (published.FILES / "deft-detection.csv").read_text().splitlines()
    assert "CUB-200-2011,idn,0.4,Small-loss,ViT-B/32,77.08,76.77,,Table 5" in lines
    (row,) = [
        r
        for r in table.to_pylist()
        if r["source"] == "Table 5" and r["precision"] == 77.08
    ]
    assert (row["dataset"], row["noise"], row["rate"], row["recall"], row["f1"]) == (
        "CUB-200-2011",
        "idn",
        0.4,
        76.77,
        None,
    )


def test_the_papers_own_sums_come_out() -> None:
    """F1 of table 6 and 8 from precision and recall, of table 7 from table 1; DeFT in
    table 2 is "w/ FFT" in table 10.
    """
    rows = published.load().to_pylist()
    setting = ("dataset", "noise", "rate")
    first = {
        tuple(r[k] for k in setting): r
        for r in rows
        if r["source"] == "Table 1" and r["method"] == "DeFT"
    }
    pairs = [(r, r) for r in rows if r["source"] in ("Table 6", "Table 8")]
    pairs += [
        (first[tuple(r[k] for k in setting)], r)
        for r in rows
        if r["source"] == "Table 7" and r["method"] == "DeFT"
    ]
    assert len(pairs) == 24 + 8 + 24
    for parts, whole in pairs:
        harmonic = (
            2
            * parts["precision"]
            * parts["recall"]
            / (parts["precision"] + parts["recall"])
        )
        assert harmonic == pytest.approx(whole["f1"], abs=0.011)
    two, ten = (
        {
            tuple(r[k] for k in setting): (r["best"], r["last"])
            for r in rows
            if r["source"] == s and r["method"] == m
        }
        for s, m in (("Table 2", "DeFT"), ("Table 10", "DeFT w/ FFT"))
    )
    assert two == ten and len(two) == 24


def test_figures_of_several_tables_are_one_row_in_shares() -> None:
    row = of(beside(result()), "DeFT")
    assert (
        row["published_clean_precision"],
        row["published_clean_recall"],
    ) == pytest.approx((0.9875, 0.9791))  # table 1
    assert row["published_clean_f1"] == pytest.approx(0.9833)  # table 7
    assert row["source"] == "Table 1, Table 7"
    assert (row["method"], row["clean_precision"], row["seeds"]) == ("deft", 0.98, 1)


def test_an_f1_that_was_not_printed_is_computed() -> None:
    row = of(beside(result()), "Label-match")
    assert row["published_clean_f1"] == pytest.approx(
        2 * 0.9961 * 0.6385 / (0.9961 + 0.6385)
    )
    assert row["method"] is None and row["differs"] == "not among these results"


def test_the_same_setting_differs_only_where_nothing_can_be_the_same() -> None:
    assert (
        of(beside(result()), "DeFT")["differs"]
        == "over all images (there means over batches of the last epoch)"
    )
    assert (
        of(
            beside(result(method="zs", detector="zero-shot", preset="default")),
            "Label-match",
        )["differs"]
        == ""
    )
    assert (
        of(beside(result(method="gmm", detector="gmm")), "GMM w/ PEFT")["differs"] == ""
    )
    assert (
        of(beside(result(method="gmm", detector="gmm")), "GMM w/ FFT")["differs"]
        == "visual prompts tuned (there the whole tower)"
    )


def test_everything_else_that_differs_is_said() -> None:
    rows = [
        result(
            tower="tiny",
            model="tiny",
            images=8_000,
            kind="symmetric",
            preset="default",
            seed=s,
            clean_f1=0.9 + s / 10,
            method="small",
            detector="small-loss",
        )
        for s in (0, 1)
    ]
    row = of(beside(*rows), "Small-loss")
    assert row["differs"].split("; ") == [
        "model tiny (there CLIP ViT-B/16)",
        "8,000 images (there 50,000)",
        "every error is another class (there the true one may be drawn)",
        "preset default (there as preset paper)",
        "noise rate estimated (there known)",
        "over all images (there means over batches of the last epoch)",
        "mean of 2 seeds (there one)",
    ]
    assert row["clean_f1"] == pytest.approx(0.95) and row["seeds"] == 2
    known = beside(
        result(
            method="small",
            detector="small-loss",
            settings=json.dumps({"noise_rate": 0.4}),
        )
    )
    assert "estimated" not in of(known, "Small-loss")["differs"]


@pytest.mark.parametrize(
    ("data", "kind", "rate", "count"),
    [
        ("CIFAR-100", "symmetric", 0.4, 5),
        ("cifar_100", "instance", 0.3, 5),
        ("cifar100", "symmetric", 0.8, 3),
        ("cifar100", "symmetric", 0.3, 0),
        ("cifar100", "pair", 0.4, 0),
        ("cifar10", "symmetric", 0.4, 0),
        ("cifar100", "recorded", None, 0),
        ("tiny-imagenet", "instance", 0.5, 3),
        ("cub-200-2011", "symmetric-biased", 0.6, 5),
        ("stanford cars", "instance", 0.2, 5),
        ("cifar100n", "recorded", None, 8),
        ("cifar100n", "symmetric", 0.4, 0),
        ("clothing1m", "recorded", None, 0),
    ],
)
def test_only_the_same_data_noise_and_rate_are_compared(
    data: str, kind: str, rate: float | None, count: int
) -> None:
    assert len(beside(result(data=data, kind=kind, nominal_rate=rate))) == count


@pytest.mark.parametrize(
    "name", ["cifar100", "cifar100n", "tiny-imagenet", "stanford-cars", "cub-200-2011"]
)
def test_archives_are_known_by_their_own_names(name: str) -> None:
    room = registry.load("data/archives", name)
    (dataset,) = [
        d for d in published.IMAGES if published._plain(d) == published._plain(name)
    ]
    whole = getattr(room, "WHOLE", {"train": 50_000})  # CIFAR's is in its release
    assert published.IMAGES[dataset] == whole["train"]


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (CLIP, "ViT-B/16"),
        ("openai/clip-vit-base-patch32", "ViT-B/32"),
        ("towers/clip-vit-base-patch32", "ViT-B/32"),
        ("tiny", "ViT-B/16"),
        ("openai/clip-vit-large-patch14", "ViT-B/16"),
    ],
)
def test_a_tower_is_compared_with_its_own_backbone(model: str, wanted: str) -> None:
    found = beside(result(model=model))
    assert {
        r["backbone"] for r in found if r["published_method"] in ("DeFT", "Small-loss")
    } == {wanted}
    same = published.backbone(model) == wanted
    assert (f"model {Path(model).name} " in of(found, "DeFT")["differs"]) is not same


def test_of_settings_with_one_backbone_that_one_is_shown() -> None:
    found = beside(
        result(model="openai/clip-vit-base-patch32", nominal_rate=0.8)
    )  # table 6 has ViT-B/16 only
    assert {r["backbone"] for r in found} == {
        "ViT-B/16"
    } and "there CLIP ViT-B/16" in of(found, "DeFT")["differs"]


def test_human_labels_stand_beside_table_8_and_the_rule_matters() -> None:
    rows = [
        result(
            data="cifar100n",
            kind="recorded",
            noise="noisy_label",
            nominal_rate=None,
            method=m,
            settings=json.dumps(s),
            preset="paper",
        )
        for m, s in (("deft", {"rule": "real"}), ("deft-plain", {}))
    ]
    found = beside(*rows)
    mine = {r["method"]: r for r in found if r["published_method"] == "DeFT"}
    assert mine["deft"]["published_clean_f1"] == pytest.approx(0.9058)
    assert "rule for planted noise" not in mine["deft"]["differs"]
    assert "rule for planted noise" in mine["deft-plain"]["differs"]
    assert of(found, "UNICON")["differs"] == "no such method here"


def test_cells_that_failed_and_methods_without_a_figure_take_no_part() -> None:
    failed = beside(result(), result(seed=1, state="failed", clean_f1=None))
    assert of(failed, "DeFT")["seeds"] == 1
    assert all(
        r["method"] is None for r in beside(result(method="lemon", detector="lemon"))
    )


def test_every_method_of_ours_in_the_table_exists() -> None:
    names = set(
        pc.unique(
            published.load().filter(pc.field("task") == "detection")["method"]
        ).to_pylist()
    )
    assert set(published.METHODS) | {"RoLT", "UNICON", "LongReMix", "ProMix"} == names
    for counterpart in published.METHODS.values():
        assert (
            "paper" in registry.load("methods", counterpart.detector).PRESETS
        ) is counterpart.trained
    assert set(published.NOISE) <= set(registry.names("noise/generators"))


def test_without_results_the_published_figures_stand_alone(tmp_path: Path) -> None:
    found = published.show(tmp_path / "nowhere")
    assert (
        found["results"] is None
        and len(found["published"]) == 559
        and found["beside"] == []
    )


def test_results_of_a_folder_are_read(tmp_path: Path) -> None:
    tables.write_parquet(
        pa.Table.from_pylist([result()], RESULTS), tmp_path / "results.parquet"
    )
    found = published.show(tmp_path)
    assert (
        of(found["beside"], "DeFT")["clean_recall"] == 0.97 and found["published"] == []
    )
    (tmp_path / "results.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(RunError, match="not readable as Parquet"):
        published.show(tmp_path)


def test_tables_for_people_hold_both_and_what_differs() -> None:
    (sheet,) = published.sheets(pa.Table.from_pylist([result()], RESULTS))
    line = next(row for row in sheet.rows if row[0].text == "DeFT")
    assert [c.text for c in line] == [
        "DeFT",
        ".988",
        ".980",
        ".979",
        ".970",
        ".983",
        ".975",
        "deft",
        "Table 1, Table 7",
    ]
    assert len(sheet.head) == len(line)
    assert list(sheet.notes) == [
        "deft: over all images (there means over batches of the last epoch)."
    ]
    assert published.sheets(pa.Table.from_pylist([result(data="birds")], RESULTS)) == []
