"""The results as tables for people: Markdown, and LaTeX with booktabs. Every table names its tower."""

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
    by_method,
    finished,
    groups,
    mean,
    rank_correlation,
)
from labelsieve.estimation.metrics import FIGURES

NAMES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auroc": "AUROC",
    "ap": "AP",
    "clean_precision": "clean P",
    "clean_recall": "clean R",
    "clean_f1": "clean F1",
}
SHOWN = (
    "f1",
    "precision",
    "recall",
    "auroc",
    "ap",
    *CLEAN,
)  # of these the best one is bold
LEGEND = (
    "F1, precision, recall, AUROC and AP: finding wrong labels. Clean P, R, F1: keeping right ones. "
    "± is the standard deviation over seeds; where there is one seed, brackets hold the 95 % bootstrap interval over images. "
    "Wrong: the estimated share of wrong labels. Seconds: of the method on features that are there already; "
    "MiB: the most memory of the whole scan. Bold: the best of its column."
)


@dataclass(frozen=True)
class Text:
    """A cell of a table."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table: what it shows, its columns, and its rows; the first column is text, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Text]]
    notes: Sequence[str] = ()


def sheets(results: pa.Table, headroom: pa.Table) -> list[Sheet]:
    """Overview of each tower, details of each tower, data set and noise, headroom, and what did not run."""
    done = finished(results)
    made = [
        _overview(tower, rows, name)
        for (tower,), rows in groups(done, ("tower",)).items()
        for name in ("f1", "auroc")
    ]
    made += [_details(group, rows) for group, rows in groups(done, GROUP).items()]
    if len(headroom):
        made.append(_headroom(headroom))
    lacking = results.filter(pc.not_equal(results["state"], "done"))
    return [*made, _lacking(lacking)] if len(lacking) else made


def _overview(tower: str, rows: Sequence[dict[str, Any]], name: str) -> Sheet:
    columns = list(dict.fromkeys((r["data"], r["noise"]) for r in rows))
    methods = list(dict.fromkeys(r["method"] for r in rows))
    made = {m: [Text(m)] for m in methods}
    for column in columns:
        own = by_method([r for r in rows if (r["data"], r["noise"]) == column])
        for method, cell in _column(
            {m: own.get(m, []) for m in methods}, name, brackets=False
        ).items():
            made[method].append(cell)
    head = ["method", *(f"{data}, {noise}" for data, noise in columns)]
    return Sheet(
        f"{NAMES[name]} for wrong labels, tower {tower}", head, list(made.values())
    )


def _details(group: tuple[Any, ...], rows: Sequence[dict[str, Any]]) -> Sheet:
    tower, data, noise = group
    methods = by_method(rows)
    made = {m: [Text(m)] for m in methods}
    for name in SHOWN:
        for method, cell in _column(methods, name).items():
            made[method].append(cell)
    for name, show in (
        ("estimated_rate", figure),
        ("seconds", amount),
        ("peak_mib", amount),
    ):
        for method, own in methods.items():
            made[method].append(Text(show(mean(own, name))))
    seeds = len({r["seed"] for r in rows})
    wrong, rate = mean(rows, "realised_rate"), mean(rows, "nominal_rate")
    told = (
        []
        if wrong is None
        else [
            f"{100 * wrong:.1f} % wrong"
            + ("" if rate is None else f", {100 * rate:g} % nominal")
        ]
    )
    told += [
        f"{rows[0]['images']:,} images",
        f"{rows[0]['classes']} classes",
        f"{seeds} seed{'s' * (seeds > 1)}",
    ]
    head = ["method", *(NAMES[n] for n in SHOWN), "wrong", "seconds", "MiB"]
    return Sheet(
        f"{data}, {noise} ({'; '.join(told)}), tower {tower}",
        head,
        list(made.values()),
        _leaders(rows),
    )


def _column(
    methods: Mapping[str, Sequence[dict[str, Any]]], name: str, brackets: bool = True
) -> dict[str, Text]:
    """One figure of every method; the best one is bold, and what looks the same."""
    means = {m: figure(mean(own, name)) for m, own in methods.items()}
    best = max((v for v in means.values() if v != "–"), key=float, default=None)
    return {
        m: Text(spread(methods[m], name, brackets), v == best) for m, v in means.items()
    }


def spread(rows: Sequence[Mapping[str, Any]], name: str, brackets: bool = True) -> str:
    """Mean ± standard deviation over seeds; of one seed the value, and its interval where there is one."""
    values = [r[name] for r in rows if r[name] is not None]
    if len(values) > 1:
        return f"{figure(statistics.mean(values))} ± {figure(statistics.stdev(values))}"
    low, high = (
        (rows[0].get(f"{name}_{end}") for end in ("low", "high"))
        if values
        else (None, None)
    )
    ends = (
        ""
        if low is None or high is None or not brackets
        else f" ({figure(low)}–{figure(high)})"
    )
    return figure(values[0] if values else None) + ends


def _leaders(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Who leads on F1 and AUROC, and who comes next."""
    told = []
    for name in ("f1", "auroc"):
        methods = by_method(rows)
        known = {
            m: value
            for m, own in methods.items()
            if (value := mean(own, name)) is not None
        }
        ranked = sorted(known, key=lambda m: -known[m])
        first = [m for m in ranked if figure(known[m]) == figure(known[ranked[0]])]
        if len(ranked) < 2:
            continue
        lead = (
            f"{first[0]} leads"
            if len(first) == 1
            else f"{', '.join(first[:-1])} and {first[-1]} lead"
        )
        rest = [m for m in ranked if m not in first]
        after = (
            f"; next is {rest[0]} with {spread(methods[rest[0]], name)}" if rest else ""
        )
        told.append(
            f"{NAMES[name]}: {lead} with {spread(methods[first[0]], name)}{after}."
        )
    return told


