"""Where code lives, as far as a program can check it: folders, mirrors, imports, public names."""

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
from labelsieve import registry

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "labelsieve"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
# Test files that look at the whole instead of one module.
WHOLE = {
    "test_agreement",
    "test_architecture",
    "test_browser",
    "test_contracts",
    "test_docs",
    "test_interrupt",
    "test_killed",
    "test_seams",
    "test_style",
    "test_texts",
}
# Folders of tests that attack the whole, see docs/trust.md.
WHOLE_FOLDERS = {"attack"}
FOLDERS = sorted({p.parent for p in MODULES})
# A folder that a person can take in at a glance; rooms of plug-ins grow with every plug-in.
MOST_FILES = 12
ROOMS = {PACKAGE / room for room in registry.ROOMS}
# What an import is called where it is installed from.
DISTRIBUTIONS = {
    "pillow_heif": "pillow-heif",
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "open_clip": "open_clip_torch",
    "sklearn": "scikit-learn",
    "multipart": "python-multipart",
}
BROUGHT_ALONG = {
    "huggingface_hub": "transformers",
    "yaml": "transformers",
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
    """Door signs, and what only the files of one folder share, are tested through those files."""
    return path.stem == "__main__" or not path.stem.startswith("_")


@pytest.mark.parametrize("path", [p for p in MODULES if is_mirrored(p)], ids=name_of)
def test_every_module_has_its_test(path: Path) -> None:
    assert mirror(path).is_file(), f"{mirror(path).relative_to(ROOT)} is missing"


def belongs_to_a_module(test: Path, mirrors: set[Path]) -> bool:
    """One module may have several test files: test_transition.py, test_transition_priors.py."""
    beside = [m.stem for m in mirrors if m.parent == test.parent]
    return any(f"{test.stem}_".startswith(f"{stem}_") for stem in beside)


def test_every_test_has_its_module() -> None:
    tests = ROOT / "tests"
    mirrors = {mirror(p) for p in MODULES}
    for path in tests.rglob("test_*.py"):
        named = "_parity" in path.stem or path.stem.endswith("_browser")
        whole = path.stem in WHOLE or named
        if whole or path.parent.name in WHOLE_FOLDERS:
            continue
        door = path.stem == f"test_{path.parent.name}"
        assert door or belongs_to_a_module(path, mirrors), path.relative_to(ROOT)


# --- folders


def test_the_root_holds_ground_and_folders_only() -> None:
    """A submodule `labelsieve.scan` would replace the function of this name when it is imported."""
    names = {p.stem for p in PACKAGE.iterdir()}
    taken = names & set(labelsieve.__all__)
    assert not taken, f"public names that are files or folders of the package: {taken}"
    ground = {p.stem for p in PACKAGE.glob("*.py")}
    assert ground == {
        "__init__",
        "__main__",
        "cache",
        "errors",
        "files",
        "progress",
        "registry",
        "settings",
        "sqlite",
        "tables",
        "versions",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_is_taken_in_at_a_glance(folder: Path) -> None:
    files = list(folder.glob("*.py"))
    if folder not in ROOMS:
        assert len(files) <= MOST_FILES, f"{len(files)} files, at most {MOST_FILES}"
    depth = len(folder.relative_to(ROOT).parts)
    assert depth <= 3, f"{depth} folders deep, at most 3"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_has_its_door_sign(folder: Path) -> None:
    """One sentence, and no code; what a room's files must offer, with the types they share."""
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    sign = ast.get_docstring(tree)
    assert sign and sign.partition("\n\n")[0].endswith((".", ":"))
    if folder in ROOMS:
        assert "offer" in sign, "does not say what a file of this room must offer"
    elif folder not in (
        PACKAGE,
        PACKAGE / "cli",
    ):  # labelsieve.cli.main is an entry point
        assert len(tree.body) == 1, "code in a door sign"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_are_of_a_readable_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) and len(node.body) > 1
            start = node.body[1 if documented else 0].lineno
            lines = (node.end_lineno or start) - start + 1
            assert lines <= 60, f"{node.name} has {lines} lines, at most 60"


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
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout


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
    # the thirteenth is filelock: locks that work on every system and end with their process
    assert len(needed) <= 13


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
    assert len(labelsieve.__all__) <= 16
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
    code = "import sys; before = set(sys.modules); import labelsieve"
    code += "; print(*(set(sys.modules) - before))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert {m.partition(".")[0] for m in result.stdout.split()} <= {
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
        match = pattern.search(path.read_text(encoding="utf-8"))
        assert match is None, f"{path.relative_to(ROOT)}: {match and match[0]}"
