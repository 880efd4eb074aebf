"""What the terminal shows of a result."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def scan(record: dict[str, Any]) -> None:
    """Estimate, classes, pairs, quality where the truth is known, and where things are."""
    out = _console()
    noise = record["noise_rate"]
    for warning in record["warnings"]:
        out.print(f"[yellow]![/] {escape(warning)}")
    out.print(
        f"[bold]About {_percent(noise['rate'])} of {record['scored']:,} labels are probably wrong[/] "
        f"({_percent(noise['low'])} to {_percent(noise['high'])}); {record['flagged']:,} are flagged."
    )
    _classes(out, record["noise_per_class"])
    _pairs(out, record["confused_pairs"])
    if record["quality"]:
        _quality(out, record["quality"])
    out.print(
        f"Report  {escape(record['files']['report.html'])}\nScores  {escape(record['files']['scores.parquet'])} and .csv"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _classes(out: Console, rates: dict[str, float], shown: int = 10) -> None:
    table = Table("class", "probably wrong", box=None, pad_edge=False)
    for name, rate in sorted(rates.items(), key=lambda p: -p[1])[:shown]:
        table.add_row(escape(name), _percent(rate))
    out.print(table)
    if len(rates) > shown:
        out.print(f"and {len(rates) - shown} more classes in the report", style="dim")


def _pairs(out: Console, pairs: list[dict[str, Any]], shown: int = 5) -> None:
    if pairs:
        words = "; ".join(f"{escape(p['given'])} → {escape(p['suggested'])} ({p['images']:.0f})" for p in pairs[:shown])
        out.print(f"Most confused (given → probably): {words}")


def _quality(out: Console, quality: dict[str, Any]) -> None:
    table = Table("against the true labels", "precision", "recall", "F1", "AUROC", "AP", box=None, pad_edge=False)
    for name, side in (("finding wrong labels", quality), ("keeping right labels", quality["clean"])):
        table.add_row(
            name, *("–" if side[k] is None else f"{side[k]:.3f}" for k in ("precision", "recall", "f1", "auroc", "ap"))
        )
    out.print(table)


def demo(record: dict[str, Any]) -> None:
    """As `scan`, with a word about what was planted."""
    quality = record["quality"]
    out = _console()
    if record["command"]["label_column"] == "planted_label":
        out.print(
            f"These are handwritten digits of scikit-learn with [bold]{quality['wrong']} planted errors[/] among {quality['images']} labels."
        )
    scan(record)
    found = round(quality["recall"] * quality["wrong"])
    out.print(
        f"[bold]{found} of {quality['wrong']} wrong labels found[/]: precision {quality['precision']:.3f}, recall {quality['recall']:.3f}, F1 {quality['f1']:.3f}."
    )


def preflight(found: dict[str, Any]) -> None:
    """Counts and warnings."""
    from labelsieve.preflight import Preflight

    out = _console()
    out.print(f"{found['images']:,} images, {found['usable']:,} usable, {len(found['classes'])} classes")
    for name, count in list(found["classes"].items())[:20]:
        shown = found["names"][name]
        out.print(f"  {escape(name)}: {count:,}" + (f"  (written “{escape(shown)}”)" if shown != name else ""))
    if len(found["classes"]) > 20:
        out.print(f"  and {len(found['classes']) - 20} more", style="dim")
    for warning in Preflight(**found).warnings():
        out.print(f"[yellow]![/] {escape(warning)}")


def methods(found: dict[str, Any]) -> None:
    """One line per method."""
    table = Table("method", "what it is", "cost", "needs", box=None, pad_edge=False)
    for m in found["methods"]:
        table.add_row(m["name"], escape(m["summary"]), escape(m.get("cost", "")), ", ".join(m.get("needs", ())))
    _console().print(table)


def models(found: dict[str, Any]) -> None:
    """One line per model."""
    table = Table("model", "parameters", "use", box=None, pad_edge=False)
    for m in found["models"]:
        table.add_row(m["name"], m["parameters"], m["use"])
    _console().print(table)
