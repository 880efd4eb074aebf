"""The verbs on real digits with the embedded model: every row comes out, by id, and the same
again for the same seed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import labelsieve
from labelsieve import tables
from labelsieve.data.dataset import Dataset
from labelsieve.data.load import load
from labelsieve.errors import DataError, LabelsieveError, OptionError, RunError
from labelsieve.estimation import noise_rate
from labelsieve.methods import deft
from labelsieve.pipeline import scan as pipeline
from labelsieve.runs.run import Run, run_folder
from labelsieve.settings import as_dict

QUICK = {"epochs": 1, "batch_size": 16}
SPEC = {"id_column": "id", "label_column": "label"}


def scores_by_id(table: pa.Table) -> dict[str, tuple[Any, ...]]:
    columns = [c for c in table.column_names if c not in ("path", "rank")]
    return {
        row["sample_id"]: tuple(row[c] for c in columns) for row in table.to_pylist()
    }


# --- what a scan writes


def test_every_image_comes_out_once_with_all_columns(
    scanned: Any, digit_table: Path
) -> None:
    scores = Run(scanned.folder).scores
    assert scores.column_names == [
        *tables.SCORES.names,
        # of every method: how far a picture is from all classes
        *("outsider_distance", "outsider_similarity", "outsider_energy"),
        "positive_logit",
        "negative_logit",
    ]
    assert scores.select(tables.SCORES.names).schema.equals(tables.SCORES)
    keys = [i.partition("#")[0] for i in scores["sample_id"].to_pylist()]
    assert sorted(keys) == sorted(pq.read_table(digit_table)["id"].to_pylist())


def test_ids_carry_the_hash_of_the_content(scanned: Any, digit_table: Path) -> None:
    ids = set(Run(scanned.folder).scores["sample_id"].to_pylist())
    for row in pq.read_table(digit_table).to_pylist():
        content = hashlib.sha256(row["image"]).hexdigest()[:12] if row["image"] else ""
        assert f"{row['id']}#{content}" in ids


def test_what_cannot_be_scored_is_kept_with_its_reason(scanned: Any) -> None:
    rows = {
        r["sample_id"].partition("#")[0]: r
        for r in Run(scanned.folder).scores.to_pylist()
    }
    assert {k: rows[k]["status"] for k in ("broken", "empty", "unlabelled")} == {
        "broken": "corrupt",
        "empty": "corrupt",
        "unlabelled": "unlabelled",
    }
    for key in ("broken", "empty", "unlabelled"):
        assert (
            rows[key]["reason"]
            and rows[key]["p_clean"] is None
            and rows[key]["rank"] is None
        )
    for key, other in (("twin-a", "three"), ("twin-b", "two")):
        assert (
            rows[key]["status"] == "duplicate-conflict" and other in rows[key]["reason"]
        )
        assert 0 <= rows[key]["p_clean"] <= 1


def test_csv_is_parquet_in_text(scanned: Any) -> None:
    scores = Run(scanned.folder).scores
    kinds = pacsv.ConvertOptions(
        column_types=scores.schema,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    assert pacsv.read_csv(scanned.folder / "scores.csv", convert_options=kinds).equals(
        scores
    )


def test_the_record_holds_all_that_decided_the_result(
    scanned: Any, digit_table: Path
) -> None:
    record = Run(scanned.folder).record
    command = record["command"]
    assert (
        command["data"] == str(digit_table)
        and command["seed"] == 0
        and command["model"] == "tiny"
    )
    assert command["method"] == "deft" and command["preset"] == "tuned"
    assert command["settings"] == as_dict(deft.Settings(**QUICK)), (
        "resolved, also what was not named"
    )
    assert record["environment"]["labelsieve"] == labelsieve.__version__
    assert {"torch", "transformers", "numpy", "python"} <= record["environment"].keys()
    assert (
        record["state"] == "finished"
        and record["device"] == "cpu"
        and record["precision"]
    )
    assert len(record["data_fingerprint"]) == 16
    assert record["seconds"].keys() == {
        "load model",
        "read images",
        "detect",
        "estimate and write",
        "look at pictures",
        "report",
    }
    assert all(s >= 0 for s in record["seconds"].values())


def test_the_noise_file(scanned: Any) -> None:
    noise = Run(scanned.folder).noise
    assert 0 <= noise["low"] <= noise["rate"] <= noise["high"] <= 1
    assert list(noise["per_class"]) == ["one", "three", "two", "zero"]
    matrix = noise_rate.noise_matrix(noise)
    assert matrix.sum() == pytest.approx(1, abs=1e-4)
    assert 1 - matrix.trace() == pytest.approx(noise["rate"], abs=1e-4)


def test_quality_is_that_of_the_scores(scanned: Any, digit_table: Path) -> None:
    given = {
        r["id"]: (r["label"], r["truth"])
        for r in pq.read_table(digit_table).to_pylist()
    }
    rows = [
        (r, given[r["sample_id"].partition("#")[0]])
        for r in Run(scanned.folder).scores.to_pylist()
    ]
    judged = [
        (r["is_label_issue"], label != truth)
        for r, (label, truth) in rows
        if r["p_clean"] is not None
    ]
    quality = scanned.printed["quality"]
    assert (
        (quality["images"], quality["wrong"])
        == (len(judged), sum(w for _, w in judged))
        == (42, 9)
    )
    hits = sum(f and w for f, w in judged)
    assert quality["precision"] == pytest.approx(
        hits / max(1, sum(f for f, _ in judged))
    )
    assert quality["recall"] == pytest.approx(hits / 9)
    assert (
        scanned.printed["images"] == 45
        and scanned.printed["scored"] == 42
        and scanned.printed["unreadable"] == 2
    )
    assert scanned.printed["flagged"] == sum(f for f, _ in judged)


def test_nothing_of_the_work_is_left_and_everything_is_known_to_the_run(
    scanned: Any, tmp_path: Path
) -> None:
    assert not (scanned.folder / "checkpoints").exists()
    assert not list(scanned.folder.rglob("*.partial"))
    shutil.copytree(scanned.folder, tmp_path / "copy")
    run_folder(tmp_path / "copy").begin({"another": "command"}, force=True)
    assert [f.name for f in (tmp_path / "copy").iterdir()] == ["run.json"], (
        "--force removes all that a scan writes"
    )


# --- same seed, other seed, truth unseen


@pytest.fixture(scope="module")
def scan(
    digit_table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Run]:
    def start(data: Any = None, *, truth: bool = False, **options: Any) -> Run:
        spec = load(
            data or digit_table, **SPEC, truth_column="truth" if truth else None
        )
        folder = tmp_path_factory.mktemp("scan") / "run"
        return pipeline.scan(spec, **{"output": folder, "settings": QUICK, **options})

    return start


def test_methods_never_see_the_truth(scanned: Any, scan: Callable[..., Run]) -> None:
    blind = scan()
    assert blind.record["quality"] is None and blind.truth() is None
    assert blind.scores.equals(Run(scanned.folder).scores), (
        "the same bits with and without --truth-column"
    )
    assert blind.noise == Run(scanned.folder).noise
    named = {f.name for f in dataclasses.fields(Dataset)} | set(dir(Dataset))
    assert not [n for n in named if "true" in n.lower() or "truth" in n.lower()]


def test_another_seed_gives_other_scores(
    scanned: Any, scan: Callable[..., Run]
) -> None:
    one, other = Run(scanned.folder).scores, scan(seed=1).scores
    assert one["sample_id"].to_pylist() != [] and set(
        one["sample_id"].to_pylist()
    ) == set(other["sample_id"].to_pylist())
    assert scores_by_id(one) != scores_by_id(other)


def test_the_order_of_rows_changes_nothing(
    scanned: Any, scan: Callable[..., Run], digit_table: Path, tmp_path: Path
) -> None:
    table = pq.read_table(digit_table)
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet")
    again = scan(tmp_path / "shuffled.parquet")
    assert scores_by_id(again.scores) == scores_by_id(Run(scanned.folder).scores)
    assert (
        again.record["data_fingerprint"]
        == Run(scanned.folder).record["data_fingerprint"]
    )


# --- the same call again


def test_a_finished_run_is_left_as_it_is(
    scanned: Any, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_model(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(pipeline, "load_encoder", no_model)
    before = {
        f: (f.stat().st_mtime_ns, f.stat().st_ino) for f in scanned.folder.rglob("*")
    }
    again = call(*scanned.words)
    assert again.code == 0 and again.json() == scanned.printed
    assert {
        f: (f.stat().st_mtime_ns, f.stat().st_ino) for f in scanned.folder.rglob("*")
    } == before


def test_a_finished_run_does_not_answer_for_other_data(
    scan: Callable[..., Run], digits: Any, tmp_path: Path
) -> None:
    images, names = digits[0][:8], np.array(["a", "b"] * 4)
    first = pipeline.scan(
        (images, names), output=tmp_path / "run", settings={"epochs": 0}
    )
    assert pipeline.scan(
        (images, names), output=tmp_path / "run", settings={"epochs": 0}
    ).scores.equals(first.scores)
    relabelled = names.copy()
    relabelled[:2] = ["b", "a"]
    with pytest.raises(RunError, match=r"was made: 2 images have another label\."):
        pipeline.scan(
            (images, relabelled), output=tmp_path / "run", settings={"epochs": 0}
        )
    with pytest.raises(
        RunError, match=r"was made: 2 images are gone, 1 image has other pixels\."
    ) as caught:
        pipeline.scan(
            (np.concatenate([images[:5], digits[0][99:100]]), names[:6]),
            output=tmp_path / "run",
            settings={"epochs": 0},
        )
    assert "--force" in caught.value.do
    again = pipeline.scan(
        (images, relabelled),
        output=tmp_path / "run",
        settings={"epochs": 0},
        force=True,
    )
    assert again.scores.sort_by("sample_id")["given_label"].to_pylist()[:2] == [
        "b",
        "a",
    ]


def test_another_command_needs_force(
    scanned: Any, scan: Callable[..., Run], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(scanned.folder, folder)
    with pytest.raises(
        RunError, match=r"holds another run \(truth_column, seed differ\)"
    ):
        scan(output=folder, seed=5)
    replaced = scan(output=folder, seed=5, force=True)
    assert replaced.record["command"]["seed"] == 5 and replaced.truth() is None
    assert not replaced.scores.equals(Run(scanned.folder).scores)


# --- nothing is written before all is known to be right


def test_a_method_without_a_fast_preset_says_so(
    scan: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(LabelsieveError, match=r"knn has no fast preset \(--fast\)"):
        scan(output=tmp_path / "run", method="knn", preset="fast")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"method": "defft"}, "OptionError"),
        ({"model": "nowhere/at-all"}, "ModelError"),
        ({"preset": "papper"}, "OptionError"),
        ({"settings": {"epoch": 1}}, "OptionError"),
        ({"settings": {"batch_size": 0}}, "OptionError"),
        ({"settings": {"tuning": "vpt"}}, "OptionError"),
        ({"device": "quantum"}, "OptionError"),
        ({"precision": "float8"}, "OptionError"),
        ({"seed": -1}, "OptionError"),
        ({"epochs": 3}, "OptionError"),
        (
            {"settings": {"context_length": 400, "context_start": "random"}},
            "ModelError",
        ),
    ],
)
def test_a_mistake_leaves_no_folder_and_no_earlier_run_is_lost(
    scan: Callable[..., Run], tmp_path: Path, options: dict[str, Any], kind: str
) -> None:
    with pytest.raises(LabelsieveError) as caught:
        scan(output=tmp_path / "run", **options)
    assert type(caught.value).__name__ == kind
    assert not (tmp_path / "run").exists()


def test_force_with_a_mistake_does_not_cost_the_earlier_run(
    scanned: Any, scan: Callable[..., Run], tmp_path: Path
) -> None:
    shutil.copytree(scanned.folder, tmp_path / "run")
    for mistake in (
        {"model": "nowhere/at-all"},
        {"settings": {"epochs": -1}},
        {"data": "nowhere.csv"},
    ):
        with pytest.raises(LabelsieveError):
            scan(output=tmp_path / "run", force=True, **mistake)
    assert Run(tmp_path / "run").scores.equals(Run(scanned.folder).scores)


def test_one_class_is_refused(digits: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only one class, 'a'"):
        pipeline.scan((digits[0][:4], ["a"] * 4), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- load


def test_load_names_the_data_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("n01,tench\n")
    spec = load(
        "photos", label_column="x", class_names=tmp_path / "names.csv", split=None
    )
    assert (spec.data, spec.label_column, dict(spec.class_names)) == (
        "photos",
        "x",
        {"n01": "tench"},
    )
    again = load(spec, label_column="y")
    assert (again.label_column, dict(again.class_names)) == ("y", {"n01": "tench"})
    for data in ("photos", spec):
        with pytest.raises(
            OptionError,
            match=r"Option 'lable_column' is unknown.*Did you mean 'label_column'\?",
        ):
            load(data, lable_column="x")
        with pytest.raises(OptionError, match=r"has no \{\}"):
            load(data, template="a photo")


def test_looking_loads_no_weights(
    digit_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "load_encoder", None)
    result = pipeline.look(load(digit_table, **SPEC))
    assert (
        result.images,
        result.usable,
        result.unreadable,
        result.unlabelled,
        result.conflicts,
    ) == (
        45,
        42,
        2,
        1,
        2,
    )
    status = pc.value_counts(pq.read_table(digit_table)["label"]).to_pylist()
    assert result.classes == {c["values"]: c["counts"] for c in status if c["values"]}


def test_a_finished_run_notices_pixels_replaced_under_the_same_name(
    digits: Any, tmp_path: Path
) -> None:
    """Also where size and date are those of the file that was read."""
    for number, image in enumerate(digits[0][:6]):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    options: dict[str, Any] = {"output": tmp_path / "run", "method": "zero-shot"}
    pipeline.scan(tmp_path / "data", **options)
    path = tmp_path / "data" / "a" / "0.bmp"
    before = path.stat()
    Image.fromarray(digits[0][20]).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(RunError, match=r"was made: 1 image has other pixels\."):
        pipeline.scan(tmp_path / "data", **options)


@pytest.mark.parametrize(
    ("choices", "place"),
    [
        ({"fast": True}, 'preset="fast"'),
        ({"epochs": 3}, "settings={'epochs'"),
        ({"root": "x"}, r"load\(data, root="),
        ({"fsat": True}, "there are: "),
        ({"fast": True, "method": "no"}, "Method 'no' is unknown|'fast' is unknown"),
    ],
)
def test_options_that_belong_elsewhere(choices: dict[str, Any], place: str) -> None:
    with pytest.raises(OptionError, match=place):
        pipeline.scan("nowhere", **choices)  # type: ignore[typeddict-item]
