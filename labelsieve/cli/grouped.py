"""The help of a command with many options, in groups."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

METHOD, DATA, OWN = "Method", "Data", "Your own numbers"


class Grouped(TyperCommand):
    """A command whose options stand under the title that `rich_help_panel` gives them.

    Typer does so only with rich, whose frames are noise where help is piped or read aloud.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, group by group, in the order of the command."""
        groups: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            is_argument = parameter.param_type_name == "argument"
            title = getattr(parameter, "rich_help_panel", None)
            title = title or ("Arguments" if is_argument else "Options")
            record = parameter.get_help_record(ctx)
            # hidden ones have none
            if record is not None:
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
