"""The results as tables for people: Markdown, and LaTeX with booktabs.

Every table names its tower.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.bench.results import (
    CLEAN,
    GROUP,
    Row,
    by_method,
    finished,
    groups,
    mean,
    rank_correlation,
)
from labelsieve.estimation.metrics import FIGURES

# As columns are headed: short, since a table has a dozen of them.
NAMES = {
    "f1": "F1",
    "f1_best": "best F1",
    "f1_known": "F1 at rate",
    "fnr": "FNR",
    "ece": "ECE",
    "precision": "precision",
    "recall": "recall",
    "auroc": "AUROC",
    "ap": "AP",
    "clean_precision": "clean P",
    "clean_recall": "clean R",
    "clean_f1": "clean F1",
}
# of these the best one is bold
SHOWN = (
    *("f1", "f1_best", "f1_known", "fnr"),
    *("precision", "recall", "auroc", "ap", "ece"),
    *CLEAN,
)
# Of sets of labels, label by label.
SET_NAMES = {
    "map": "mAP",
    "auroc_missing": "AUROC missing",
    "auroc_extra": "AUROC extra",
    "label_f1": "F1",
    "label_ece": "ECE",
}
LOW = ("fnr", "ece", "label_ece")  # of these the least is best
LEGEND = (
    "F1, precision, recall, AUROC and AP: finding wrong labels. Best F1: at the best threshold; "
    "F1 at rate: with as many flagged as are wrong; FNR: share of wrong labels that are missed by "
    "who looks at as many of the most suspicious as are wrong. ECE: calibration error of the "
    "probability that a label is wrong. Clean P, R, F1: keeping "
    "right ones. ± is the standard deviation over seeds; where there is one seed, brackets "
    "hold the 95 % bootstrap interval over images. Wrong: the estimated share of wrong "
    "labels. Seconds: of the method on features that are there already; MiB: the most memory "
    "of the whole scan. Bold: the best of its column."
)
HEADROOM_LEGEND = (
    "Zero-shot and probe: accuracy on true labels of the untouched tower's answers and of a "
    "linear probe on its features, out of fold; the gap between them is what a method can "
    "teach. Lead: F1 of DeFT less that of the best other method. Pictures: AUROC of the best "
    "method that reads no class names less that of the best one that does and tunes no tower."
)
NOTHING = "–"  # where a figure is not known


@dataclass(frozen=True)
class Text:
    """A cell of a table."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table: its title, columns and rows; the first column is text, others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Text]]
    notes: Sequence[str] = ()


def sheets(results: pa.Table, headroom: pa.Table) -> list[Sheet]:
    """Overview of each tower, details of each group, headroom, and what did not run."""
    done = finished(results)
    tables = []
    # the overview first: it is what most people look for
    for (tower,), rows in groups(done, ("tower",)).items():
        for name in ("f1", "f1_best", "f1_known", "fnr", "auroc", "ece"):
            tables.append(_overview(tower, rows, name))
    for group, rows in groups(done, GROUP).items():
        tables.append(_details(group, rows))
        if mean(rows, "map") is not None:
            tables.append(_sets(group, rows))
    # empty where no cell is done
    if len(headroom):
        tables.append(_headroom(headroom))
    lacking = results.filter(pc.not_equal(results["state"], "done"))
    if len(lacking):
        tables.append(_lacking(lacking))
    return tables


def _overview(tower: str, rows: Sequence[Row], name: str) -> Sheet:
    """One figure of every method on every data set and noise."""
    # in the order of the configuration, which a set would lose
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = {method: [Text(method)] for method in methods}
    head = ["method"]
    for data, noise in dict.fromkeys((row["data"], row["noise"]) for row in rows):
        here = [row for row in rows if (row["data"], row["noise"]) == (data, noise)]
        # a method may lack a cell: its place stays empty
        own: dict[str, list[Row]] = {method: [] for method in methods}
        own |= by_method(here)
        head.append(f"{data}, {noise}")
        # without intervals: this sheet is wide, and the details have them
        _add(lines, _column(own, name, brackets=False))
    title = f"{NAMES[name]} for wrong labels, tower {tower}"
    return Sheet(title, head, list(lines.values()))


