from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import labelsieve as ls
from labelsieve.corrections import journal
from labelsieve.corrections.apply import PATCH, carry_out, in_words, prepare
from labelsieve.corrections.patch import read_patch
from labelsieve.corrections.policy import Policy
from labelsieve.data.images import content_hash
from labelsieve.data.sources import _history
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.runs.decisions import Decisions


def by_class(folder: Path) -> dict[str, set[str]]:
    return {
        f.name: {content_hash(p.read_bytes())[:12] for p in f.iterdir()}
        for f in folder.iterdir()
        if not f.name.startswith(".")
    }


def truth(planted: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for sample_id, label in planted.truth.items():
        found.setdefault(label, set()).add(sample_id.rpartition("#")[2][:12])
    return found


def test_scan_review_apply_gives_the_truth_and_reverse_the_original(
    planted: Any, tmp_path: Path
) -> None:
    before = planted.tree()
    decisions = Decisions(planted.folder)
    for sample_id in planted.wrong:
        decisions.add(sample_id, "accept", planted.truth[sample_id])
    decisions.close()
    ls.apply(planted.folder, tmp_path / "out")
    assert by_class(tmp_path / "out") == truth(planted) and planted.tree() == before
    ls.apply(planted.folder, in_place=True, yes=True)
    assert by_class(planted.data) == truth(planted)
    work = prepare(planted.folder, Policy())
    carry_out(work, reverse=True)
    assert planted.tree() == before


def test_in_place_needs_a_dry_run_of_the_same_changes(planted: Any) -> None:
    before = planted.tree()
    work = prepare(planted.folder, Policy("auto", 0.9))
    with pytest.raises(OptionError, match="not listed yet"):
        carry_out(work, yes=True)
    listed = carry_out(work)
    assert len(listed["changes"]) == len(
        planted.wrong
    ) and "12 changes would be made" in in_words(listed)
    other = prepare(planted.folder, Policy("auto", 0.9, relabel=False, drop=True))
    with pytest.raises(OptionError, match="not listed yet"):
        carry_out(other, yes=True)
    assert planted.tree() == before
    assert carry_out(work, yes=True)["relabelled"] == len(planted.wrong)
    assert carry_out(work, yes=True)["already"]


def test_nothing_is_left_out_without_drop(planted: Any, tmp_path: Path) -> None:
    decisions = Decisions(planted.folder)
    for sample_id in planted.wrong:
        decisions.add(sample_id, "none")
    decisions.close()
    assert ls.apply(planted.folder, tmp_path / "a")["dropped"] == 0
    assert sum(map(len, by_class(tmp_path / "a").values())) == len(planted.given)
    assert ls.apply(planted.folder, tmp_path / "b", policy=ls.Policy(drop=True))[
        "dropped"
    ] == len(planted.wrong)
    assert sum(map(len, by_class(tmp_path / "b").values())) == len(planted.given) - len(
        planted.wrong
    )


def test_the_patch_is_always_written_and_works_elsewhere(
    planted: Any, tmp_path: Path
) -> None:
    shutil.copytree(planted.data, tmp_path / "elsewhere")
    ls.apply(planted.folder, tmp_path / "out", policy=ls.Policy("auto", 0.9))
    patch = planted.folder / PATCH
    assert len(read_patch(patch)[0]) == len(planted.wrong)
    work = prepare(None, Policy(), patch=patch, data=str(tmp_path / "elsewhere"))
    carry_out(work)
    carry_out(work, yes=True)
    assert by_class(tmp_path / "elsewhere") == truth(planted)


def test_a_patch_needs_data_and_a_run_must_be_finished(planted: Any) -> None:
    with pytest.raises(OptionError, match="--patch with --data"):
        prepare(None, Policy(), patch=planted.folder / "x.parquet")
    planted.run.record["state"] = "running"
    with pytest.raises(RunError, match="not finished"):
        prepare(planted.run, Policy())


def test_review_goes_on_after_the_data_were_corrected_in_place(
    planted: Any, tmp_path: Path
) -> None:
    before, half = planted.tree(), len(planted.wrong) // 2
    for part in (planted.wrong[:half], planted.wrong[half:]):
        decisions = Decisions(planted.folder)
        for sample_id in part:
            decisions.add(sample_id, "accept", planted.truth[sample_id])
        decisions.close()
        assert len(carry_out(prepare(planted.folder, Policy()))["changes"]) == len(part)
        ls.apply(planted.folder, in_place=True, yes=True)
        exported = ls.export(planted.folder, "imagefolder", tmp_path / part[0][:3])[
            0
        ]  # moved pictures are found
        assert sum(p.is_file() for p in exported.rglob("*")) == len(planted.given)
    assert by_class(planted.data) == truth(planted)
    ls.apply(
        planted.folder, tmp_path / "copy", policy=ls.Policy(drop=True)
    )  # writes another patch into the run
    work = prepare(planted.folder, Policy())
    carry_out(work, reverse=True)
    assert planted.tree() == before


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder with its content and the time of its change."""
    content = {}
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b"folder"
        name = path.relative_to(folder).as_posix()
        content[name] = (path.stat().st_mtime_ns, data)
    return content


def test_in_python_nothing_changes_unless_it_is_said(planted: Any) -> None:
    before = everything(planted.data)
    auto = ls.Policy("auto", 0.9)
    for words in ({}, {"in_place": True}):
        facts = ls.apply(planted.folder, policy=auto, **words)
        assert facts["done"] == "listed"
        assert len(facts["changes"]) == len(planted.wrong)
    for words in ({"yes": True}, {"output": "x", "yes": True, "in_place": True}):
        with pytest.raises(OptionError):
            ls.apply(planted.folder, policy=auto, **words)
    assert everything(planted.data) == before
    facts = ls.apply(planted.folder, policy=auto, in_place=True, yes=True)
    assert facts["done"] == "changed" and by_class(planted.data) == truth(planted)


def test_the_patch_of_somebody_else_is_listed_without_a_trace(
    planted: Any, tmp_path: Path
) -> None:
    shutil.copytree(planted.data, tmp_path / "theirs" / "data")
    ls.apply(planted.folder, tmp_path / "out", policy=ls.Policy("auto", 0.9))
    patch = tmp_path / "theirs" / "a-patch.parquet"
    shutil.copy(planted.folder / PATCH, patch)
    before = everything(tmp_path / "theirs")
    data = str(tmp_path / "theirs" / "data")
    work = prepare(None, Policy(), patch=patch, data=data)
    with pytest.raises(OptionError, match="not listed yet"):
        carry_out(work, yes=True)
    assert len(carry_out(work)["changes"]) == len(planted.wrong)
    after = everything(tmp_path / "theirs")
    after.pop("data/.labelsieve", None)
    after.pop("data/.labelsieve/lock", None)
    assert after.keys() == before.keys()
    result = carry_out(work, yes=True)
    assert result["patch"] == str(patch)
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == [
        "a-patch.parquet",
        "data",
    ]


def test_what_can_never_be_written_is_not_asked_to_be_listed(
    planted: Any, tmp_path: Path
) -> None:
    ls.apply(planted.folder, tmp_path / "out", policy=ls.Policy("auto", 0.9))
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", planted.data)
    work = prepare(None, Policy(), patch=planted.folder / PATCH, data=packed)
    with pytest.raises(DataError, match="unpack it and scan the folder"):
        carry_out(work, yes=True)


def interrupted(planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One correction in place, written down and not done."""
    work = prepare(planted.folder, Policy("auto", 0.9))
    carry_out(work)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_finish", lambda *_: None)
        carry_out(work, yes=True)


def test_a_list_does_not_finish_and_the_same_command_does(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(planted, monkeypatch)
    before = everything(planted.data)
    work = prepare(planted.folder, Policy("auto", 0.9))
    result = carry_out(work, yes=True)
    assert result["done"] == "changed" and not result["already"]
    assert result["relabelled"] == len(planted.wrong)
    assert before != everything(planted.data)
    assert by_class(planted.data) == truth(planted)


def test_what_was_listed_is_all_that_is_done(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(planted, monkeypatch)
    before = everything(planted.data)
    other = prepare(planted.folder, Policy("auto", 0.9, relabel=False, drop=True))
    with pytest.raises(OptionError, match="not listed yet"):
        carry_out(other, yes=True)
    listed = carry_out(other)
    assert listed["unfinished"] and "are unfinished in" in in_words(listed)
    assert everything(planted.data) == before
    result = carry_out(other, yes=True)
    assert result["done"] == "finished" and "are finished in" in in_words(result)
    assert by_class(planted.data) == truth(planted)
    with pytest.raises(OptionError, match="not listed yet"):
        carry_out(other, yes=True)
    assert not carry_out(other)["unfinished"]
    assert carry_out(other, yes=True)["dropped"] == len(planted.wrong)


def test_the_work_of_somebody_else_is_finished_only_with_a_word(
    planted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted(planted, monkeypatch)
    monkeypatch.setenv("LABELSIEVE_STATE", str(tmp_path / "another-user"))
    before = everything(planted.data)
    work = prepare(planted.folder, Policy("auto", 0.9))
    ways = [{}, {"yes": True}, {"reverse": True}, {"output": tmp_path / "copy"}]
    for words in ways:
        with pytest.raises(RunError, match="did not begin here"):
            carry_out(work, **words)  # type: ignore[arg-type]
    assert everything(planted.data).keys() - before.keys() <= {".labelsieve/lock"}
    assert carry_out(work, finish=True)["unfinished"]
    carry_out(work, yes=True, finish=True)
    assert by_class(planted.data) == truth(planted)


def test_after_corrections_in_place_scan_and_train_say_how_to_go_on(
    planted: Any,
) -> None:
    ls.apply(planted.folder, policy=ls.Policy("auto"), in_place=True, yes=True)
    with pytest.raises(RunError, match="are gone or have changed") as caught:
        ls.train(planted.folder)
    assert "--reverse" in (do := caught.value.do) and str(planted.data) in do
    assert _history.how_to_go_on(planted.data.parent, planted.folder) == ""
