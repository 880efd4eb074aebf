"""How code reads, as far as a program can measure it: width, comments, density of expressions."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("labelsieve", "tests", "tools", "benchmarks", "docs")
# Nothing is wider: two files fit beside each other on a screen.
WIDEST = 100
# Well-kept packages (coverage, httpx, equinox) have 12 to 16 comments, 3 to 14 conditional
# expressions and 10 to 12 comprehensions, and nine lines in ten below 70 columns.
FEWEST_COMMENTS = 10  # per 100 statements
MOST_CONDITIONALS = 15  # per 1,000 lines
MOST_COMPREHENSIONS = 25  # per 1,000 lines
WIDE = 75  # columns that nine lines of code in ten stay within
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Figures:
    """What is counted over all modules of the package."""

    lines: int = 0
    statements: int = 0
    comments: int = 0
    conditionals: int = 0
    comprehensions: int = 0
    columns: list[int] = field(default_factory=list)


@lru_cache(maxsize=1)
def package() -> Figures:
    """The package, read once."""
    figures = Figures()
    for path in sorted((ROOT / "labelsieve").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        count(ast.parse(text), figures)
        figures.lines += text.count("\n")
        figures.comments += sum(1 for _ in comments(text))
        figures.columns += widths_of_code(text)
    figures.columns.sort()
    return figures


def count(tree: ast.Module, figures: Figures) -> None:
    for node in ast.walk(tree):
        figures.statements += isinstance(node, ast.stmt)
        figures.conditionals += isinstance(node, ast.IfExp)
        figures.comprehensions += isinstance(node, COMPREHENSIONS)


def comments(text: str) -> Iterator[str]:
    """Comments to people, not those to tools."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        tool = "fmt:" in token.string or "noqa" in token.string
        if token.type == tokenize.COMMENT and not tool:
            yield token.string


def widths_of_code(text: str) -> list[int]:
    """Columns of each line that is neither empty nor a comment nor of a docstring."""
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            string = node.body[0]
            prose |= set(range(string.lineno, (string.end_lineno or 0) + 1))
    widths = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if content and number not in prose and not content.startswith("#"):
            widths.append(len(line))
    return widths


def scripts() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_no_line_is_too_long() -> None:
    wide = []
    for path in scripts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > WIDEST:
                wide.append(f"{path.relative_to(ROOT)}:{number} {len(line)}")
    assert not wide, f"{len(wide)} lines over {WIDEST} columns:\n" + "\n".join(wide)


def test_the_formatter_is_never_told_to_skip() -> None:
    mark = "fmt: " + "skip"  # in two parts, so that this line is not found
    skips = [p.name for p in scripts() if mark in p.read_text(encoding="utf-8")]
    assert not skips, f"in {skips}"


def test_code_lines_are_narrow() -> None:
    columns = package().columns
    ninth = columns[int(0.9 * len(columns))]
    assert ninth <= WIDE, f"nine lines in ten within {ninth} columns, at most {WIDE}"


def test_tricks_and_constants_are_commented() -> None:
    figures = package()
    share = 100 * figures.comments / figures.statements
    assert share >= FEWEST_COMMENTS, (
        f"{share:.1f} comments per 100 statements, at least {FEWEST_COMMENTS}"
    )


def test_conditional_expressions_are_few() -> None:
    figures = package()
    share = 1000 * figures.conditionals / figures.lines
    assert share <= MOST_CONDITIONALS, (
        f"{share:.1f} conditional expressions per 1,000 lines, at most {MOST_CONDITIONALS}"
    )


def test_comprehensions_are_few() -> None:
    figures = package()
    share = 1000 * figures.comprehensions / figures.lines
    assert share <= MOST_COMPREHENSIONS, (
        f"{share:.1f} comprehensions per 1,000 lines, at most {MOST_COMPREHENSIONS}"
    )


def test_conditional_expressions_do_not_nest() -> None:
    nested = []
    for path in sorted((ROOT / "labelsieve").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.IfExp):
                inner = [node.body, node.test, node.orelse]
                if any(isinstance(part, ast.IfExp) for part in inner):
                    nested.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not nested, f"nested: {nested}"