def _details(group: tuple[Any, ...], rows: Sequence[Row]) -> Sheet:
    """All figures of every method on one data set with one noise."""
    tower, data, noise = group
    methods = by_method(rows)
    lines = {method: [Text(method)] for method in methods}
    for name in SHOWN:
        _add(lines, _column(methods, name))
    for method, own in methods.items():
        lines[method] += [
            Text(figure(mean(own, "estimated_rate"))),
            Text(amount(mean(own, "seconds"))),
            Text(amount(mean(own, "peak_mib"))),
        ]
    head = ["method", *(NAMES[name] for name in SHOWN), "wrong", "seconds", "MiB"]
    title = f"{data}, {noise} ({'; '.join(_facts(rows))}), tower {tower}"
    return Sheet(title, head, list(lines.values()), _leaders(rows))


def _sets(group: tuple[Any, ...], rows: Sequence[Row]) -> Sheet:
    """Figures label by label of every method on sets of labels."""
    tower, data, noise = group
    methods = by_method(rows)
    lines = {method: [Text(method)] for method in methods}
    for name in SET_NAMES:
        _add(lines, _column(methods, name))
    title = f"{data}, {noise}, label by label, tower {tower}"
    given = figure(mean(rows, "map_given"))
    note = f"mAP of the given labels alone: {given}. Mosaics are made of pictures of one class."
    return Sheet(title, ["method", *SET_NAMES.values()], list(lines.values()), [note])


def _facts(rows: Sequence[Row]) -> list[str]:
    """What a group is made of."""
    facts = []
    wrong, rate = mean(rows, "realised_rate"), mean(rows, "nominal_rate")
    if wrong is not None:
        nominal = "" if rate is None else f", {100 * rate:g} % nominal"
        facts.append(f"{100 * wrong:.1f} % wrong{nominal}")
    seeds = len({row["seed"] for row in rows})
    facts.append(f"{rows[0]['images']:,} images")
    facts.append(f"{rows[0]['classes']} classes")
    facts.append(f"{seeds} seed{'s' * (seeds > 1)}")
    return facts


def _add(lines: Mapping[str, list[Text]], column: Mapping[str, Text]) -> None:
    for method, cell in column.items():
        lines[method].append(cell)


def _column(
    methods: Mapping[str, Sequence[Row]], name: str, brackets: bool = True
) -> dict[str, Text]:
    """One figure of every method; the best one is bold, and what looks the same."""
    means = {method: figure(mean(own, name)) for method, own in methods.items()}
    # compared as they are shown: what looks the same is equally good
    known = [value for value in means.values() if value != NOTHING]
    choose = min if name in LOW else max
    best = choose(known, key=float, default=None)
    column = {}
    for method, value in means.items():
        text = spread(methods[method], name, brackets)
        column[method] = Text(text, value == best)
    return column


def spread(rows: Sequence[Mapping[str, Any]], name: str, brackets: bool = True) -> str:
    """Mean ± standard deviation over seeds; of one seed the value, and its interval if known."""
    values = [row[name] for row in rows if row[name] is not None]
    if not values:
        return NOTHING
    if len(values) > 1:  # one value has no deviation
        return f"{figure(statistics.mean(values))} ± {figure(statistics.stdev(values))}"
    # an interval over images; over seeds the deviation above says more
    low, high = rows[0].get(f"{name}_low"), rows[0].get(f"{name}_high")
    if low is None or high is None or not brackets:
        return figure(values[0])
    return f"{figure(values[0])} ({figure(low)}–{figure(high)})"


def _leaders(rows: Sequence[Row]) -> list[str]:
    """Who leads on F1 and AUROC, and who comes next."""
    sentences = []
    for name in ("f1", "auroc"):
        known = {}
        for method, own in by_method(rows).items():
            value = mean(own, name)
            if value is not None:
                known[method] = value
        if len(known) > 1:  # one method leads nobody
            sentences.append(f"{NAMES[name]}: {_ranking(known, rows, name)}.")
    return sentences


def _ranking(known: Mapping[str, float], rows: Sequence[Row], name: str) -> str:
    """Methods that look the same in the table share the lead."""
    # sorting is stable: of equal methods the configuration's first leads
    ranked = sorted(known, key=lambda method: -known[method])
    shown = {method: figure(value) for method, value in known.items()}
    first = [method for method in ranked if shown[method] == shown[ranked[0]]]
    methods = by_method(rows)
    if len(first) == 1:
        who = f"{first[0]} leads"
    else:
        who = f"{', '.join(first[:-1])} and {first[-1]} lead"
    sentence = f"{who} with {spread(methods[first[0]], name)}"
    if len(first) == len(ranked):
        return sentence
    second = ranked[len(first)]
    return f"{sentence}; next is {second} with {spread(methods[second], name)}"


