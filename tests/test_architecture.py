"""The house rules that a program can check: mirrors, sizes, imports one way, public names, declared libraries."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import labelsieve

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "labelsieve"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
# Test files that look at the whole instead of one module.
WHOLE = {"test_architecture", "test_contracts", "test_docs", "test_interrupt"}
# What an import is called where it is installed from.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "multipart": "python-multipart",
}
BROUGHT_ALONG = {
    "huggingface_hub": "transformers",
    "starlette": "fastapi",
    "markupsafe": "jinja2",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def mirror(path: Path) -> Path:
    inner = path.relative_to(PACKAGE)
    name = inner.parent.name if inner.stem == "__init__" else inner.stem.strip("_")
    return ROOT / "tests" / inner.parent / f"test_{name}.py"


def is_mirrored(path: Path) -> bool:
    """Door signs of rooms and what only the files of one room share are tested through those files."""
    return path.stem == "__main__" or not path.stem.startswith("_")


@pytest.mark.parametrize("path", [p for p in MODULES if is_mirrored(p)], ids=name_of)
def test_every_module_has_its_test(path: Path) -> None:
    assert mirror(path).is_file(), f"{mirror(path).relative_to(ROOT)} is missing"


def test_every_test_has_its_module() -> None:
    """One module may have several test files: tests/test_estimate.py, tests/test_estimate_flags.py."""
    known = {mirror(p).with_suffix("") for p in MODULES}
    for path in (ROOT / "tests").rglob("test_*.py"):
        special = path.parent == ROOT / "tests" and (
            path.stem in WHOLE or "_parity" in path.stem
        )
        own = [
            k
            for k in known
            if path.parent == k.parent and f"{path.stem}_".startswith(f"{k.stem}_")
        ]
        special = (
            special or path.stem == f"test_{path.parent.name}"
        )  # of a room's door, its __init__.py
        assert own or special or path.parent.name in ("gold", "parity"), (
            path.relative_to(ROOT)
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_are_of_a_readable_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            start = (
                node.body[1].lineno
                if ast.get_docstring(node) and len(node.body) > 1
                else node.body[0].lineno
            )
            assert (node.end_lineno or start) - start < 60, f"{node.name} is too long"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_module_is_a_drawer() -> None:
    drawers = {
        "utils",
        "common",
        "helpers",
        "base",
        "core",
        "engine",
        "trainer",
        "callbacks",
        "factory",
        "manager",
        "hooks",
        "types",
    }
    assert not drawers & {p.stem.strip("_") for p in MODULES}


def test_imports_run_one_way() -> None:
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stdout


def test_libraries_are_declared_and_used() -> None:
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {a.name.partition(".")[0] for a in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "registry.need",
                "importlib.import_module",
            ):
                imported |= {
                    a.value.partition(".")[0]
                    for a in node.args
                    if isinstance(a, ast.Constant)
                }
    outside = {
        DISTRIBUTIONS.get(n, BROUGHT_ALONG.get(n, n))
        for n in imported - {"labelsieve"} - set(sys.stdlib_module_names)
    }
    needed = {re.split(r"[><=\[ ]", line)[0] for line in PROJECT["dependencies"]}
    extras = {
        re.split(r"[><=\[ ]", line)[0]
        for name, lines in PROJECT["optional-dependencies"].items()
        if name not in ("test", "dev")
        for line in lines
    }
    assert outside <= needed | extras, "imported, not declared"
    assert needed <= outside, "declared, not imported"
    assert len(needed) <= 12


# --- public names


def test_public_names_are_exactly_these() -> None:
    assert (
        set(labelsieve.__all__)
        == set(dir(labelsieve))
        == {"__version__", *labelsieve._HOME}
    )
    assert {"DeFT", "Run", "LabelsieveError", "load", "look", "scan", "score"} <= set(
        labelsieve.__all__
    )
    assert len(labelsieve.__all__) <= 15
    for name, home in labelsieve._HOME.items():
        value = getattr(labelsieve, name)
        assert value is getattr(importlib.import_module(f"labelsieve.{home}"), name)
        assert value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'scann'"):
        _ = labelsieve.scann


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    seen = {
        a.name: n.module.removeprefix("labelsieve.")
        for n in block.body
        if isinstance(n, ast.ImportFrom) and n.module
        for a in n.names
    }
    assert seen == labelsieve._HOME
    assert (PACKAGE / "py.typed").exists()


def test_importing_the_package_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import labelsieve; print(*(set(sys.modules) - before))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert {m.partition(".")[0] for m in found.stdout.split()} <= {
        "labelsieve",
        *sys.stdlib_module_names,
    }


# --- what has no place in the repository


def test_no_path_of_a_single_machine_is_written_down() -> None:
    folders = ("labelsieve", "tests", "docs", "benchmarks", "tools")
    files = [
        p
        for f in folders
        for p in (ROOT / f).rglob("*")
        if p.suffix in (".py", ".md", ".j2", ".toml", ".js", ".css")
    ]
    pattern = re.compile(
        r"(?<![\w.])/(?:" + "|".join(("work", "root", "home", "Users")) + r")/\w"
    )
    for path in [
        *files,
        *ROOT.glob("*.md"),
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
    ]:
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]}"
