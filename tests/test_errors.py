"""The tree of errors, their words, and that nothing else is raised on purpose."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelsieve import errors
from labelsieve.errors import (
    DataError,
    ImageError,
    LabelsieveError,
    MissingExtra,
    unknown,
)

PACKAGE = Path(errors.__file__).parent
TREE = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception)
}
# What may be raised besides, and where: broken promises of ours, a module's missing name,
# one file's own handling.
OTHERS = {
    # caught by whoever calls them, in the same module or the one that asked
    "corrections/journal.py": {"OSError"},
    "data/sources/_groups.py": {"IndexError"},
    "data/sources/_web.py": {"FileNotFoundError"},
    "training/checkpoint.py": {"OSError"},
    "training/distributed.py": {"RuntimeError"},
    "engines/_elsewhere.py": {"ValueError"},
    "engines/_listing.py": {"ValueError"},
    "engines/folder.py": {"ValueError"},
    "methods/_learned.py": {"ValueError"},  # by `score`, which names the run
    "runs/reasons.py": {"KeyError"},
    "__init__.py": {"AttributeError"},
    "cli/app.py": {"typer.Exit"},
    "settings.py": {"TypeError", "ValueError"},
    "review/session.py": {"HTTPException"},  # an answer to the browser
    # the second as a dictionary's: `RowsOf` is asked like one
    "tables.py": {"AssertionError", "KeyError"},
    # caught by the writer, which names the file
    "corrections/writers/_spans.py": {"LookupError"},
    # caught where a source is opened, or where its rows are read
    "data/sources/_remote.py": {"AssertionError", "FileNotFoundError"},
    "data/sources/_tar.py": {"tarfile.ReadError"},
    "data/sources/_annotations.py": {"ValueError"},
    "data/sources/yolo.py": {"ValueError"},
    "models/families/_open_clip_towers.py": {"Unsupported"},
    "models/families/_open_clip_blocks.py": {"Unsupported"},
    # caught where the file is opened: both become one line that names it
    "data/_pixel_index.py": {"sqlite3.DatabaseError"},
    "runs/decisions.py": {"sqlite3.DatabaseError"},
    "data/load.py": {"ValueError"},
    "data/text/spool.py": {"IndexError"},  # as of a list
    "classifiers/predict.py": {"type(error)"},  # one of ours, in other words
    # a library's own error holds ours, which is raised instead
    "exports/hf.py": {"error.__cause__"},
    # both are caught where an archive is read
    "data/archives/_cifar.py": {"OSError", "ValueError"},
    "data/archives/_layout.py": {"OSError", "ValueError"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def errors_by_another_name() -> set[str]:
    """Classes of one file that derive from the tree, and functions and variables that give one."""
    names = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns:
                gives = ast.unparse(node.returns) in TREE
            elif isinstance(node, ast.ClassDef):
                gives = any(ast.unparse(base) in TREE for base in node.bases)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                gives = ast.unparse(node.value.func) in TREE
                names |= {ast.unparse(t) for t in node.targets if gives}
                continue
            elif isinstance(node, ast.AnnAssign):
                gives = ast.unparse(node.annotation).partition(" | ")[0] in TREE
                names |= {ast.unparse(node.target)} if gives else set()
                continue
            else:
                continue
            if gives:
                names.add(node.name)
    return names


GIVEN = errors_by_another_name()


def test_every_error_is_of_the_tree_and_in_its_drawing() -> None:
    drawing = errors.__doc__ or ""
    assert TREE.keys() >= {
        "DataError",
        "ImageError",
        "ModelError",
        "OptionError",
        "RunError",
        "MissingExtra",
    }
    for name, kind in TREE.items():
        assert issubclass(kind, LabelsieveError)
        assert name in drawing and kind.__doc__
    assert issubclass(ImageError, DataError)


def test_words() -> None:
    error = DataError("'a.csv' has no column 'x'.", "Name one of: y.")
    assert str(error) == "'a.csv' has no column 'x'. Name one of: y."
    assert (error.what, error.do) == ("'a.csv' has no column 'x'.", "Name one of: y.")
    assert str(DataError("Broken.")) == "Broken."


def test_an_unknown_value_is_told_with_all_valid_ones_and_the_nearest() -> None:
    words = unknown("Method", "deaft", iter(["knn", "deft"]))
    assert (
        words == "Method 'deaft' is unknown; there are: deft, knn. Did you mean 'deft'?"
    )
    assert (
        unknown("Method", "zzz", ["knn", "deft"])
        == "Method 'zzz' is unknown; there are: deft, knn."
    )


def test_a_missing_library_says_how_to_install_it() -> None:
    assert "pip install 'labelsieve[lora]'" in str(MissingExtra("peft", "lora"))


def raised(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every exception raised in a file, without those that an enclosing `try`
    of the file catches."""

    def walk(node: ast.AST, caught: frozenset[str]) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = ast.unparse(
                node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            )
            if name not in caught:
                yield node.lineno, name
        inside = caught
        if isinstance(node, ast.Try):
            inside = caught | {
                ast.unparse(n)
                for h in node.handlers
                if h.type
                for n in ast.walk(h.type)
            }
        for part, child in (
            (p, c) for p in node._fields for c in _nodes(getattr(node, p))
        ):
            yield from walk(child, inside if part == "body" else caught)

    return walk(tree, frozenset())


def _nodes(value: object) -> list[ast.AST]:
    return [
        v
        for v in (value if isinstance(value, list) else [value])
        if isinstance(v, ast.AST)
    ]


def test_the_search_for_raised_errors_sees_them() -> None:
    code = """
def f():
    try:
        raise ValueError
    except (ValueError, OSError):
        raise KeyError("x")
    raise OSError
"""
    assert list(raised(ast.parse(code))) == [(6, "KeyError"), (7, "OSError")]


@pytest.mark.parametrize(
    "path",
    MODULES,
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)
def test_nothing_else_is_raised_on_purpose(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    others = OTHERS.get(path.relative_to(PACKAGE).as_posix(), set())
    for line, name in raised(tree):
        known = name in TREE.keys() | own | others
        given = name.rpartition(".")[2] in GIVEN
        assert known or given, f"{path.name}:{line} raises {name}"