def _headroom(table: pa.Table) -> Sheet:
    # a difference shows its sign, as it may go either way
    lines = []
    for row in table.to_pylist():
        texts = [f"{row['data']}, {row['noise']}", row["tower"]]
        texts += [figure(row[name]) for name in ("zero_shot", "probe", "gap")]
        texts += [row["best_f1"] or NOTHING, row["best_auroc"] or NOTHING]
        texts += [figure(row[name], sign=True) for name in ("lead", "pictures")]
        lines.append([Text(text) for text in texts])
    head = ["data", "tower", "zero-shot", "probe", "gap", "best F1", "best AUROC"]
    head += ["lead of DeFT", "pictures"]
    title = "Headroom: what each tower knows and what its features support"
    return Sheet(title, head, lines, [HEADROOM_LEGEND, *_correlations(table)])


def _correlations(table: pa.Table) -> list[str]:
    """Whether methods gain where there is more to learn, one sentence each."""
    sentences = []
    for name in ("lead", "pictures"):
        correlation = rank_correlation(table, name)
        if correlation is not None:
            rho, pairs = correlation
            sentences.append(
                f"Rank correlation (Spearman) of gap and {name} over {pairs} pairs of tower "
                f"and data set: {rho:.2f}."
            )
    return sentences


def _lacking(table: pa.Table) -> Sheet:
    lines = []
    for row in table.to_pylist():
        names = [row["tower"], row["data"], row["noise"], row["method"]]
        cell = " / ".join([*names, f"seed {row['seed']}"])
        lines.append([Text(cell), Text(row["state"]), Text(row["message"] or "")])
    return Sheet("Not run", ["cell", "state", "why"], lines)


def figure(value: float | None, sign: bool = False) -> str:
    """Three decimals, without the zero before the point."""
    if value is None:
        return NOTHING
    text = f"{value:{'+' if sign else ''}.3f}"
    # of the text, as rounding may have made it 1.000
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def amount(value: float | None) -> str:
    """Seconds or MiB: whole ones from ten on."""
    if value is None:
        return NOTHING
    # two or more digits either way
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def markdown(title: str, tables: Sequence[Sheet]) -> str:
    """One page."""
    parts = [f"# {_md(title)}", LEGEND]
    for sheet in tables:
        # dashes with a colon align a column of numbers to the right
        lines = [map(_md, sheet.head), ["---", *["---:"] * (len(sheet.head) - 1)]]
        lines += [map(_md_cell, row) for row in sheet.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts += [f"## {_md(sheet.title)}", *map(_md, sheet.notes), table]
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Text) -> str:
    return f"**{_md(cell.text)}**" if cell.bold else _md(cell.text)


def _md(text: str) -> str:
    """Text on one line in which no character means anything to Markdown."""
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", " ".join(text.split()))


def latex(title: str, tables: Sequence[Sheet]) -> str:
    """Tables for a paper; they need the package booktabs."""
    parts = [
        # on one line, since the next one would no longer be a comment of LaTeX
        f"% {' '.join(title.split())}; needs \\usepackage{{booktabs}}",
        f"% {LEGEND}",
    ]
    parts += [_latex_table(sheet) for sheet in tables]
    return "\n\n".join(parts) + "\n"


def _latex_table(sheet: Sheet) -> str:
    # booktabs has no lines between columns, and notes go into the caption
    caption = " ".join(map(tex, (f"{sheet.title}.", *sheet.notes)))
    columns = "l" + "r" * (len(sheet.head) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(tex, sheet.head)) + r" \\",
        r"\midrule",
    ]
    for row in sheet.rows:
        lines.append(" & ".join(map(_tex_cell, row)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _tex_cell(cell: Text) -> str:
    return rf"\textbf{{{tex(cell.text)}}}" if cell.bold else tex(cell.text)


# What LaTeX would take for a command, or has no letter for.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def tex(text: str) -> str:
    """Text in which no character means anything to LaTeX."""
    # in one pass: a second replacement would escape what the first put in
    return "".join(SPECIAL.get(c, c) for c in " ".join(text.split()))


Renderer = Callable[[str, Sequence[Sheet]], str]
FORMATS: dict[str, Renderer] = {"table.md": markdown, "table.tex": latex}
# found when the package is imported, and not when the last cell has run
assert set(FIGURES) <= set(NAMES)
