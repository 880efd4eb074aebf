"""What every archive must do; new files are found by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from labelsieve import registry
from labelsieve.errors import DataError
from labelsieve.sources import DataSpec, open_source

ARCHIVES = registry.names("archives")


def whole(name: str, build: Any) -> Path:
    """A miniature of the archive."""
    if name == "cifar100n":
        build.cifar100([19, 29, 0])
        return build.human("CIFAR-100_human.pt", {"clean_label": [19, 29, 0], "noisy_label": [19, 0, 0]})
    if name == "cifar10n":
        build.cifar10([1, 2, 3, 4, 5])
        sets = ("clean_label", *registry.load("archives", name).SETS)
        return build.human("CIFAR-10_human.pt", {s: [1, 2, 3, 4, 5] for s in sets})
    makers = {"cifar100": build.cifar100, "tiny-imagenet": build.tiny, "stanford-cars": build.cars, "cub-200-2011": build.cub,
              "clothing1m": build.clothing, "webvision": build.webvision}  # fmt: skip
    return makers[name]()


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_offers_what_the_room_asks_for(name: str) -> None:
    room = registry.load("archives", name)
    assert "http" in room.WHERE and "\n" not in room.WHERE and room.CITE
    assert {"train", "test"} <= set(room.SPLITS)


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_opens_as_data_with_stable_ids(name: str, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = whole(name, build)
    monkeypatch.chdir(folder.parent)
    room = registry.load("archives", name)
    for split in room.SPLITS:
        spec = room.open(Path(folder.name), split)
        assert isinstance(spec, DataSpec) and spec == room.open(folder, split)  # however the folder is named
        rows = list(open_source(spec).rows())
        assert len({r.key for r in rows}) == len(rows) > 0 and all(r.label for r in rows)
        assert set(spec.class_names) <= {r.label for r in rows} | {r.truth for r in rows}
        assert all(r.split == split for r in rows)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_wrong_folder_names_itself_and_where_the_archive_is(name: str, tmp_path: Path) -> None:
    room = registry.load("archives", name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            room.open(folder, "train")
        assert f"'{folder}'" in str(caught.value) and room.WHERE in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_unknown_part_is_told_the_nearest(name: str, build: Any) -> None:
    with pytest.raises(DataError, match=r"Split 'trian' is unknown; there are: .*Did you mean 'train'\?"):
        registry.load("archives", name).open(whole(name, build), "trian")
