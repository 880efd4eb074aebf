"""Decisions: durable, shared between processes, undone in order, and checked on reading."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.errors import OptionError, RunError
from labelsieve.runs._decisions_file import SCHEMA
from labelsieve.runs.decisions import (
    NAME,
    SETTLED,
    Answer,
    Conflict,
    Decisions,
    by_whom,
    open_decisions,
    person_of,
    window_of,
)
from labelsieve.runs.run import Run, run_folder


@pytest.fixture
def decisions(tmp_path: Path) -> Decisions:
    return Decisions(tmp_path)


def verdicts(decisions: Decisions) -> dict[str, str]:
    return {i: d.verdict for i, d in decisions.all_current().items()}


def test_a_decision_is_what_another_process_reads(
    tmp_path: Path, decisions: Decisions
) -> None:
    decisions.add("a#1", "accept", "cat", by="w1")
    (row,) = Decisions(tmp_path).table().to_pylist()
    assert (row["sample_id"], row["verdict"], row["label"], row["by"]) == (
        "a#1",
        "accept",
        "cat",
        "w1",
    )


def test_rows_cannot_be_changed_or_deleted(
    tmp_path: Path, decisions: Decisions
) -> None:
    decisions.add("a#1", "keep")
    with sqlite3.connect(tmp_path / NAME) as raw:
        for statement in (
            "UPDATE decisions SET verdict = 'none'",
            "DELETE FROM decisions",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement)
    raw.close()
    decisions.undo("script")
    assert len(decisions.history()) == 2  # the undo is a row of its own


def test_the_file_is_in_wal_mode_and_fully_synchronised(
    tmp_path: Path, decisions: Decisions
) -> None:
    with sqlite3.connect(tmp_path / NAME) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
    assert decisions._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_undo_brings_back_what_was_before_and_only_for_its_window(
    decisions: Decisions,
) -> None:
    decisions.add("a#1", "keep", by="w1")
    decisions.add("b#1", "none", by="w2")
    decisions.add("a#1", "accept", "cat", by="w1")
    assert [d.sample_id for d in decisions.undo("w1")] == ["a#1"]
    assert verdicts(decisions) == {"a#1": "keep", "b#1": "none"}
    decisions.undo("w1")
    assert verdicts(decisions) == {"b#1": "none"}
    assert decisions.undo("w1") == []
    assert decisions.undo_one(2, "w1").sample_id == "b#1"  # type: ignore[union-attr]
    assert decisions.undo_one(2, "w1") is None
    assert verdicts(decisions) == {}


def test_a_batch_leaves_settled_images_alone_and_is_undone_as_one(
    decisions: Decisions,
) -> None:
    decisions.add("a#1", "keep", by="w1")
    decisions.add("c#1", "skip", by="w1")
    assert (
        decisions.add_all(
            [(i, "accept", "cat") for i in ("a#1", "b#1", "c#1")], by="w1", batch="x"
        )
        == 2
    )
    assert verdicts(decisions) == {"a#1": "keep", "b#1": "accept", "c#1": "accept"}
    assert len(decisions.undo("w1")) == 2
    assert verdicts(decisions) == {"a#1": "keep", "c#1": "skip"}


def test_a_batch_that_fails_leaves_nothing(decisions: Decisions) -> None:
    with pytest.raises(OptionError, match="needs the right label"):
        decisions.add_all(
            [("a#1", "accept", "cat"), ("b#1", "accept", None)], by="w", batch="x"
        )
    assert verdicts(decisions) == {}
    assert decisions.add("a#1", "keep").seq == decisions.history()[0][0].seq


def test_a_window_that_did_not_see_the_latest_decision_is_told(
    tmp_path: Path, decisions: Decisions
) -> None:
    other = Decisions(tmp_path)
    first = decisions.add("a#1", "keep", by="w1", seen=0)
    with pytest.raises(Conflict) as caught:
        other.add("a#1", "none", by="w2", seen=0)
    assert caught.value.now == first
    other.add("a#1", "none", by="w2", seen=first.seq)
    assert verdicts(decisions) == {"a#1": "none"}


def test_unknown_verdicts_are_refused(decisions: Decisions) -> None:
    with pytest.raises(OptionError, match=r"'kep' is unknown.*Did you mean 'keep'"):
        decisions.add("a#1", "kep")


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    Decisions(tmp_path).close()

    def write(name: str) -> None:
        mine = Decisions(tmp_path)
        for number in range(25):
            mine.add(f"{name}-{number}#1", "keep", by=name)
        mine.close()

    threads = [threading.Thread(target=write, args=(f"w{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(verdicts(Decisions(tmp_path))) == {
        f"w{k}-{n}#1" for k in range(4) for n in range(25)
    }


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from labelsieve.runs.decisions import Decisions\n"
        "d = Decisions(Path(sys.argv[1]))\n"
        "for k in range(1000):\n"
        "    d.add(f'{k}#1', 'keep'); print(k, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    answered = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert {f"{line.strip()}#1" for line in answered} <= set(
        verdicts(Decisions(tmp_path))
    )


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(
        "not a database, but long enough to be read as one" * 50
    )
    with pytest.raises(RunError, match="cannot be used"):
        Decisions(tmp_path)


ACTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from("abc"),
            st.sampled_from(["keep", "none", "skip", "wrong"]),
            st.sampled_from("xy"),
        ),
        st.tuples(
            st.just("batch"),
            st.sampled_from("abc"),
            st.sampled_from("abc"),
            st.sampled_from("xy"),
        ),
        st.tuples(st.just("undo"), st.just(""), st.just(""), st.sampled_from("xy")),
    ),
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(ACTS)
def test_any_history_equals_a_naive_replay(
    acts: list[tuple[str, str, str, str]],
) -> None:
    """Reference: a plain list of (who, group, image, verdict), from which undo takes the latest
    group of `who`."""
    with tempfile.TemporaryDirectory() as folder:
        decisions, again = Decisions(Path(folder)), Decisions(Path(folder))
        log: list[tuple[str, int, str, str]] = []

        def naive() -> dict[str, str]:
            holds: dict[str, str] = {}
            for _, _, image, verdict in log:
                # to skip an image takes back nothing that was decided about it
                if verdict != "skip" or holds.get(image, "skip") == "skip":
                    holds[image] = verdict
            return holds

        for number, (act, first, second, who) in enumerate(acts):
            if act == "add":
                decisions.add(first, second, by=who)
                log.append((who, number, first, second))
            elif act == "batch":
                wanted = [
                    i
                    for i in dict.fromkeys((first, second))
                    if naive().get(i) not in SETTLED
                ]
                decisions.add_all(
                    [(i, "accept", "cat") for i in (first, second)],
                    by=who,
                    batch=str(number),
                )
                log += [(who, number, i, "accept") for i in wanted]
            else:
                decisions.undo(who)
                groups = [group for by, group, _, _ in log if by == who]
                log = [entry for entry in log if not groups or entry[1] != groups[-1]]
        assert verdicts(decisions) == naive() == verdicts(again)
        decisions.close(), again.close()


def history_of(folder: Path) -> list[Any]:
    """What a person would see; the file is closed again."""
    decisions = Decisions(folder)
    try:
        return [decisions.history(), decisions.all_current()]
    finally:
        decisions.close()


def test_a_flipped_bit_is_named_or_changes_nothing(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    for number in range(12):
        decisions.add(f"cat/{number}.png#ab12", "accept", "dog", by="a")
    decisions.undo("a")
    decisions.close()
    path = tmp_path / "decisions.sqlite"
    whole, expected = path.read_bytes(), history_of(tmp_path)
    whole = path.read_bytes()
    named = 0
    for at in range(0, len(whole), 11):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        for side in ("-wal", "-shm"):
            path.with_name(path.name + side).unlink(missing_ok=True)
        path.write_bytes(data)
        try:
            assert history_of(tmp_path) == expected, at
        except RunError as error:
            named += 1
            assert "decisions.sqlite' cannot be used" in error.what
    assert named > 20


def test_lost_rows_are_noticed(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path)
    for name in "abc":
        decisions.add(name, "keep")
    decisions.close()
    db = sqlite3.connect(tmp_path / "decisions.sqlite")
    db.execute("DROP TRIGGER no_delete")
    db.execute("DELETE FROM decisions WHERE seq = 3")
    db.commit()
    db.close()
    with pytest.raises(RunError, match="its last rows are lost"):
        Decisions(tmp_path)


def test_a_file_of_an_earlier_version_is_read_and_continued(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "decisions.sqlite")
    db.executescript(SCHEMA)
    insert = (
        "INSERT INTO decisions (sample_id, verdict, by, at) VALUES (?, 'keep', 'x', '')"
    )
    db.execute(insert, ("old",))
    db.commit()
    decisions, again = Decisions(tmp_path), Decisions(tmp_path)
    decisions.add("new", "keep")
    # the earlier version may still be running
    db.execute(insert, ("meanwhile",))
    db.commit()
    again.add("last", "keep")
    assert list(decisions.all_current()) == ["old", "new", "meanwhile", "last"]
    for each in (decisions, again, db):
        each.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sample_id", b"a"),
        ("verdict", "perhaps"),
        ("verdict", "undo"),
        ("verdict", "accept"),  # without a label
        ("label", b"cat"),
        ("by", b"x"),
        ("at", b"x"),
        ("batch", b"x"),
        ("undoes", 1.5),
        ("undoes", 1),  # of what is no undo
    ],
)
def test_a_row_that_nobody_can_have_written_is_named(
    tmp_path: Path, column: str, value: Any
) -> None:
    """Rows without a checksum are those of an earlier version, or of somebody else."""
    row = {"sample_id": "a", "verdict": "keep", "by": "x", "at": "", column: value}
    db = sqlite3.connect(tmp_path / NAME)
    db.executescript(SCHEMA)
    names = ", ".join(row)
    db.execute(
        f"INSERT INTO decisions ({names}) VALUES ({', '.join('?' * len(row))})",
        list(row.values()),
    )
    db.commit()
    db.close()
    with pytest.raises(RunError, match="row 1 is damaged"):
        Decisions(tmp_path)


@pytest.mark.parametrize("value", ["x", None, b"1"])
def test_a_last_number_that_is_none_is_named(tmp_path: Path, value: Any) -> None:
    decisions = Decisions(tmp_path)
    decisions.add("a", "keep")
    decisions.close()
    db = sqlite3.connect(tmp_path / NAME)
    db.execute("UPDATE sqlite_sequence SET seq = ?", (value,))
    db.commit()
    db.close()
    with pytest.raises(RunError, match="last row is damaged"):
        Decisions(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_only_the_owner_reads_decisions(tmp_path: Path) -> None:
    Decisions(tmp_path).close()
    assert (tmp_path / "decisions.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("side", ["", "-wal", "-shm"])
@pytest.mark.parametrize("there", [True, False])
def test_no_decision_is_written_through_a_link(
    tmp_path: Path, side: str, there: bool
) -> None:
    run_folder(tmp_path / "run").begin({})
    target = tmp_path / "elsewhere"
    if there:
        target.write_bytes(b"")
    (tmp_path / "run" / (NAME + side)).symlink_to(target)
    with pytest.raises(RunError, match="is a link"):
        Decisions(tmp_path / "run")
    with pytest.raises(RunError, match="is a link"):
        open_decisions(Run(tmp_path / "run"))
    assert target.exists() == there
    assert not there or target.read_bytes() == b""


def test_reading_decisions_of_an_earlier_version_changes_no_byte(
    tmp_path: Path,
) -> None:
    run_folder(tmp_path).begin({})
    assert open_decisions(Run(tmp_path)) is None
    assert not (tmp_path / NAME).exists()
    db = sqlite3.connect(tmp_path / NAME)
    db.executescript(SCHEMA)
    db.execute(
        "INSERT INTO decisions (sample_id, verdict, by, at) VALUES ('a', 'keep', '', '')"
    )
    db.commit()
    db.close()
    before = (tmp_path / NAME).read_bytes()
    decisions = open_decisions(Run(tmp_path))
    assert decisions is not None
    assert verdicts(decisions) == {"a": "keep"}
    with pytest.raises(RunError, match="readonly"):
        decisions.add("b", "keep")
    decisions.close()
    assert (tmp_path / NAME).read_bytes() == before


def test_many_answers_are_one_write_and_those_that_came_too_late_are_named(
    decisions: Decisions,
) -> None:
    seen = decisions.add("a", "keep", by="one").seq
    theirs = decisions.add("b", "none", by="two").seq
    answers = [
        Answer("a", "other", "cat", seen),  # what was decided may be decided again
        Answer("b", "keep", None, 0),  # but not unseen
        Answer("c", "accept", "dog"),
    ]
    assert decisions.add_many(answers, by="one", batch="x") == [answers[1]]
    assert verdicts(decisions) == {"a": "other", "b": "none", "c": "accept"}
    assert decisions.since(theirs)[1].keys() == {"a", "c"}
    assert [d.sample_id for d in decisions.undo("one")] == ["a", "c"]
    assert verdicts(decisions) == {"a": "keep", "b": "none"}
    with pytest.raises(OptionError):
        decisions.add_many(
            [Answer("d", "keep"), Answer("e", "what")], by="w", batch="y"
        )
    assert verdicts(decisions) == {"a": "keep", "b": "none"}


def test_what_changed_since_a_row_is_told_once(tmp_path: Path) -> None:
    here, there = Decisions(tmp_path), Decisions(tmp_path)
    assert here.since(0) == (0, {})
    first = there.add("a", "keep", by="w")
    there.add("b", "skip", by="w")
    last, changed = here.since(0)
    assert changed == {"a": first, "b": there.current("b")}
    assert here.last_was_skip("b") and not here.last_was_skip("a")
    there.undo_one(first.seq, "w")
    assert here.since(last) == (3, {"a": None})


def test_a_window_with_a_name_undoes_what_it_did_before_it_had_one(
    decisions: Decisions,
) -> None:
    by = by_whom("w1", "Ada @ home")
    assert (window_of(by), person_of(by)) == ("w1", "Ada @ home")
    assert (window_of("w1"), person_of("w1"), by_whom("w1")) == ("w1", "", "w1")
    decisions.add("a", "keep", by="w1")
    decisions.add("b", "keep", by=by)
    decisions.add("c", "keep", by="Ada @w2")
    assert [d.sample_id for d in decisions.undo(by)] == ["b"]
    assert [d.sample_id for d in decisions.undo(by)] == ["a"]
    assert decisions.undo(by) == [] and verdicts(decisions) == {"c": "keep"}
