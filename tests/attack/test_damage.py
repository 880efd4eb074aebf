"""Files of a run and of the cache that are empty, cut, garbage, a folder, a link, locked away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attack import flip
from attack.children import start_forking, watched

GARBAGE = b"\x00\xff{]\"'" * 40


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(GARBAGE)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(GARBAGE)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def full_folder(path: Path) -> None:
    folder(path)
    (path / "file").write_bytes(GARBAGE)


def link_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[2] / "outside" / "a.txt")


def link_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def locked(path: Path) -> None:
    path.chmod(0)


def gone(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        *(empty, cut, garbage, longer, folder, full_folder, link_elsewhere),
        *(link_nowhere, circle, locked, gone, pipe),
    )
}

OFTEN = ["cut", "garbage", "link_elsewhere", "pipe"]
RARE = [kind for kind in DAMAGES if kind not in OFTEN]

# A person who moves all decisions away begins anew.
HARMLESS = {("decisions.sqlite", "gone")}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a finished scan, its cache, and a file of somebody else."""
    start_forking()
    made = tmp_path_factory.mktemp("damage")
    flip.prepare(made)
    (made / "outside").mkdir()
    (made / "outside" / "a.txt").write_bytes(flip.OUTSIDE)
    return made


def try_damage(case: int, base: str, part: str, file: str, kinds: list[str]) -> None:
    """In a child: one damage to a copy, read by everything that reads it."""
    here = Path(base)
    outside = here / "outside" / "a.txt"
    kind = kinds[case]
    try:
        flip.hurt(here, part, file, DAMAGES[kind], kind)
    finally:
        content = outside.read_bytes()
        outside.write_bytes(flip.OUTSIDE)
    if content != flip.OUTSIDE:
        raise ValueError(f"a file outside was written to ({kind} in place of {file})")


@pytest.mark.skipif(os.name == "nt", reason="no pipes, and links for some users only")
@pytest.mark.parametrize("part", flip.PARTS)
@pytest.mark.parametrize("among", [OFTEN, pytest.param(RARE, marks=pytest.mark.slow)])
def test_no_damage_stops_a_scan_or_is_believed(
    among: list[str], part: str, base: Path
) -> None:
    faults = []
    for file in flip.files_of(base, part):
        kinds = [kind for kind in among if (file, kind) not in HARMLESS]
        for case, fault in watched(
            try_damage, len(kinds), str(base), part, file, kinds
        ):
            faults.append(f"{part}/{file}, {kinds[case]}: {fault}")
    assert not faults, "\n".join(faults)
