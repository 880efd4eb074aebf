"""Plots of the results, SVG: precision against recall, F1 against noise rate and cost.

Needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labelsieve.bench.results import (
    GROUP,
    LEADER,
    Row,
    by_method,
    finished,
    groups,
    mean,
)
from labelsieve.bench.steps import slug
from labelsieve.files import replacing

# Okabe and Ito's colours, which colour-blind people can tell apart, and a dash and a marker
# for the next round.
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
DASHES = ("-", "--", ":")
MARKERS = ("o", "s", "^")
# ids that do not change from run to run, and text that stays text
SAME_BYTES: Any = {"svg.hashsalt": "labelsieve", "svg.fonttype": "none"}
BOLD = {"linewidth": 2.6, "markersize": 9, "zorder": 3}
LEAST_SECONDS = 0.01  # a logarithmic axis has no zero
Style = Mapping[str, Any]
Curve = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Canvas:
    """What all plots share: where they go and how each method is drawn."""

    output: Path
    styles: Mapping[str, Style]

    def save(
        self, kind: str, names: Sequence[str], draw: Callable[[Axes], None]
    ) -> Path:
        """One plot as a file of its own; `names` begin with the tower's."""
        with matplotlib.rc_context(SAME_BYTES):
            # not through pyplot, which keeps every figure and wants a display
            figure = Figure(figsize=(8, 5), layout="constrained")
            axes = figure.subplots()
            draw(axes)
            axes.set_title(", ".join([*names[1:], f"tower {names[0]}"]))
            axes.grid(alpha=0.3)
            # outside, since curves fill the axes
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside right upper", fontsize="small")
            path = self.output / f"{kind}-{'-'.join(map(slug, names))}.svg"
            with replacing(path) as scratch:
                figure.savefig(scratch, metadata={"Date": None})
        return path


def write(results: pa.Table, curves: Mapping[str, Curve], output: Path) -> list[Path]:
    """All plots that the results allow.

    Args:
        curves: precision-recall curve of a cell, by its folder.
    """
    done = finished(results)
    canvas = Canvas(output, _styles(done.to_pylist()))
    written = []
    for group, rows in groups(done, GROUP).items():
        if any(row["folder"] in curves for row in rows):
            curved = _Curves(rows, curves, canvas.styles)
            written.append(canvas.save("pr", group, curved.draw))
    for pair, rows in groups(done, ("tower", "data")).items():
        # without truth there is no F1 to draw
        means = _Means([r for r in rows if r["f1"] is not None], canvas.styles)
        if len({row["noise"] for row in means.rows}) > 1:
            written.append(canvas.save("f1-noise", pair, means.rates))
        if means.rows:
            written.append(canvas.save("f1-seconds", pair, means.costs))
    return written


def _styles(rows: Sequence[Row]) -> dict[str, Style]:
    """How each method is drawn, in the order in which they appear; the leader is bold."""
    detectors = {row["method"]: row["detector"] for row in reversed(rows)}
    styles: dict[str, Style] = {}
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        lap, colour = divmod(number, len(COLOURS))
        style = {
            "color": COLOURS[colour],
            "linestyle": DASHES[lap % len(DASHES)],
            "marker": MARKERS[lap % len(MARKERS)],
        }
        styles[method] = style | (BOLD if detectors[method] == LEADER else {})
    return styles


@dataclass(frozen=True)
class _Curves:
    rows: Sequence[Row]
    curves: Mapping[str, Curve]
    styles: Mapping[str, Style]

    def draw(self, axes: Axes) -> None:
        """Of each method the curve of its first seed."""
        for method, own in by_method(self.rows).items():
            curve = self.curves.get(own[0]["folder"])
            if curve is not None:
                style = {**self.styles[method], "marker": ""}
                axes.plot(curve["recall"], curve["precision"], label=method, **style)
        axes.set(xlabel="recall of wrong labels", ylabel="precision")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))  # a little room above the best curves


@dataclass(frozen=True)
class _Means:
    rows: Sequence[Row]
    styles: Mapping[str, Style]

    def rates(self, axes: Axes) -> None:
        """Means over seeds; noises of one kind are joined by a line."""
        for method, own in by_method(self.rows).items():
            label = method
            for kind in dict.fromkeys(row["kind"] for row in own):
                points = _points([row for row in own if row["kind"] == kind])
                axes.plot(
                    *zip(*points, strict=True), label=label, **self.styles[method]
                )
                label = ""  # one line of the legend for all kinds
        axes.set(xlabel="share of wrong labels", ylabel="F1 for wrong labels")

    def costs(self, axes: Axes) -> None:
        """Means over noises and seeds."""
        for method, own in by_method(self.rows).items():
            seconds = max(mean(own, "seconds") or 0.0, LEAST_SECONDS)
            style = {**self.styles[method], "linestyle": ""}
            axes.plot([seconds], [mean(own, "f1") or 0.0], label=method, **style)
        axes.set(xlabel="seconds of the method, without shared features")
        axes.set(ylabel="F1 for wrong labels", xscale="log")


def _points(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Realised rate and F1 of each noise, from the lowest rate on."""
    by_noise: dict[str, list[Row]] = {}
    for row in rows:
        by_noise.setdefault(row["noise"], []).append(row)
    points = []
    for own in by_noise.values():
        points.append((mean(own, "realised_rate") or 0.0, mean(own, "f1") or 0.0))
    return sorted(points)
