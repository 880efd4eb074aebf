"""The commands around a guarantee: audit, certify."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelsieve.cli.options import Folder, Json, answer, say
from labelsieve.errors import OptionError, RunError

if TYPE_CHECKING:
    from labelsieve.audits.guarantee import Certificate, Promised
    from labelsieve.audits.stopping import Stop
    from labelsieve.runs.run import Run

app = typer.Typer(rich_markup_mode=None)
SHOWN = 10  # labels of a list that a terminal shows


@app.command()
def audit(
    run: Folder,
    goal: Annotated[
        str,
        typer.Option(
            "--for",
            help="any: drawn from all labels, for every promise; list: from the most "
            "suspicious, for a list of wrong labels; rate: from strata by score and class, "
            "for the share of wrong labels.",
        ),
    ] = "any",
    answers: Annotated[
        int | None,
        typer.Option(
            help="Images to ask about. By default 300 of many, fewer of a small set: "
            "160 of 300."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random draw.")] = 0,
    max_false_alarms: Annotated[
        float, typer.Option(help="Share of right labels in a list of wrong ones.")
    ] = 0.1,
    max_wrong: Annotated[
        float, typer.Option(help="Share of wrong labels in a clean part.")
    ] = 0.01,
    target_error: Annotated[
        float, typer.Option(help="Share of wrong labels that may remain in the end.")
    ] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="That no more than these remain.")
    ] = 0.95,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Only say how many answers are needed for what."),
    ] = False,
    export_to: Annotated[
        Path | None,
        typer.Option("--export", help="Write the questions of the audit as CSV."),
    ] = None,
    import_from: Annotated[
        Path | None, typer.Option("--import", help="Bring answers of such a CSV.")
    ] = None,
    by: Annotated[str, typer.Option(help="With --import: who answered.")] = "",
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon", help="Take back an audit about which nobody answered yet."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Begin a random audit, which guarantees rest on; or bring its answers.

    What is asked, and for which promise, is written down before the first answer. Answer on the
    page Audit of labelsieve review, or in the CSV of --export.
    """
    from labelsieve.audits.design import Wish
    from labelsieve.runs.run import Run

    wish = Wish(
        goal,
        answers,
        seed,
        max_false_alarms,
        max_wrong,
        target_error,
        confidence,
    )
    opened = Run(run)
    if export_to is not None and import_from is not None:
        raise OptionError("--export and --import are two steps; give one of them.")
    if abandon:
        _abandon(opened, as_json)
    elif import_from is not None:
        _bring(opened, import_from, by, as_json)
    elif plan:
        _plan(opened, wish, as_json)
    else:
        _begin(opened, wish, export_to, as_json)


def _bring(opened: Run, source: Path, by: str, as_json: bool) -> None:
    from labelsieve.audits import exchange

    new = exchange.read(opened, source, by)
    answer({"answers": new}, as_json, lambda _: say(f"{new:,} new answers"))


def _abandon(opened: Run, as_json: bool) -> None:
    from labelsieve.audits import design
    from labelsieve.runs.decisions import open_decisions

    found = design.abandon(opened, open_decisions(opened))
    words = f"Audit {found.number} is taken back; another one may begin."
    answer({"abandoned": found.number}, as_json, lambda _: say(words))


def _plan(opened: Run, wish: Any, as_json: bool) -> None:
    from labelsieve.audits.design import suggest
    from labelsieve.runs.decisions import open_decisions

    decisions = open_decisions(opened)
    words = suggest(opened, decisions, wish)
    answer({"plan": words}, as_json, lambda _: say(words))


def _begin(opened: Run, wish: Any, export_to: Path | None, as_json: bool) -> None:
    """Commit an audit; with --export, one that is there already is written out."""
    from labelsieve.audits import design, exchange, words
    from labelsieve.runs.decisions import open_decisions

    # questions may be written out again; a new audit is begun only when none was
    found = design.current(opened) if export_to is not None else None
    if found is not None:
        count = f"{len(found.ids):,} images"
        lines = [f"Audit {found.number} was begun before: {count}."]
    else:
        found = design.commit(opened, open_decisions(opened), wish)
        lines = [words.begun(found)]
    facts = {
        "audit": found.number,
        "goal": found.wish.goal,
        "answers": len(found.ids),
        "population": found.population,
    }
    if export_to is not None:
        exchange.write(opened, export_to)
        facts["questions"] = str(export_to)
        lines.append(f"Questions  {export_to}")
    answer(facts, as_json, lambda _: say(*lines))


