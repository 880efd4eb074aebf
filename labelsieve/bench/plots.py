"""Plots of the results, SVG: precision against recall, F1 against the noise rate, F1 against cost. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labelsieve.bench.results import GROUP, LEADER, by_method, finished, groups, mean
from labelsieve.bench.steps import slug

# Okabe and Ito's colours, which colour-blind people can tell apart, and a dash and a marker for the next round.
COLOURS = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#CC79A7",
    "#0072B2",
    "#D55E00",
    "#999999",
)
DASHES, MARKERS = ("-", "--", ":"), ("o", "s", "^")
SAME_BYTES: Any = {"svg.hashsalt": "labelsieve", "svg.fonttype": "none"}
BOLD = {"linewidth": 2.6, "markersize": 9, "zorder": 3}
Style = Mapping[str, Any]


def write(
    results: pa.Table, curves: Mapping[str, Mapping[str, Sequence[float]]], output: Path
) -> list[Path]:
    """All plots that the results allow.

    Args:
        curves: precision-recall curve of a cell, by its folder.
    """
    done = finished(results)
    methods = dict.fromkeys(done["method"].to_pylist())
    ours = {r["method"] for r in done.to_pylist() if r["detector"] == LEADER}
    styles = {
        m: {**_style(i), **(BOLD if m in ours else {})} for i, m in enumerate(methods)
    }
    written = []
    for group, rows in groups(done, GROUP).items():
        if any(r["folder"] in curves for r in rows):
            written.append(
                _save(
                    output,
                    "pr",
                    group,
                    partial(_curves, rows=rows, curves=curves, styles=styles),
                )
            )
    for pair, rows in groups(done, ("tower", "data")).items():
        rows = [r for r in rows if r["f1"] is not None]
        if len({r["noise"] for r in rows}) > 1:
            written.append(
                _save(
                    output, "f1-noise", pair, partial(_rates, rows=rows, styles=styles)
                )
            )
        if rows:
            written.append(
                _save(
                    output,
                    "f1-seconds",
                    pair,
                    partial(_costs, rows=rows, styles=styles),
                )
            )
    return written


def _style(number: int) -> Style:
    lap, place = divmod(number, len(COLOURS))
    return {
        "color": COLOURS[place],
        "linestyle": DASHES[lap % 3],
        "marker": MARKERS[lap % 3],
    }


def _save(
    output: Path, kind: str, names: Sequence[str], draw: Callable[[Axes], None]
) -> Path:
    with matplotlib.rc_context(SAME_BYTES):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_title(", ".join([*names[1:], f"tower {names[0]}"]))
        axes.grid(alpha=0.3)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", fontsize="small")
        path = output / f"{kind}-{'-'.join(map(slug, names))}.svg"
        figure.savefig(path, metadata={"Date": None})
    return path


def _curves(
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    curves: Mapping[str, Any],
    styles: Mapping[str, Style],
) -> None:
    """Of each method the curve of its first seed."""
    for method, own in by_method(rows).items():
        if own[0]["folder"] in curves:
            curve = curves[own[0]["folder"]]
            axes.plot(
                curve["recall"],
                curve["precision"],
                label=method,
                **{**styles[method], "marker": ""},
            )
    axes.set(
        xlabel="recall of wrong labels", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02)
    )


def _rates(
    axes: Axes, rows: Sequence[dict[str, Any]], styles: Mapping[str, Style]
) -> None:
    """Means over seeds; noises of one kind are joined by a line."""
    for method, own in by_method(rows).items():
        label = method
        for kind in dict.fromkeys(r["kind"] for r in own):
            noises = [
                [r for r in own if r["noise"] == n]
                for n in dict.fromkeys(r["noise"] for r in own if r["kind"] == kind)
            ]
            points = sorted(
                (mean(n, "realised_rate") or 0.0, mean(n, "f1") or 0.0) for n in noises
            )
            axes.plot(*zip(*points, strict=True), label=label, **styles[method])
            label = ""
    axes.set(xlabel="share of wrong labels", ylabel="F1 for wrong labels")


def _costs(
    axes: Axes, rows: Sequence[dict[str, Any]], styles: Mapping[str, Style]
) -> None:
    """Means over noises and seeds."""
    for method, own in by_method(rows).items():
        seconds, f1 = mean(own, "seconds") or 0.0, mean(own, "f1") or 0.0
        axes.plot(
            [max(seconds, 0.01)],
            [f1],
            label=method,
            **{**styles[method], "linestyle": ""},
        )
    axes.set(
        xlabel="seconds of the method, without shared features",
        ylabel="F1 for wrong labels",
        xscale="log",
    )
