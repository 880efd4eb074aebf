"""What the terminal shows of a result."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table


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
    why = record.get("method_facts", {}).get("why") or record.get("agreement", {}).get(
        "sentence"
    )
    if why:
        out.print(escape(why))
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
    table = Table(
        Column("class", no_wrap=True), "probably wrong", box=None, pad_edge=False
    )
    for name, rate in sorted(rates.items(), key=lambda p: -p[1])[:shown]:
        table.add_row(escape(name), _percent(rate))
    out.print(table)
    if len(rates) > shown:
        out.print(f"and {len(rates) - shown} more classes in the report", style="dim")


def _pairs(out: Console, pairs: list[dict[str, Any]], shown: int = 5) -> None:
    if pairs:
        words = "; ".join(
            f"{escape(p['given'])} → {escape(p['suggested'])} ({p['images']:.0f})"
            for p in pairs[:shown]
        )
        out.print(f"Most confused (given → probably): {words}")


def _quality(out: Console, quality: dict[str, Any]) -> None:
    table = Table(
        "against the true labels",
        "precision",
        "recall",
        "F1",
        "AUROC",
        "AP",
        box=None,
        pad_edge=False,
    )
    for name, side in (
        ("finding wrong labels", quality),
        ("keeping right labels", quality["clean"]),
    ):
        table.add_row(
            name,
            *(
                "–" if side[k] is None else f"{side[k]:.3f}"
                for k in ("precision", "recall", "f1", "auroc", "ap")
            ),
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
    from labelsieve.data.preflight import Preflight

    out = _console()
    out.print(
        f"{found['images']:,} images, {found['usable']:,} usable, {len(found['classes'])} classes"
    )
    for name, count in list(found["classes"].items())[:20]:
        shown = found["names"][name]
        out.print(
            f"  {escape(name)}: {count:,}"
            + (f"  (written “{escape(shown)}”)" if shown != name else "")
        )
    if len(found["classes"]) > 20:
        out.print(f"  and {len(found['classes']) - 20} more", style="dim")
    for warning in Preflight(**found).warnings():
        out.print(f"[yellow]![/] {escape(warning)}")


def score(found: dict[str, Any]) -> None:
    """One line."""
    out = _console()
    out.print(
        f"{found['scored']:,} of {found['images']:,} images scored, {found['flagged']:,} flagged: {escape(found['file'])}"
    )


def noise(found: dict[str, Any]) -> None:
    """One line."""
    nominal = (
        ""
        if found["nominal_rate"] is None
        else f" (nominal {_percent(found['nominal_rate'])})"
    )
    _console().print(
        f"{found['wrong']:,} of {found['labelled']:,} labels are wrong now, {_percent(found['realised_rate'])}{nominal}: {escape(found['table'])}"
    )


def cache(found: dict[str, Any]) -> None:
    """One line."""
    freed = f", {found['deleted'] / 1e6:,.0f} MB deleted" if found["deleted"] else ""
    _console().print(
        f"{escape(found['folder'])}: {found['bytes'] / 1e6:,.0f} MB{freed}"
    )


def methods(found: dict[str, Any]) -> None:
    """What each method is, and below it what it costs and needs."""
    out = _console()
    for m in found["methods"]:
        needs = f" Needs {' and '.join(m['needs'])}." if m.get("needs") else ""
        cost = m.get("cost", "")
        out.print(
            f"[bold]{m['name']}[/]  {escape(m['summary'])}\n    [dim]{escape(cost[:1].upper() + cost[1:])}.{needs}[/]"
        )


def models(found: dict[str, Any]) -> None:
    """One line per model."""
    table = Table(
        Column("model", no_wrap=True), "parameters", "use", box=None, pad_edge=False
    )
    for m in found["models"]:
        table.add_row(m["name"], m["parameters"], m["use"])
    _console().print(table)


def train(record: dict[str, Any]) -> None:
    """What was trained on, validation figures of the chosen and the last epoch, and where the model is."""
    out = _console()
    used, figures = record["samples"], record["figures"]
    origins = ", ".join(
        f"{number:,} {name}" for name, number in used["origins"].items()
    )
    out.print(
        f"Trained on {used['train']:,} labels ({origins}); {used['left_out']:,} left out."
    )
    if figures["last"]:
        table = Table(
            f"on {figures['validation']['images']:,} validation images",
            "epoch",
            "accuracy",
            box=None,
            pad_edge=False,
        )
        for name in ("chosen", "last"):
            if figures[name]:
                saved = " (saved)" if figures["kept"] == name else ""
                table.add_row(
                    f"{name} epoch{saved}",
                    str(figures[name]["epoch"]),
                    f"{figures[name]['accuracy']:.4f}",
                )
        out.print(table)
    out.print(f"Model  {escape(record['folder'])}")


def predict(found: dict[str, Any]) -> None:
    """One line."""
    lost = f", {found['unreadable']:,} cannot be read" if found["unreadable"] else ""
    _console().print(
        f"{found['classified']:,} pictures classified{lost}: {escape(found['file'])}"
    )


def evaluate(found: dict[str, Any], shown: int = 20) -> None:
    """Accuracy and calibration, per class, and the confusion matrix where it fits on a screen."""
    out = _console()
    lost = f", {found['unreadable']:,} cannot be read" if found["unreadable"] else ""
    out.print(
        f"[bold]Accuracy {found['accuracy']:.4f}[/] on {found['images']:,} images{lost}; calibration error {found['calibration_error']:.4f}."
    )
    classes, confusion = found["classes"], found["confusion"]
    wide = len(classes) <= shown
    heads = (
        [Column(str(k), justify="right") for k in range(len(classes))] if wide else []
    )
    table = Table(
        Column("true class", no_wrap=True),
        Column("accuracy", justify="right"),
        *heads,
        box=None,
        pad_edge=False,
    )
    for k, (name, right) in enumerate(zip(classes, found["per_class"], strict=True)):
        row = [f"{k} {escape(name)}", "–" if right is None else f"{right:.3f}"]
        table.add_row(*row, *([str(count) for count in confusion[k]] if wide else []))
    out.print(table)
    if wide:
        out.print("Columns: how often each class was predicted.", style="dim")


def export_model(found: dict[str, Any]) -> None:
    """One line."""
    _console().print(
        f"{escape(found['file'])} (differs by {found['difference']:.1e} from the original)"
    )


def bench(found: dict[str, Any], shown: int = 10) -> None:
    """How many cells are done, who leads where, what did not run, and files."""
    out = _console()
    out.print(f"[bold]{found['done']:,} of {found['cells']:,} cells are done.[/]")
    heads = ("zero-shot", "probe", "best F1", "best AUROC", "DeFT leads by")
    table = Table(
        Column("data", no_wrap=True), "tower", *heads, box=None, pad_edge=False
    )
    for row in found["headroom"]:
        knows = (
            "–" if row[k] is None else f"{row[k]:.3f}" for k in ("zero_shot", "probe")
        )
        best = (escape(row[k] or "–") for k in ("best_f1", "best_auroc"))
        lead = "–" if row["lead"] is None else f"{row['lead']:+.3f}"
        table.add_row(
            escape(f"{row['data']}, {row['noise']}"),
            escape(row["tower"]),
            *knows,
            *best,
            lead,
        )
    out.print(table)
    for cell in found["not_run"][:shown]:
        where = " / ".join(
            cell[k] for k in ("tower", "data", "noise", "method", "seed")
        )
        out.print(
            f"[yellow]![/] {escape(where)}: {cell['state']}: {escape(cell['message'] or '')}"
        )
    if len(found["not_run"]) > shown:
        out.print(f"and {len(found['not_run']) - shown} more in the table", style="dim")
    for warning in found["warnings"]:
        out.print(f"[yellow]![/] {escape(warning)}")
    out.print(
        f"Tables  {escape(found['files']['table.md'])} and .tex\nFigures {escape(found['files']['results.parquet'])}"
    )


def published(found: dict[str, Any]) -> None:
    """Printed figures beside ours and what differs; where there are no results, all that was printed, in percent."""
    out = _console()
    if found["results"] is None:
        _printed(
            out,
            [r for r in found["published"] if r["task"] == "detection"],
            ("precision", "recall", "f1"),
        )
        _printed(
            out,
            [r for r in found["published"] if r["task"] == "classification"],
            ("best", "last"),
        )
        return
    if not found["beside"]:
        out.print(
            f"Nothing was published of the data, noise and rates in {escape(found['results'])}."
        )
        return
    pairs = [
        Column(f"{name} {whose}", justify="right")
        for name in ("P", "R", "F1")
        for whose in ("there", "here")
    ]
    table = Table(
        "data",
        "tower",
        "method there",
        "here",
        *pairs,
        "differs",
        box=None,
        pad_edge=False,
    )
    for row in found["beside"]:
        values = (
            row[f"{whose}clean_{n}"]
            for n in ("precision", "recall", "f1")
            for whose in ("published_", "")
        )
        figures = ("–" if v is None else f"{v:.3f}" for v in values)
        words = (
            f"{row['data']}, {row['noise']}",
            row["tower"],
            row["published_method"],
            row["method"] or "–",
        )
        table.add_row(*map(escape, words), *figures, escape(row["differs"]))
    out.print(table)


def _printed(out: Console, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    columns = (Column(n, justify="right") for n in names)
    table = Table(
        "data",
        "noise",
        "method",
        "backbone",
        *columns,
        "from",
        box=None,
        pad_edge=False,
    )
    for row in rows:
        rate = "" if row["rate"] is None else f" {100 * row['rate']:g} %"
        figures = ("–" if row[n] is None else f"{row[n]:.2f}" for n in names)
        table.add_row(
            row["dataset"],
            row["noise"] + rate,
            row["method"],
            row["backbone"],
            *figures,
            row["source"],
        )
    out.print(table)