@app.command()
def certify(
    run: Folder,
    max_false_alarms: Annotated[
        float | None,
        typer.Option(
            help="List labels that are wrong; at most this share of them is expected to be "
            "right. Default: what the audit was begun for."
        ),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="List labels that are right instead.")
    ] = False,
    corrections: Annotated[
        bool,
        typer.Option(
            "--corrections", help="List labels whose suggestion is right instead."
        ),
    ] = False,
    max_wrong: Annotated[
        float | None,
        typer.Option(help="With --clean: share of wrong labels that is expected."),
    ] = None,
    target_error: Annotated[
        float | None,
        typer.Option(
            help="Say how far to review until at most this share of wrong labels remains."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the list as CSV or Parquet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """A list with a guarantee, from a complete random audit (labelsieve audit).

    The guarantee needs no assumption about the model. An empty list says why it is empty, and
    how many answers would help.
    """
    from labelsieve.audits import guarantee
    from labelsieve.runs.run import Run

    opened = Run(run)
    opened.require_finished()
    # words that contradict each other, before anything is read
    _check_words(clean, corrections, max_wrong, max_false_alarms, target_error)
    promised = guarantee.of_run(opened)
    if target_error is not None:
        _show_stop(opened, promised, target_error, as_json)
        return
    kind = guarantee.WRONG
    if clean or corrections:
        kind = guarantee.CLEAN if clean else guarantee.CORRECTIONS
    level = max_wrong if clean else max_false_alarms
    found = promised.certificate(kind, level).require()
    if output is not None:
        _write(opened, found, output)
    _show_list(opened, found, output, as_json)


def _check_words(
    clean: bool,
    corrections: bool,
    max_wrong: float | None,
    max_false_alarms: float | None,
    target_error: float | None,
) -> None:
    if clean + corrections + (target_error is not None) > 1:
        raise OptionError(
            "--clean, --corrections and --target-error: give one of them."
        )
    if max_wrong is not None and not clean:
        raise OptionError("--max-wrong goes with --clean.")
    if max_false_alarms is not None and (clean or target_error is not None):
        raise OptionError("--max-false-alarms is about lists of wrong labels.")
    shares = {
        "--max-wrong": max_wrong,
        "--max-false-alarms": max_false_alarms,
        "--target-error": target_error,
    }
    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            raise OptionError(f"{name} {share} must lie between 0 and 1.")


def _show_stop(opened: Run, promised: Promised, target: float, as_json: bool) -> None:
    from labelsieve.audits.stopping import stop_now

    found: Stop | None = stop_now(opened, promised, target)
    if found is None:
        raise RunError(promised.why_not("stop"))
    lines = [
        found.sentence,
        f"Reviewed of these: {found.done:,}. Now at most {100 * found.remaining:.2g} % of the "
        "labels are wrong and not found, whenever you stop.",
    ]
    answer(asdict(found), as_json, lambda _: say(*lines))


def _write(opened: Run, found: Certificate, output: Path) -> None:
    """The list as a table, the surest first."""
    import pyarrow as pa

    from labelsieve import tables
    from labelsieve.data.load import refuse_input
    from labelsieve.runs.pictures import spec_of

    writers = {".csv": tables.write_csv, ".parquet": tables.write_parquet}
    if output.suffix.lower() not in writers:
        raise OptionError(f"-o '{output}' must end in .csv or .parquet.")
    refuse_input(output, spec_of(opened).path())
    # by id, in the order of the list
    rows = tables.RowsOf(opened.scores["sample_id"]).rows(found.ids)
    columns = [
        "sample_id",
        "path",
        "given_label",
        "p_clean",
        "suggested_label",
        "suggested_prob",
    ]
    tables.refuse_other(output, columns)
    table = opened.scores.select(columns).take(pa.array(rows))
    writers[output.suffix.lower()](table, output)


def _show_list(
    opened: Run, found: Certificate, output: Path | None, as_json: bool
) -> None:
    # a named tuple would become a bare list in JSON
    facts = asdict(replace(found, tail=None))
    facts["tail"] = found.tail._asdict() if found.tail else None
    facts["output"] = str(output) if output else None
    lines = [found.sentence]
    for sample_id in found.ids[:SHOWN]:
        lines.append(f"  {sample_id}")
    if len(found.ids) > SHOWN:
        lines.append(f"  and {len(found.ids) - SHOWN:,} more (-o FILE writes them)")
    if output is not None:
        lines.append(f"List  {output}")
    answer(facts, as_json, lambda _: say(*lines))
