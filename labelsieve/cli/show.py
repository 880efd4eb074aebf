"""What the terminal shows of a result.

Names, labels and paths come with the data: everything of theirs goes through `_text`.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from labelsieve.progress import between, counted, flagged, percent, plain

if TYPE_CHECKING:
    from labelsieve.audits.headline import Headline

FITS = "fits"  # labelsieve.estimation.agreement.FITS, which takes long to import
# Of the findings about pictures, those that a person would want to look at.
FINDINGS = (
    (
        "rivals",
        "near-duplicate with another label",
        "near-duplicates with other labels",
    ),
    ("outlier", "outlier", "outliers"),
    ("dark", "dark picture", "dark pictures"),
    ("blurred", "blurred picture", "blurred pictures"),
    ("odd_size", "of an odd size", "of an odd size"),
)


def _console() -> Console:
    # lines are left whole, so that paths can be copied and output can be searched
    return Console(highlight=False, soft_wrap=True)


def _text(words: str) -> str:
    """Words that come with the data, as they are: no markup of rich, no escape sequence."""
    return escape(plain(words))


def _table(*columns: Column | str) -> Table:
    return Table(*columns, box=None, pad_edge=False)


def _figure(value: float | None, form: str = ".3f") -> str:
    """A figure, or a dash where it is undefined."""
    return "–" if value is None else format(value, form)


def _and_more(out: Console, count: int, what: str) -> None:
    if count > 0:
        out.print(f"and {count} more{what}", style="dim")


def scan(record: dict[str, Any], found: Headline | None = None) -> None:
    """Estimate, classes, pairs, quality where the truth is known, and where things are.

    Args:
        found: what is known beyond the scan, of a run about which people decided already.
    """
    # here, because other commands need no estimate and start faster without
    from labelsieve.audits import headline

    out = _console()
    # warnings come first: they say how far the rest can be trusted
    noise = record["noise_rate"]
    caveats = record.get("caveats", [])
    for warning in [*caveats, *_other_warnings(record)]:
        out.print(f"[yellow]![/] {_text(warning)}")
    found = found or headline.of_scan(record)
    # a class under another name is one mistake, and none of its labels is a suspect by itself
    single = "one by one, " if noise.get("renamed") else ""
    said = f"[bold]{_text(found.claim)}[/]{_text(found.details)}"
    out.print(f"{said}; {single}{flagged(record['flagged'])}.")
    # runs of earlier versions do not say
    outside = record.get("outsiders", 0)
    if outside:
        out.print(f"{outside:,} of them seem to belong to no class.")
    # runs of earlier versions have neither
    facts = record.get("method_facts", {})
    why = facts.get("why") or record.get("agreement", {}).get("sentence")
    # what limits the verdict says more than that text fits
    doubtful = record.get("agreement", {}).get("verdict", FITS) != FITS
    if why and (doubtful or not caveats):
        out.print(_text(why))
    # what a table per class would be for single labels, sets have in the report
    for line in record.get("set_words", []):
        out.print(_text(line))
    if "set_words" not in record:
        _shares(out, record)
    if record["quality"]:
        _quality(out, record["quality"], sets="set_words" in record)
    files = record["files"]
    out.print(f"Report  {_text(files['report.html'])}")
    out.print(f"Scores  {_text(files['scores.parquet'])} and .csv")
    _also(out, record.get("findings", {}))
    if record["flagged"]:
        run = shlex.quote(str(Path(files["report.html"]).parent))
        out.print(f"[bold]Next[/]    labelsieve review {_text(run)}")


def _other_warnings(record: dict[str, Any]) -> list[str]:
    """Warnings that the caveats do not say, or say better."""
    said = {*record.get("caveats", []), *record.get("text_warnings", [])}
    return [
        w
        for w in record.get("warnings", [])
        if not record.get("caveats") or w not in said
    ]


def _also(out: Console, findings: dict[str, Any]) -> None:
    """What pictures show besides their labels, as far as there is any."""
    words = []
    for name, one, many in FINDINGS:
        count = findings.get(name, 0)
        if count:
            words.append(f"{count:,} {one if count == 1 else many}")
    if words:
        out.print(f"Also    {', '.join(words)} (in the review's queues)")


def _shares(out: Console, record: dict[str, Any]) -> None:
    """Classes and confusions, without a number where the whole has none."""
    from labelsieve.estimation.noise_rate import says_little

    noise = record["noise_rate"]
    vague = says_little(noise["low"], noise["high"])
    # runs of earlier versions have none
    intervals = record.get("noise_class_intervals", {})
    rows = []
    for name, rate in record["noise_per_class"].items():
        low, high = intervals.get(name, (rate, rate))
        unknown = vague or says_little(low, high)
        interval = between(low, high) if name in intervals else "–"
        shown = "–" if unknown else percent(rate)
        # the worst first, as a person reads from the top; without a number last, by name
        order = (unknown, 0.0 if unknown else -rate, name)
        rows.append((order, (_text(name), shown, interval)))
    _classes(out, [row for _, row in sorted(rows)])
    _pairs(out, record["confused_pairs"], vague=vague)


def _classes(out: Console, rows: list[tuple[str, str, str]], shown: int = 10) -> None:
    table = _table(Column("class", no_wrap=True), "probably wrong", "between")
    for row in rows[:shown]:
        table.add_row(*row)
    out.print(table)
    _and_more(out, len(rows) - shown, " classes in the report")
    if any(share == "–" for _, share, _ in rows[:shown]):
        out.print("– where too little is known to name a number.", style="dim")


def _pairs(
    out: Console, pairs: list[dict[str, Any]], *, vague: bool, shown: int = 5
) -> None:
    # numbers are estimates, so pictures are not counted in fractions
    words = []
    for pair in pairs[:shown]:
        given = _text(pair["given"])
        count = "" if vague else f" ({pair['images']:.0f})"
        words.append(f"{given} → {_text(pair['suggested'])}{count}")
    if words:
        out.print(
            f"Most frequent confusions (given → probably right): {'; '.join(words)}"
        )


def _quality(out: Console, quality: dict[str, Any], *, sets: bool) -> None:
    # beside figures of single labels it must be said what counts as one here
    what = "whole sets, wrong if one label is" if sets else "against the true labels"
    table = _table(what, "precision", "recall", "F1", "AUROC", "AP")
    names = ("precision", "recall", "f1", "auroc", "ap")
    # both sides: a method that flags everything finds all wrong labels
    sides = {"finding wrong labels": quality, "keeping right labels": quality["clean"]}
    for title, side in sides.items():
        table.add_row(title, *[_figure(side[name]) for name in names])
    out.print(table)


def demo(record: dict[str, Any], found: Headline | None = None) -> None:
    """As `scan`, with a word about what was planted."""
    quality = record["quality"]
    out = _console()
    # the other demo has errors that people made, and none are planted
    if record["command"]["label_column"] == "planted_label":
        texts = record["command"].get("text_column")
        what = "notes of ours on five topics" if texts else "scikit-learn's digits"
        told = f"{quality['wrong']} planted errors[/] among {quality['images']:,}"
        out.print(f"These are {what} with [bold]{told} labels.")
    # recall times what there is: the record has no count of its own
    caught = round(quality["recall"] * quality["wrong"])
    out.print(
        f"[bold]{caught} of {quality['wrong']} wrong labels found[/]: "
        f"precision {quality['precision']:.3f}, recall {quality['recall']:.3f}, "
        f"F1 {quality['f1']:.3f}."
    )
    # last, so that the next command is what a person reads last
    scan(record, found)


def preflight(checked: dict[str, Any], shown: int = 20) -> None:
    """Counts and warnings."""
    from labelsieve.data.preflight import Preflight

    out = _console()
    classes = checked["classes"]
    out.print(
        f"{counted(checked['images'], checked['noun'])}, {checked['usable']:,} usable, "
        f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}"
    )
    for name, count in list(classes.items())[:shown]:
        # what the prompts say in place of the class, underscores and all
        written = checked["names"][name]
        differs = f"  (written “{_text(written)}”)" if written != name else ""
        out.print(f"  {_text(name)}: {count:,}{differs}")
    _and_more(out, len(classes) - shown, "")
    for warning in Preflight(**checked).warnings():
        out.print(f"[yellow]![/] {_text(warning)}")


def score(counts: dict[str, Any]) -> None:
    """One line, and one where the scan itself knows more."""
    out = _console()
    if counts["scanned"]:
        told = f"{counts['scanned']:,} of these were in the scan, which knows more about them"
        out.print(f"[yellow]![/] {told}: {_text(counts['scan'])}")
    out.print(
        f"{counts['scored']:,} of {counted(counts['images'], counts['noun'])} scored, "
        f"{counts['flagged']:,} flagged: {_text(counts['file'])}"
    )


def noise(planted: dict[str, Any]) -> None:
    """What was planted, and how it is scanned."""
    # the rate that was asked for; chance makes the realised one differ
    nominal = ""
    if planted["nominal_rate"] is not None:
        nominal = f" (nominal {percent(planted['nominal_rate'])})"
    rate = percent(planted["realised_rate"])
    what, how = "labels", f"{rate}{nominal}"
    if "dropped" in planted:
        gone, new = sum(planted["dropped"]), sum(planted["added"])
        what, how = "sets", f"{gone:,} labels dropped{nominal}, {new:,} added"
    out = _console()
    out.print(
        f"{planted['wrong']:,} of {planted['labelled']:,} {what} are wrong now, "
        f"{how}: {_text(planted['table'])}"
    )
    out.print(f"[bold]Next[/]    {_text(planted['next'])}")


def methods(listed: dict[str, Any]) -> None:
    """What each method is, and below it what it costs and needs."""
    out = _console()
    for method in listed["methods"]:
        needs = ""
        if method.get("needs"):
            needs = f" Needs {' and '.join(method['needs'])}."
        # methods from outside may say nothing of it
        cost = method.get("cost", "")
        out.print(f"[bold]{_text(method['name'])}[/]  {_text(method['summary'])}")
        out.print(f"    [dim]{_text(cost[:1].upper() + cost[1:])}.{needs}[/]")


def models(listed: dict[str, Any]) -> None:
    """Two lines per model, as names are long and terminals narrow."""
    out = _console()
    for model in listed["models"]:
        size = f"{model['parameters']} parameters"
        out.print(f"[bold]{_text(model['name'])}[/]  {size}")
        use = model["use"]
        out.print(f"    [dim]{_text(use[:1].upper() + use[1:])}.[/]")


def train(record: dict[str, Any]) -> None:
    """The training set, validation figures of the chosen and the last epoch, the folder."""
    out = _console()
    # where labels came from: the scan, suggestions, people
    used = record["samples"]
    figures = record["figures"]
    origins = []
    for name, number in used["origins"].items():
        origins.append(f"{number:,} {_text(name)}")
    out.print(
        f"Trained on {counted(used['train'], 'label')} ({', '.join(origins)}); "
        f"{used['left_out']:,} left out."
    )
    # without validation data there is nothing to compare epochs on
    if figures["last"]:
        _epochs(out, figures)
    out.print(f"Model  {_text(record['folder'])}")


def _epochs(out: Console, figures: dict[str, Any]) -> None:
    images = figures["validation"]["images"]
    noun = f"validation {figures['validation'].get('noun', 'image')}"
    table = _table(f"on {counted(images, noun)}", "epoch", "accuracy")
    for name in ("chosen", "last"):
        epoch = figures[name]
        if epoch:
            # which of the two the folder holds
            saved = " (saved)" if figures["kept"] == name else ""
            accuracy = _figure(epoch["accuracy"], ".4f")
            table.add_row(f"{name} epoch{saved}", str(epoch["epoch"]), accuracy)
    out.print(table)


def predict(counts: dict[str, Any]) -> None:
    """One line."""
    _console().print(
        f"{counted(counts['classified'], counts['noun'])} classified{_unreadable(counts)}: "
        f"{_text(counts['file'])}"
    )


def _unreadable(counts: dict[str, Any]) -> str:
    # no word about what did not happen
    if not counts["unreadable"]:
        return ""
    return f", {counts['unreadable']:,} cannot be read"


def evaluate(figures: dict[str, Any], shown: int = 20) -> None:
    """Accuracy and calibration, per class, and confusions where they fit on a screen."""
    out = _console()
    out.print(
        f"[bold]Accuracy {figures['accuracy']:.4f}[/] on "
        f"{counted(figures['images'], figures['noun'])}"
        f"{_unreadable(figures)}; calibration error {figures['calibration_error']:.4f}."
    )
    if figures["trained_on"]:
        told = f"{figures['trained_on']:,} of these were trained on"
        out.print(f"[yellow]![/] {told}: on new ones it is right less often.")
    classes = figures["classes"]
    # a matrix of a thousand columns helps nobody; --json has it
    fits = len(classes) <= shown
    # numbers head the columns: names would not fit
    heads = map(str, range(len(classes))) if fits else ()
    table = _table(
        Column("true class", no_wrap=True),
        Column("accuracy", justify="right"),
        *[Column(head, justify="right") for head in heads],
    )
    for k, name in enumerate(classes):
        counts = map(str, figures["confusion"][k]) if fits else ()
        table.add_row(f"{k} {_text(name)}", _figure(figures["per_class"][k]), *counts)
    out.print(table)
    if fits:
        out.print("Columns: how often each class was predicted.", style="dim")


def export_model(exported: dict[str, Any]) -> None:
    """One line."""
    _console().print(
        f"{_text(exported['file'])} "
        f"(differs by {exported['difference']:.1e} from the original)"
    )


def bench(results: dict[str, Any], shown: int = 10) -> None:
    """How many cells are done, who leads where, what did not run, and files."""
    out = _console()
    out.print(f"[bold]{results['done']:,} of {results['cells']:,} cells are done.[/]")
    heads = ("zero-shot", "probe", "best F1", "best AUROC", "DeFT leads by")
    table = _table(Column("data", no_wrap=True), "tower", *heads)
    # one line per data set and tower: what is left to gain there
    for row in results["headroom"]:
        table.add_row(
            _text(f"{row['data']}, {row['noise']}"),
            _text(row["tower"]),
            _figure(row["zero_shot"]),
            _figure(row["probe"]),
            _text(row["best_f1"] or "–"),
            _text(row["best_auroc"] or "–"),
            _figure(row["lead"], "+.3f"),
        )
    out.print(table)
    _not_run(out, results["not_run"], shown)
    for warning in results["warnings"]:
        out.print(f"[yellow]![/] {_text(warning)}")
    files = results["files"]
    out.print(f"Tables  {_text(files['table.md'])} and .tex")
    out.print(f"Figures {_text(files['results.parquet'])}")


def _not_run(out: Console, cells: list[dict[str, Any]], shown: int) -> None:
    names = ("tower", "data", "noise", "method", "seed")
    for cell in cells[:shown]:
        where = " / ".join(cell[name] for name in names)
        # the reason, in the words of the error that the cell ended with
        message = _text(cell["message"] or "")
        out.print(f"[yellow]![/] {_text(where)}: {cell['state']}: {message}")
    _and_more(out, len(cells) - shown, " in the table")
