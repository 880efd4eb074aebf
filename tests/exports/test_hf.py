from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError, RunError
from labelsieve.exports import export
from labelsieve.pipeline.scan import scan

datasets = pytest.importorskip("datasets", reason="the extra 'hub' is not installed")
huggingface_hub = pytest.importorskip("huggingface_hub")
from labelsieve.exports import hf  # noqa: E402


def test_it_is_loaded_with_images_and_labels(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "hf", tmp_path / "out")
    made = datasets.load_from_disk(str(folder))
    assert (
        isinstance(made.features["image"], datasets.Image)
        and made.features["label"].names == decided.run.classes
    )
    names = made.features["label"].names
    labels = {
        r["sample_id"]: None if r["label"] is None else names[r["label"]]
        for r in made.remove_columns("image")
    }
    assert labels == decided.after
    raw = made.cast_column("image", datasets.Image(decode=False))
    assert {content_hash(r["image"]["bytes"])[:12] for r in raw} == {
        i.rpartition("#")[2][:12] for i in decided.given
    }
    assert Image.open(io.BytesIO(raw[0]["image"]["bytes"])).size == (8, 8)


def test_it_can_be_scanned_again(decided: Any, tmp_path: Path) -> None:
    (folder,) = export(decided.run, "hf", tmp_path / "out", only="clean")
    rows = list(
        open_source(
            DataSpec(str(folder), label_column="label", id_column="sample_id")
        ).rows()
    )
    assert {r.key: r.label for r in rows} == {
        r: decided.after[r] for r in (row.key for row in rows)
    } and len(rows) > 30


@pytest.fixture
def declared(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """A saved data set whose classes are declared in an order of their own, one of them empty."""
    images, truth = digits
    rows = np.flatnonzero(truth < 2)[:24]
    names = ["zebra", "unused", "ant"]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    cells = {
        "image": [Image.fromarray(images[row]) for row in rows],
        "label": [2 * int(truth[row]) for row in rows],
    }
    datasets.Dataset.from_dict(cells, features).save_to_disk(tmp_path / "declared")
    return tmp_path / "declared"


def test_classes_keep_the_order_and_the_empty_ones_that_were_declared(
    declared: Path, tmp_path: Path
) -> None:
    run = scan(str(declared), output=tmp_path / "run", method="zero-shot")
    assert run.classes == ["ant", "zebra"]
    assert run.all_classes == ["zebra", "unused", "ant"]
    (folder,) = export(run, "hf", tmp_path / "out")
    written = datasets.load_from_disk(str(folder))
    assert written.features["label"].names == ["zebra", "unused", "ant"]
    before = datasets.load_from_disk(str(declared))
    assert sorted(written["given_label"]) == sorted(before["label"])
    export(run, "cleanlab", tmp_path / "cleanlab")
    probs = np.load(tmp_path / "cleanlab" / "pred_probs.npy")
    assert probs.shape == (24, 3) and not probs[:, 1].any()
    assert np.allclose(probs.sum(1), 1)


def test_classes_are_declared_as_in_the_data(decided: Any, tmp_path: Path) -> None:
    declared = ["unused", *reversed(decided.run.classes)]
    decided.run.record["classes"] = declared
    (folder,) = export(decided.run, "hf", tmp_path / "out")
    saved = datasets.load_from_disk(str(folder))
    for name in ("label", "given_label", "suggested_label"):
        assert saved.features[name].names == declared
    labels = {row["sample_id"]: row["given_label"] for row in saved}
    given = {i: declared.index(label) for i, label in decided.given.items()}
    assert labels == given


def test_errors_of_ours_stay_ours(decided: Any, tmp_path: Path) -> None:
    decided.data.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="with --data"):
        export(decided.run, "hf", tmp_path / "out")
    assert export(decided.run, "hf", tmp_path / "out", data=tmp_path / "moved")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the hub could be asked, with a token in the environment."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)


def test_what_is_uploaded_is_said_and_private(
    parted: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    online: None,
) -> None:
    """The library's own upload is asked with these arguments; no hub is asked here."""
    (folder,) = export(parted.run, "hf", tmp_path / "out")
    asked: list[Any] = []
    said: list[str] = []
    monkeypatch.setattr(hf, "note", said.append)

    def upload(self: Any, *args: Any, **options: Any) -> None:
        asked.append((sorted(self), sum(map(len, self.values())), args, options))

    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", upload)
    monkeypatch.setattr(hf, "_seen_by", lambda name: "a new private data set")
    hf.check_push("me/pets")
    assert hf.push(folder, "me/pets").endswith("/datasets/me/pets")
    splits, count = ["test", "train", "valid"], len(parted.given)
    assert asked == [(splits, count, ("me/pets",), {"private": True})]
    (line,) = said
    assert f"{count} images (" in line and "a new private data set" in line


def test_a_hub_that_is_not_reached_is_one_line(
    decided: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, online: None
) -> None:
    # a port where nobody listens, in the place of the hub
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (folder,) = export(decided.run, "hf", tmp_path / "out")
    monkeypatch.setattr(
        "huggingface_hub.HfApi",
        lambda: huggingface_hub.hf_api.HfApi(endpoint="http://127.0.0.1:9"),
    )
    with pytest.raises(RunError, match=r"cannot be uploaded to http.*me/pets") as error:
        hf.push(folder, "me/pets")
    assert "\n" not in str(error.value) and "tries again" in str(error.value)


def test_what_cannot_be_uploaded_is_refused_first(
    monkeypatch: pytest.MonkeyPatch, online: None
) -> None:
    with pytest.raises(OptionError, match="is not OWNER/NAME"):
        hf.check_push("pets")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(OptionError, match="no token"):
        hf.check_push("me/pets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OptionError, match="HF_HUB_OFFLINE"):
        hf.check_push("me/pets")


def test_the_command_refuses_an_upload_before_it_writes(
    decided: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from labelsieve.cli.app import app

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for to, name, said in (
        ("csv", "me/pets", "goes with --to hf"),
        ("hf", "me/pets", "HF_HUB_OFFLINE"),
        ("hf", "pets", "OWNER/NAME"),
    ):
        words = [
            "export",
            str(decided.folder),
            "--to",
            to,
            "-o",
            str(tmp_path / "o.csv"),
        ]
        result = CliRunner().invoke(app, [*words, "--push-to-hub", name])
        assert result.exit_code and said in str(result.exception or result.output)
    assert not (tmp_path / "o.csv").exists()
