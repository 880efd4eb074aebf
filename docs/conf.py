"""Sphinx configuration.

Pages that repeat the code (command line, methods, errors) are generated from it.
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from labelsieve import __version__, registry
from labelsieve.cli.app import app

project = "labelsieve"
author = "the labelsieve authors"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"labelsieve {__version__}"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
exclude_patterns = ["_build"]
HERE = Path(__file__).parent


def _help(*words: str) -> str:
    return CliRunner().invoke(app, [*words, "--help"], prog_name="labelsieve").output


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _command_line() -> None:
    top = _help()
    verbs = [
        line.split()[0]
        for line in top.partition("Commands:")[2].splitlines()
        if line.strip() and not line.startswith("   ")
    ]
    parts = ["# Command line\n", f"```text\n{top.rstrip()}\n```\n"]
    parts += [f"## {verb}\n\n```text\n{_help(verb).rstrip()}\n```\n" for verb in verbs]
    _write(HERE / "reference" / "cli.md", "\n".join(parts))


def _rooms() -> None:
    parts = [
        "# Methods, models, storages and formats\n",
        "Each is one file; its name is its name on the command line.\n",
    ]
    for room, kind in registry.ROOMS.items():
        parts.append(f"## {kind} ({room}/)\n")
        parts += [
            f"- **{name}**: {registry.summary(room, name)}"
            for name in registry.names(room)
        ]
        parts.append("")
    _write(HERE / "reference" / "rooms.md", "\n".join(parts))


_command_line()
_rooms()