def _headroom(table: pa.Table) -> Sheet:
    rows = [
        [
            Text(f"{r['data']}, {r['noise']}"),
            Text(r["tower"]),
            *(Text(figure(r[n])) for n in ("zero_shot", "probe", "gap")),
            Text(r["best_f1"] or "–"),
            Text(r["best_auroc"] or "–"),
            Text(figure(r["lead"], sign=True)),
            Text(figure(r["pictures"], sign=True)),
        ]
        for r in table.to_pylist()
    ]
    notes = [
        "Zero-shot and probe: accuracy on true labels of the untouched tower's answers and of a linear probe on its "
        "features, out of fold; the gap between them is what a method can teach. Lead: F1 of DeFT less that of the best other "
        "method. Pictures: AUROC of the best method that reads no class names less that of the best one that does and tunes no tower."
    ]
    for name in ("lead", "pictures"):
        found = rank_correlation(table, name)
        if found is not None:
            notes.append(
                f"Rank correlation (Spearman) of gap and {name} over {found[1]} pairs of tower and data set: {found[0]:.2f}."
            )
    head = [
        "data",
        "tower",
        "zero-shot",
        "probe",
        "gap",
        "best F1",
        "best AUROC",
        "lead of DeFT",
        "pictures",
    ]
    return Sheet(
        "Headroom: what each tower knows and what its features support",
        head,
        rows,
        notes,
    )


def _lacking(table: pa.Table) -> Sheet:
    rows = [
        [
            Text(
                " / ".join(
                    (
                        r["tower"],
                        r["data"],
                        r["noise"],
                        r["method"],
                        f"seed {r['seed']}",
                    )
                )
            ),
            Text(r["state"]),
            Text(r["message"] or ""),
        ]
        for r in table.to_pylist()
    ]
    return Sheet("Not run", ["cell", "state", "why"], rows)


def figure(value: float | None, sign: bool = False) -> str:
    """Three decimals, without the zero before the point."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''}.3f}"
    return re.sub(r"^([+-]?)0\.", r"\1.", text)


def amount(value: float | None) -> str:
    """Seconds or MiB: whole ones from ten on."""
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def markdown(title: str, made: Sequence[Sheet]) -> str:
    """One page."""
    parts = [f"# {_md(title)}", LEGEND]
    for sheet in made:
        lines = [
            [_md(h) for h in sheet.head],
            ["---", *["---:"] * (len(sheet.head) - 1)],
        ]
        lines += [
            [f"**{_md(c.text)}**" if c.bold else _md(c.text) for c in row]
            for row in sheet.rows
        ]
        parts += [
            f"## {_md(sheet.title)}",
            *map(_md, sheet.notes),
            "\n".join(f"| {' | '.join(line)} |" for line in lines),
        ]
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\`*_|<\[\]])", r"\\\1", " ".join(text.split()))


def latex(title: str, made: Sequence[Sheet]) -> str:
    """Tables for a paper; they need the package booktabs."""
    parts = [
        f"% {' '.join(title.split())}; needs \\usepackage{{booktabs}}",
        f"% {LEGEND}",
    ]
    for sheet in made:
        lines = [" & ".join(map(tex, sheet.head)) + r" \\", r"\midrule"]
        lines += [
            " & ".join(
                rf"\textbf{{{tex(c.text)}}}" if c.bold else tex(c.text) for c in row
            )
            + r" \\"
            for row in sheet.rows
        ]
        caption = " ".join(tex(s) for s in (f"{sheet.title}.", *sheet.notes))
        begin = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(sheet.head) - 1)}}}",
            r"\toprule",
        ]
        parts.append(
            "\n".join(
                [*begin, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
            )
        )
    return "\n\n".join(parts) + "\n"


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
    return "".join(SPECIAL.get(c, c) for c in " ".join(text.split()))


Renderer = Callable[[str, Sequence[Sheet]], str]
FORMATS: dict[str, Renderer] = {"table.md": markdown, "table.tex": latex}
assert set(FIGURES) <= set(NAMES)
