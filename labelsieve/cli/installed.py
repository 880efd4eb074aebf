"""Commands about what is installed here: methods, models, cache."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labelsieve.cli.options import Json, answer, say
from labelsieve.errors import OptionError

app = typer.Typer()


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods: what they are, what they cost and what they need."""
    from labelsieve import registry
    from labelsieve.cli import show

    listed = []
    for name in registry.names("methods"):
        # read from the source: all methods together would load every library
        facts = registry.constants("methods", name, ("COST", "NEEDS"))
        facts["summary"] = registry.summary("methods", name)
        listed.append({"name": name, **facts})
    answer({"methods": listed}, as_json, show.methods)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that are known to work."""
    from labelsieve import registry
    from labelsieve.cli import show

    # read from the source: importing the module would load torch
    known = registry.constants("models", "load", ("RECOMMENDED",))["recommended"]
    names = ("name", "parameters", "use")
    listed = [dict(zip(names, row, strict=True)) for row in known]
    answer({"models": listed}, as_json, show.models)


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete it, or what --only names.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(help="With --clear: one kind alone, such as downloads."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show or delete the cache: pixels, features, downloads."""
    from labelsieve import cache as caches

    if only and not clear:
        raise OptionError("--only says what --clear deletes.", "Add --clear.")
    # before the sizes are taken, so that all figures are of the same moment
    deleted = caches.clear(only) if clear else 0
    sizes = caches.parts()
    state = {
        "folder": str(caches.cache_folder()),
        "bytes": sum(sizes.values()),
        "parts": sizes,
        "deleted": deleted,
    }
    answer(state, as_json, _show_cache)


def _show_cache(state: dict[str, Any]) -> None:
    # decimal megabytes, as disks are sold
    freed = f", {state['deleted'] / 1e6:,.0f} MB deleted" if state["deleted"] else ""
    say(f"{state['folder']}: {state['bytes'] / 1e6:,.0f} MB{freed}")
    for kind, size in state["parts"].items():
        say(f"    {kind}: {size / 1e6:,.1f} MB")
