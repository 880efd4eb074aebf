"""Tables for people: what stands in them, what is bold, and that no text breaks Markdown
or LaTeX.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable

import pyarrow as pa
import pytest

from labelsieve.bench import render
from labelsieve.bench.render import Sheet, Text
from labelsieve.bench.results import headroom

Make = Callable[..., pa.Table]
NASTY = r"50% & $x_1$ #2 {a} ~^\ <b> | *c* `d` [e] ± –"


def sheets(table: pa.Table) -> list[Sheet]:
    return render.sheets(table, headroom(table, {}))


def column(sheet: Sheet, name: str) -> dict[str, Text]:
    at = list(sheet.head).index(name)
    return {row[0].text: row[at] for row in sheet.rows}


def test_one_seed_has_an_interval_and_several_a_deviation(results: Make) -> None:
    table = results(
        {"method": "a", "f1": 0.7, "f1_low": 0.65, "f1_high": 0.75},
        {"method": "b", "f1": 0.5},
        {"method": "b", "f1": 0.6, "seed": 1},
        {"method": "c", "f1": None},
    )
    details = next(
        s for s in sheets(table) if s.title.startswith("digits, symmetric 20 %")
    )
    found = column(details, "F1")
    assert found["a"] == Text(".700 (.650–.750)", True)
    assert (
        found["b"].text == f".550 ± {render.figure(statistics.stdev([0.5, 0.6]))}"
        and not found["b"].bold
    )
    assert found["c"] == Text("–")
    assert (
        "20 % nominal" in details.title
        and "21.0 % wrong" in details.title
        and "tower tiny" in details.title
    )
    assert (
        details.notes[0]
        == "F1: a leads with .700 (.650–.750); next is b with .550 ± .071."
    )


def test_those_who_look_equal_lead_together(results: Make) -> None:
    table = results(
        {"method": "a", "f1": 0.80004},
        {"method": "b", "f1": 0.5},
        {"method": "c", "f1": 0.8},
    )
    notes = next(s for s in sheets(table) if s.title.startswith("digits")).notes
    assert notes[0] == "F1: a and c lead with .800; next is b with .500."
    assert notes[1] == "AUROC: a, b and c lead with .500."
    assert not next(
        s for s in sheets(results({})) if s.title.startswith("digits")
    ).notes, "one method leads nobody"


def test_what_looks_equal_is_equally_bold(results: Make) -> None:
    table = results(
        {"method": "a", "auroc": 0.80004},
        {"method": "b", "auroc": 0.8},
        {"method": "c", "auroc": 0.799},
    )
    overview = next(
        s for s in sheets(table) if s.title == "AUROC for wrong labels, tower tiny"
    )
    assert {
        m: t.bold for m, t in column(overview, "digits, symmetric 20 %").items()
    } == {
        "a": True,
        "b": True,
        "c": False,
    }


def test_every_table_names_its_tower(results: Make) -> None:
    table = results(
        {"tower": "tiny"}, {"tower": "bench"}, {"tower": "bench", "data": "cifar"}
    )
    found = sheets(table)
    assert len(found) == 2 * 6 + 3 + 1
    for sheet in found[:-1]:
        assert re.search(r"tower (tiny|bench)$", sheet.title)
    assert [row[1].text for row in found[-1].rows] == ["tiny", "bench", "bench"]


def test_what_did_not_run_is_listed_with_its_message(results: Make) -> None:
    found = sheets(
        results({}, {"method": "x", "state": "skipped", "message": "no archive"})
    )[-1]
    assert found.title == "Not run"
    assert [c.text for c in found.rows[0]] == [
        "tiny / digits / symmetric 20 % / x / seed 0",
        "skipped",
        "no archive",
    ]
    assert sheets(results({"state": "failed", "message": "no"}))[0].title == "Not run"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7441, ".744"),
        (1.0, "1.000"),
        (0.0, ".000"),
        (None, "–"),
        (0.99996, "1.000"),
        (-0.05, "-.050"),
    ],
)
def test_figures(value: float | None, text: str) -> None:
    assert render.figure(value) == text
    assert render.figure(0.05, sign=True) == "+.050"
    assert [render.amount(v) for v in (None, 0.04, 9.94, 12.6, 1234.0)] == [
        "–",
        "0.0",
        "9.9",
        "13",
        "1,234",
    ]


def unescaped(text: str) -> str:
    """What LaTeX would print."""
    for escape, plain in (
        (r"\textbackslash{}", "\0"),
        (r"\textasciitilde{}", "~"),
        (r"\textasciicircum{}", "^"),
        (r"\textless{}", "<"),
        (r"\textgreater{}", ">"),
        (r"$\pm$", "±"),
        ("--", "–"),
        *((f"\\{c}", c) for c in "&%$#_{}"),
    ):
        text = text.replace(escape, plain)
    return text.replace("\0", "\\")


def test_latex_escapes_everything_that_means_something() -> None:
    found = render.tex(NASTY)
    assert unescaped(found) == NASTY
    bare = re.sub(r"\\text[a-z]+\{\}|\$\\pm\$|\\[&%$#_{}]", "", found)
    assert not set(bare) & set("\\&%$#_{}~^<>")


def test_latex_tables_are_whole() -> None:
    page = render.latex(
        NASTY,
        [
            Sheet(
                NASTY,
                ["a", "b_1"],
                [[Text(NASTY), Text(".5", True)], [Text("x"), Text("–")]],
                [NASTY],
            )
        ],
    )
    for begin, end in (
        (r"\begin{table}", r"\end{table}"),
        (r"\begin{tabular}", r"\end{tabular}"),
    ):
        assert page.count(begin) == page.count(end) == 1
    body = page.split(r"\toprule")[1].split(r"\bottomrule")[0]
    for line in body.replace("\\midrule", "").strip().splitlines():
        assert not line or (
            line.endswith(r" \\") and len(re.findall(r"(?<!\\)&", line)) == 1
        )
    assert r"\textbf{.5}" in page and r"\begin{tabular}{lr}" in page
    assert all(
        line.startswith("%")
        for line in page.partition("\n\n\\begin")[0].splitlines()
        if line
    )


def test_markdown_tables_are_whole() -> None:
    page = render.markdown(
        NASTY, [Sheet("t", ["a", "b|c"], [[Text(NASTY), Text(".5", True)]], ["x\ny"])]
    )
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3} and len(
        lines
    ) == 3
    assert "**.5**" in lines[2] and "x y" in page
