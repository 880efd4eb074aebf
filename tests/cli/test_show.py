"""What the terminal shows: the numbers of the record, and words of the user's as they are."""

from __future__ import annotations

from typing import Any

import pytest

from labelsieve import registry
from labelsieve.cli import show
from labelsieve.data import preflight


def record(**changes: Any) -> dict[str, Any]:
    side = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "auroc": 0.875, "ap": 0.75}
    return {
        "command": {"label_column": "planted_label"},
        "warnings": ["3 images are unreadable."],
        "scored": 12_345,
        "images": 12_348,
        "flagged": 1_234,
        "noise_rate": {"rate": 0.1234, "low": 0.1, "high": 0.2},
        "noise_per_class": {"cat": 0.01, "dog": 0.5},
        "confused_pairs": [{"given": "cat", "suggested": "lynx", "images": 7.4}],
        "quality": {
            **side,
            "clean": {**side, "auroc": None},
            "wrong": 8,
            "images": 12_345,
        },
        "files": {
            "report.html": "run/report.html",
            "scores.parquet": "run/scores.parquet",
        },
        **changes,
    }


def test_a_scan_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    show.scan(record())
    shown = capsys.readouterr().out
    assert (
        "About 12.3 % of 12,345 labels are probably wrong (10.0 to 20.0 %); 1,234 are flagged."
        in shown
    )
    assert "! 3 images are unreadable." in shown
    assert shown.index("dog") < shown.index("cat"), "the worst class comes first"
    assert "50.0 %" in shown and "cat → lynx (7)" in shown
    assert "run/report.html" in shown and "run/scores.parquet" in shown


def test_where_the_interval_says_nothing_no_number_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = {"rate": 0.927, "low": 0.0, "high": 1.0}
    show.scan(record(noise_rate=wide, scored=23, flagged=2))
    few = capsys.readouterr().out
    assert (
        "Too few images to say how many of 23 labels are wrong; 2 are flagged." in few
    )
    assert "92.7" not in few
    show.scan(record(noise_rate=wide, scored=23, flagged=2, noun="text"))
    assert "Too few texts to say how many of 23 labels" in capsys.readouterr().out
    show.scan(record(noise_rate=wide, scored=20_000))
    assert "The model knows too little to say" in capsys.readouterr().out


def test_where_little_is_known_no_class_and_no_confusion_has_a_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    intervals = {"cat": [0.0, 0.2], "dog": [0.3, 0.95]}
    show.scan(record(noise_class_intervals=intervals))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["dog", "–", "30.0", "to", "95.0", "%"] in rows
    assert ["cat", "1.0", "%", "0.0", "to", "20.0", "%"] in rows
    wide = {"rate": 0.1234, "low": 0.0, "high": 0.9}
    show.scan(record(noise_class_intervals=intervals, noise_rate=wide))
    out = capsys.readouterr().out
    assert ["cat", "–", "0.0", "to", "20.0", "%"] in [
        line.split() for line in out.splitlines()
    ]
    assert "cat → lynx\n" in out


