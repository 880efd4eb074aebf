"""What README and documentation say is so: commands and options exist, examples run."""

from __future__ import annotations

import ast
import contextlib
import doctest
import itertools
import re
import shlex
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import labelsieve
from labelsieve import registry
from labelsieve.cli.app import app
from labelsieve.data.spec import DataSpec
from labelsieve.pipeline.scan import ScanOptions

ROOT = Path(__file__).parent.parent
GENERATED = {"cli.md", "rooms.md"}  # by docs/conf.py, from the code
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += [
    p
    for p in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in p.parts and p.name not in GENERATED
]
COMMAND: Any = typer.main.get_command(app)
VERBS: dict[str, Any] = COMMAND.commands
RUNNABLE = "<!-- runnable -->"  # before a python block that is to be executed


def blocks(page: Path) -> Iterator[tuple[str, str, bool]]:
    """Language, text and whether it is marked runnable, of every fenced block."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(
        r"(?:^(<!-- runnable -->)\n+)?^```([\w{}-]*)[^\n]*\n(.*?)^```",
        text,
        re.M | re.S,
    ):
        yield found[2], found[3], found[1] is not None


def shell_lines() -> list[Any]:
    """Every `labelsieve …` line of shell blocks, as words, named by page and line."""
    found = []
    for page in PAGES:
        for language, text, _ in blocks(page):
            if language in ("", "bash", "sh", "shell", "console"):
                for line in text.replace("\\\n", " ").splitlines():
                    line = line.strip().removeprefix("$ ")
                    if line.startswith("labelsieve "):
                        words = shlex.split(line, comments=True)[1:]
                        found.append(
                            pytest.param(words, id=f"{page.name}: {line[:60]}")
                        )
    return found


def inline_code(page: Path) -> list[str]:
    prose = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    return re.findall(r"`([^`\n]+)`", prose)


def test_the_search_finds_lines_and_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- runnable -->\n```python\nx = 1\n```\ntext\n"
        "```\nlabelsieve scan a\n```\n```bash\nls\n```\n"
    )
    assert list(blocks(page)) == [
        ("python", "x = 1\n", True),
        ("", "labelsieve scan a\n", False),
        ("bash", "ls\n", False),
    ]


@pytest.mark.parametrize("words", shell_lines())
def test_command_lines_can_be_typed(words: list[str]) -> None:
    words = list(words)
    for stop in ("|", ">", "&&", ";"):
        words = words[: words.index(stop)] if stop in words else words
    if words in (["--help"], ["--version"]):
        return
    assert words[0] in VERBS, f"there is no command {words[0]}"
    if "--help" not in words:
        VERBS[words[0]].make_context(
            words[0], words[1:]
        )  # raises for an unknown option, a missing word, a wrong type


def test_options_and_commands_in_prose_exist() -> None:
    options = {"--version", "--help"} | {
        o
        for verb in VERBS.values()
        for p in verb.params
        for o in p.opts + p.secondary_opts
    }
    for script in (
        s for folder in ("tools", "benchmarks") for s in (ROOT / folder).glob("*.py")
    ):
        options |= set(re.findall(r'"(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    for page in PAGES:
        for code in inline_code(page):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code):
                assert option in options or code.startswith(
                    ("pip", "make", "git", "pytest")
                ), f"{page.name}: {code}"
            verb = re.match(r"labelsieve ([a-z-]+)(?= |$)", code)
            assert verb is None or verb[1] in VERBS, f"{page.name}: {code}"


def test_tests_that_are_named_exist() -> None:
    """A promise of docs/trust.md is worth what its test is: one under another name is none."""
    named = {}
    for page in PAGES:
        for code in inline_code(page):
            # "tests/attack/…" stands for any
            for path in re.findall(
                r"\btests/[\w/.*-]+(?![\w/.*…-])|^test_\w+\.py", code
            ):
                named[path] = page.name
    assert sum(page == "trust.md" for page in named.values()) > 20
    for path, page in named.items():
        assert list(ROOT.glob(path.rstrip("./"))), f"{page}: {path}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_is_told_of(verb: str) -> None:
    mention = re.compile(rf"labelsieve {re.escape(verb)}\b")
    assert any(mention.search(p.read_text(encoding="utf-8")) for p in PAGES)


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_and_option_has_a_help_text(verb: str) -> None:
    assert VERBS[verb].help
    for parameter in VERBS[verb].params:
        assert getattr(parameter, "help", None), f"{verb} {parameter.name}"


def python_blocks() -> list[Any]:
    return [
        pytest.param(
            text, marked, id=f"{page.name}: {text.strip().splitlines()[0][:50]}"
        )
        for page in PAGES
        for language, text, marked in blocks(page)
        if language in ("python", "py")
    ]


@pytest.mark.parametrize(("text", "marked"), python_blocks())
def test_python_examples_use_what_exists(text: str, marked: bool) -> None:
    tree = ast.parse(text)
    names = {
        a.asname or a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.Import)
        for a in n.names
        if a.name == "labelsieve"
    }
    allowed = {
        "scan": set(ScanOptions.__dataclass_fields__)
        | {"output", "force", "options"}
        | {"labels"},
        "load": set(DataSpec.__dataclass_fields__),
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in {"ls", *names}
        ):
            assert node.attr in labelsieve.__all__, node.attr
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in allowed
        ):
            assert {k.arg for k in node.keywords} <= allowed[node.func.attr]


@pytest.fixture
def photos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    digits: Any,
    encode: Callable[..., bytes],
) -> Path:
    """A working folder with `photos/`: twelve digits in class folders."""
    images, truth = digits
    for name, k in (("zero", 0), ("one", 1), ("two", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in np.flatnonzero(truth == k)[:4]:
            (tmp_path / "photos" / name / f"{row}.png").write_bytes(encode(images[row]))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("text", "marked"), [p for p in python_blocks() if p.values[1]]
)
def test_marked_examples_run(
    text: str, marked: bool, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what an example registers is forgotten afterwards
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    exec(compile(text, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_sessions_in_pages_give_what_they_show(page: Path, photos: Path) -> None:
    failed, _ = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert failed == 0


MODULES = sorted((ROOT / "labelsieve").rglob("*.py"))
WITH_SESSIONS = [p for p in MODULES if ">>>" in p.read_text(encoding="utf-8")]


def test_sessions_in_docstrings_give_what_they_show(photos: Path) -> None:
    for path in WITH_SESSIONS:
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = registry.need(".".join(parts))
        assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_pages_that_are_generated_hold_every_command_and_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/conf.py is executed as Sphinx does it, in a copy, with this process's help texts."""
    (tmp_path / "reference").mkdir()
    source = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    configuration = types.ModuleType("conf")
    configuration.__file__ = str(tmp_path / "conf.py")
    with contextlib.chdir(tmp_path):
        exec(compile(source, configuration.__file__, "exec"), configuration.__dict__)
    assert configuration.__dict__["release"] == labelsieve.__version__
    commands = (tmp_path / "reference" / "cli.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"\n## {verb}\n" in commands
    for option in (
        o
        for verb in VERBS.values()
        for p in verb.params
        for o in p.opts
        if o.startswith("--")
    ):
        assert option in commands
    rooms = (tmp_path / "reference" / "rooms.md").read_text(encoding="utf-8")
    for room in registry.ROOMS:
        for name in registry.names(room):
            assert f"- **{name}**: {registry.summary(room, name)}" in rooms
    assert sys.executable


# --- the tree in CONTRIBUTING.md


def tree_of_modules() -> tuple[set[str], set[str]]:
    """Paths below labelsieve/ that the tree lists: those that exist, and those to come."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.partition("```text\nlabelsieve/\n")[2].partition("```")[0]
    listed: set[str] = set()
    coming: set[str] = set()
    folders: list[str] = []
    for line in filter(str.strip, tree.splitlines()):
        level = (len(line) - len(line.lstrip())) // 2 - 1
        names = line.split()
        if names[0].endswith("/"):
            folders = [*folders[:level], names[0]]
            continue
        for name in itertools.takewhile(lambda word: word.endswith(".py"), names):
            path = "".join(folders[:level]) + name
            (coming if "(to come)" in line else listed).add(path)
    return listed, coming


def test_the_tree_holds_every_module() -> None:
    """Door signs are left out: they hold the sentence that stands beside the folder's name."""
    package = ROOT / "labelsieve"
    listed, coming = tree_of_modules()
    modules = {p.relative_to(package).as_posix() for p in MODULES}
    signs = {m for m in modules if m.endswith("/__init__.py")}
    missing = modules - signs - listed
    assert not missing, f"not in the tree of CONTRIBUTING.md: {sorted(missing)}"
    assert not listed - modules, f"gone: {sorted(listed - modules)}"
    here = sorted(coming & modules)
    assert not here, f"here, and no longer to be marked as to come: {here}"
