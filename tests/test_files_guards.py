"""What keeps names from leading out of a folder, and processes out of each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labelsieve import files, progress
from labelsieve.errors import DataError, RunError
from labelsieve.files import locked, path_to_uri, resolve_inside
from labelsieve.progress import plain


@pytest.mark.parametrize("name", ["a.png", "cat/1.png", "%41 b/ü?.png", "a\udcffb"])
def test_what_path_to_uri_writes_is_inside(tmp_path: Path, name: str) -> None:
    assert resolve_inside(tmp_path, path_to_uri(name)) == tmp_path / name


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a%2Fb",
        "%2E%2E/x",
        "a\0b",
        "\ud800",
    ],
)
def test_what_leads_out_or_is_spelled_otherwise_is_refused(
    tmp_path: Path, uri: str
) -> None:
    with pytest.raises(DataError, match="does not lie inside"):
        resolve_inside(tmp_path, uri)


@pytest.mark.parametrize("value", [None, 3, ["a"]])
def test_what_is_no_text_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(DataError, match="does not lie inside"):
        resolve_inside(tmp_path, value)  # type: ignore[arg-type]


def test_linked_folders_may_lead_round_but_not_out(tmp_path: Path) -> None:
    root, home = tmp_path / "data", tmp_path / "home"
    (root / "cat").mkdir(parents=True)
    home.mkdir()
    (root / "out").symlink_to(home)
    (root / "round").symlink_to(root / "cat")
    (root / "circle").symlink_to(root / "circle")
    assert resolve_inside(root, "round/a.png") == root / "round" / "a.png"
    # the link itself lies inside; only what is below it does not
    assert resolve_inside(root, "out") == root / "out"
    for uri in ("out/a.png", "out/new/a.png", "circle/a.png"):
        with pytest.raises(DataError, match="does not lie inside"):
            resolve_inside(root, uri)
    # the user's own root may be a link
    (tmp_path / "link").symlink_to(root)
    assert resolve_inside(tmp_path / "link", "cat/a.png").parent.name == "cat"


def test_text_for_terminals_moves_no_cursor() -> None:
    assert plain("ü \x1b[2K\nb") == "ü \\x1b[2K\\nb"


HOLD = """
import sys, time
from pathlib import Path
from labelsieve.files import locked
with locked(Path(sys.argv[1]), "it"):
    print("locked", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    return process


def test_the_second_waits_and_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    progress.be_quiet(False)
    first = hold(tmp_path / "data", 1.6)
    try:
        # the same folder under another name
        with locked(tmp_path / "x" / ".." / "data", "the data"):
            assert first.wait(10) == 0
    finally:
        progress.be_quiet(True)
        first.communicate()
    assert "Another labelsieve works on the data; waiting" in capfd.readouterr().err
    assert os.listdir(tmp_path) == []


def test_it_gives_up_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "QUIET_WAIT", 0.1)
    first = hold(tmp_path, 60)
    with (
        pytest.raises(RunError, match="still works on the data"),
        locked(tmp_path, "the data", longest=0.1),
    ):
        pass
    first.kill()
    first.communicate()
    # a lock ends with its process
    with locked(tmp_path, "the data"):
        pass


def test_a_thread_locks_again_and_another_waits(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with locked(tmp_path, "it", tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path, "it", tmp_path / "lock"), locked(tmp_path, "it"):
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_without_a_folder_to_write_to_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABELSIEVE_STATE", str(tmp_path / "file" / "below"))
    with locked(tmp_path, "it", tmp_path / "none" / "lock"):
        pass
