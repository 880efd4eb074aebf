from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from labelsieve.corrections import journal
from labelsieve.corrections.journal import carry_out, finish, pending, step
from labelsieve.errors import DataError, RunError
from labelsieve.files import fingerprint, state_folder


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
        patched.setattr(journal, "_finish", lambda *_: None)
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


def left_behind(state: Path, todo: list[journal.Step], monkeypatch: Any) -> None:
    """Steps that were written down and not done."""
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_finish", lambda *_: None)
        carry_out(state, todo)


def write(state: Path, content: Any) -> None:
    (state / journal.NAME).write_text(json.dumps(content))


def sealed(todo: Any) -> dict[str, Any]:
    """A journal as anybody can write it."""
    return {"steps": todo, "check": fingerprint(todo)}


def test_steps_that_lead_out_are_not_even_written_down(state: Path) -> None:
    home = state.parent.parent / "home"
    with pytest.raises(DataError, match="lies outside of"):
        carry_out(state, [step("move", state.parent / "new", home)])
    assert not (state / journal.NAME).exists()


def test_steps_of_somebody_else_need_a_word(state: Path) -> None:
    write(state, sealed(steps(state.parent)))
    before = tree(state.parent)
    for call in (pending, finish):
        with pytest.raises(RunError, match=r"did not begin here.*--finish"):
            call(state)
    assert tree(state.parent) == before
    # an interrupted call of an earlier version looks the same
    assert pending(state, trusted=True) == steps(state.parent)
    assert finish(state, trusted=True)
    assert tree(state.parent) == WANTED


def test_steps_of_this_user_in_another_folder_are_those_of_somebody_else(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    left_behind(state, steps(state.parent), monkeypatch)
    assert pending(state) == steps(state.parent)
    other = tmp_path_factory.mktemp("other") / "state"
    shutil.copytree(state, other)
    with pytest.raises(RunError, match="did not begin here"):
        pending(other)
    # another user
    monkeypatch.setenv("LABELSIEVE_STATE", str(other))
    with pytest.raises(RunError, match="did not begin here"):
        pending(state)


def test_without_a_home_nothing_is_taken_for_ours(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_STATE", str(state.parent / "new" / "x"))
    left_behind(state, steps(state.parent), monkeypatch)
    with pytest.raises(RunError, match="did not begin here"):
        finish(state)
    assert finish(state, trusted=True)


def test_without_a_home_a_call_still_does_what_it_began(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose home may only be read."""
    monkeypatch.setenv("LABELSIEVE_STATE", str(state.parent / "new" / "x"))
    carry_out(state, steps(state.parent))
    assert tree(state.parent) == WANTED and not journal.is_begun(state)


def test_a_home_without_hard_links_keeps_a_secret(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    (state_folder() / journal.SECRET).unlink(missing_ok=True)
    monkeypatch.setattr("os.link", refuse)
    left_behind(state, steps(state.parent), monkeypatch)
    assert len((state_folder() / journal.SECRET).read_bytes()) == journal.SECRET_BYTES
    assert finish(state) and tree(state.parent) == WANTED


@pytest.mark.parametrize("name", ["from", "to", "keep"])
@pytest.mark.parametrize("path", ["{home}/x", "{data}/../home/x", "{data}/out/x", "x"])
def test_no_word_lets_steps_lead_out(state: Path, name: str, path: str) -> None:
    data, home = state.parent, state.parent.parent / "home"
    home.mkdir(exist_ok=True)
    (home / "x").write_text("mine")
    (data / "out").symlink_to(home)
    todo = step("swap", data / "new", data / "old", data / "aside")
    todo[name] = path.format(home=home, data=data)
    write(state, sealed([step("move", data / "moved", data / "away"), todo]))
    before = tree(data)
    with pytest.raises(DataError, match="lies outside of"):
        finish(state, trusted=True)
    assert tree(data) == before and (home / "x").read_text() == "mine"
    (home / "x").unlink()
    home.rmdir()


def test_a_step_cannot_open_the_way_of_the_next(state: Path) -> None:
    data, home = state.parent, state.parent.parent / "house"
    home.mkdir()
    (data / "link").symlink_to(home)
    todo = [
        step("move", data / "link", data / "way"),
        step("move", data / "new", data / "way" / "evil"),
    ]
    write(state, sealed(todo))
    with pytest.raises(DataError, match="lies outside of"):
        finish(state, trusted=True)
    assert list(home.iterdir()) == []
    home.rmdir()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        5,
        {},
        sealed(None),
        sealed("x"),
        sealed([3]),
        sealed([{}]),
        sealed([{"do": "chmod", "from": "/a", "to": "/b"}]),
        sealed([{"do": "move", "from": 3, "to": "/b"}]),
        sealed([{"do": "swap", "from": "/a", "to": "/b"}]),
        sealed([{"do": "move", "from": "\ud800", "to": "/b"}]),
        sealed([{"do": "move", "from": "/a\0", "to": "/b"}]),
        {**sealed([]), "check": "0"},
    ],
)
def test_what_is_no_list_of_steps_is_damaged(state: Path, content: Any) -> None:
    write(state, content)
    with pytest.raises(RunError, match="is damaged"):
        pending(state, trusted=True)


def test_a_journal_is_a_file(state: Path) -> None:
    os.mkfifo(state / journal.NAME)
    with pytest.raises(RunError, match="is damaged"):
        pending(state)
    (state / journal.NAME).unlink()
    (state / journal.NAME).symlink_to(state.parent / "new")
    with pytest.raises(RunError, match="is damaged"):
        pending(state)


def test_the_secret_is_the_user_s_alone(state: Path) -> None:
    carry_out(state, [])
    secret = state_folder() / journal.SECRET
    assert secret.stat().st_mode & 0o077 == 0
    assert len(secret.read_bytes()) == journal.SECRET_BYTES


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33, "pipe"])
def test_a_damaged_secret_signs_nothing_and_is_made_anew(
    state: Path, content: bytes | str
) -> None:
    todo = [step("move", state.parent / "moved", state.parent / "away")]
    secret = state_folder() / journal.SECRET
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.unlink(missing_ok=True)
    if isinstance(content, str):
        os.mkfifo(secret)
    else:
        secret.write_bytes(content)
    # a stranger knows what an empty key signs
    key = content if isinstance(content, bytes) else b""
    text = json.dumps([os.fspath(state.resolve()), todo], sort_keys=True)
    owner = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    write(state, {**sealed(todo), "owner": owner})
    with pytest.raises(RunError, match="that you did not begin here"):
        finish(state)
    assert (state.parent / "moved").exists()
    assert len(secret.read_bytes()) == journal.SECRET_BYTES
    assert secret.stat().st_mode & 0o077 == 0
    assert finish(state, trusted=True)
    # the new one holds from now on
    before = secret.read_bytes()
    carry_out(state, [step("move", state.parent / "away", state.parent / "moved")])
    assert secret.read_bytes() == before


def test_the_secret_is_on_the_disk_before_its_name(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state_folder() / journal.SECRET).unlink(missing_ok=True)
    done: list[str] = []
    real = os.link
    monkeypatch.setattr(journal, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(
        "os.link", lambda old, new: (done.append("link"), real(old, new))
    )
    carry_out(state, [])
    assert done[:3] == [f".{journal.SECRET}.{os.getpid()}", "link", state_folder().name]
