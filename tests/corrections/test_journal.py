from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from labelsieve.corrections import journal
from labelsieve.corrections.journal import carry_out, finish, step
from labelsieve.errors import DataError, RunError


class Killed(BaseException):
    pass


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): p.read_text()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in ("moved", "new", "old", "linked", "incoming/a", "present/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def steps(base: Path) -> list[journal.Step]:
    return [
        step("move", base / "moved", base / "far" / "away"),
        step("link", base / "linked", base / "second"),
        step("replace", base / "new", base / "old"),
        step(
            "swap",
            base / "incoming" / "a",
            base / "present" / "a",
            base / "aside" / "a",
        ),
        step("remove-empty", base / "empty", base),
        step("remove-empty", base / "present", base),
    ]


WANTED = {
    "far/away": "moved",
    "linked": "linked",
    "second": "linked",
    "old": "new",
    "present/a": "incoming/a",
    "aside/a": "present/a",
}


def test_every_verb(state: Path) -> None:
    carry_out(state, steps(state.parent))
    assert tree(state.parent) == WANTED and not (state.parent / "empty").exists()
    assert not finish(state)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("at", range(7))
def test_killed_anywhere_the_next_call_finishes(
    state: Path, monkeypatch: pytest.MonkeyPatch, at: int, half: bool
) -> None:
    real, count = journal._do, iter(range(100))

    def dying(*words: Any) -> None:
        dies = next(count) == at
        if dies and not half:
            raise Killed
        real(*words)
        if dies:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_do", dying)
        with pytest.raises(Killed):
            carry_out(state, steps(state.parent))
    assert finish(state)
    assert tree(state.parent) == WANTED


def test_a_damaged_journal_is_not_followed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(journal, "finish", lambda _: True)
        carry_out(state, steps(state.parent))
    found = json.loads((state / journal.NAME).read_text())
    found["steps"][0]["to"] = "/somewhere/else"
    (state / journal.NAME).write_text(json.dumps(found))
    before = tree(state.parent)
    with pytest.raises(RunError, match="damaged"):
        finish(state)
    assert tree(state.parent) == before


def test_nothing_is_replaced_and_nothing_is_missed(state: Path) -> None:
    with pytest.raises(DataError, match="appeared meanwhile"):
        carry_out(state, [step("move", state.parent / "new", state.parent / "old")])
    (state.parent / "old").unlink()
    assert finish(state) and (state.parent / "old").read_text() == "new"
    with pytest.raises(DataError, match="is gone"):
        carry_out(state, [step("move", state.parent / "no", state.parent / "nowhere")])