def test_labels_under_swapped_names_are_part_of_the_headline(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noise = {"rate": 0.35, "low": 0.33, "high": 0.36, "renamed": 1 / 3}
    show.scan(record(noise_rate=noise))
    assert (
        "About 35.0 % of 12,345 labels are probably wrong "
        "(33.0 to 36.0 %; 33.3 % bear another class's name); one by one, 1,234 are flagged."
        in capsys.readouterr().out
    )


def test_quality_has_both_sides_and_a_dash_for_what_is_undefined(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.scan(record())
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [
        "finding",
        "wrong",
        "labels",
        "0.500",
        "0.250",
        "0.333",
        "0.875",
        "0.750",
    ] in rows
    assert [
        "keeping",
        "right",
        "labels",
        "0.500",
        "0.250",
        "0.333",
        "–",
        "0.750",
    ] in rows


def test_without_truth_there_is_no_quality(capsys: pytest.CaptureFixture[str]) -> None:
    show.scan(record(quality=None, confused_pairs=[]))
    shown = capsys.readouterr().out
    assert "true labels" not in shown and "Most frequent confusions" not in shown


def test_ten_classes_are_shown_and_the_others_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.scan(record(noise_per_class={f"class{k:02d}": k / 100 for k in range(13)}))
    shown = capsys.readouterr().out
    assert [f"class{k:02d}" in shown for k in range(13)] == [False] * 3 + [True] * 10
    assert "and 3 more classes" in shown


def test_names_that_look_like_mark_up_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "[bold]x[/] [link=http://a]"
    show.scan(
        record(
            noise_per_class={name: 0.5},
            confused_pairs=[{"given": name, "suggested": name, "images": 1.0}],
            warnings=[name],
            files={"report.html": name, "scores.parquet": name},
        )
    )
    assert capsys.readouterr().out.count(name) == 6


def test_the_demo_says_what_was_planted_and_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.demo(record())
    shown = capsys.readouterr().out
    assert "8 planted errors among 12,345 labels" in shown
    assert (
        "2 of 8 wrong labels found: precision 0.500, recall 0.250, F1 0.333." in shown
    )
    show.demo(record(command={"label_column": "worse_label"}))
    assert "planted" not in capsys.readouterr().out


def test_the_preflight(capsys: pytest.CaptureFixture[str]) -> None:
    classes = {f"n{k:08d}": 100 - k for k in range(22)} | {"[b]tabby_cat": 1}
    found = preflight.Preflight(
        images=3000,
        usable=2500,
        classes=classes,
        names={c: c.replace("_", " ") for c in classes},
        unreadable=1,
        unreadable_examples=[{"path": "a.jpg", "reason": "empty file"}],
        unlabelled=0,
        twins=[],
        lonely=["[b]tabby_cat"],
        id_like=["n00000000"],
        conflicts=0,
        conflict_examples=[],
        repeated=0,
        notes=[],
    )
    show.preflight(found.as_dict())
    shown = capsys.readouterr().out
    assert "3,000 images, 2,500 usable, 23 classes" in shown
    assert (
        "n00000019: 81" in shown and "n00000020" not in shown and "and 3 more" in shown
    )
    for warning in found.warnings():
        assert warning in shown
    show.preflight({**found.as_dict(), "classes": {"[b]tabby_cat": 1}})
    assert "[b]tabby_cat: 1  (written “[b]tabby cat”)" in capsys.readouterr().out


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    show.methods(
        {
            "methods": [
                {
                    "name": "deft",
                    "summary": "Two prompts [x].",
                    "cost": "much",
                    "needs": ("text",),
                }
            ]
        }
    )
    assert capsys.readouterr().out == "deft  Two prompts [x].\n    Much. Needs text.\n"
    show.models({"models": [{"name": "tiny", "parameters": "4 M", "use": "demo"}]})
    assert capsys.readouterr().out == "tiny  4 M parameters\n    Demo.\n"
    assert registry.names("methods")


def test_scores(capsys: pytest.CaptureFixture[str]) -> None:
    show.score(
        {
            "images": 1200,
            "noun": "text",
            "scored": 1100,
            "flagged": 7,
            "file": "[x].csv",
            "scanned": 0,
        }
    )
    assert (
        capsys.readouterr().out == "1,100 of 1,200 texts scored, 7 flagged: [x].csv\n"
    )


def test_what_limits_the_verdict_comes_first_and_the_next_command_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    about_names = "Text is the wrong tool here."
    show.scan(
        record(
            caveats=["The demo model judged these pictures."],
            warnings=[about_names, "3 images are unreadable."],
            text_warnings=[about_names],
            findings={"rivals": 2, "dark": 1, "blurred": 0},
            files={"report.html": "my run/report.html", "scores.parquet": "s.parquet"},
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "! The demo model judged these pictures."
    assert lines[1] == "! 3 images are unreadable."
    assert not any(about_names in line for line in lines)
    assert "Also    2 near-duplicates with other labels, 1 dark picture" in lines[-2]
    assert lines[-1] == "Next    labelsieve review 'my run'"
    show.demo(record())
    assert capsys.readouterr().out.splitlines()[-1] == "Next    labelsieve review run"


@pytest.mark.parametrize(("verdict", "told"), [("nothing", True), ("fits", False)])
def test_that_text_says_nothing_is_told_beside_other_limits(
    capsys: pytest.CaptureFixture[str], verdict: str, told: bool
) -> None:
    sentence = "How far text and labels agree."
    found = {"verdict": verdict, "sentence": sentence}
    show.scan(record(caveats=["The demo model."], agreement=found, method_facts={}))
    assert (sentence in capsys.readouterr().out) == told
