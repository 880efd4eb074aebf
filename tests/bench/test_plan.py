"""Configurations: what is read, what is refused and how it is said, and filters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from labelsieve import registry
from labelsieve.bench import plan, steps
from labelsieve.errors import MissingExtra, OptionError

GOOD = """
seeds = [0, 1]
tower = [{ name = "tiny" }, { name = "big", model = "models/big" }]
method = [{ name = "knn" }, { name = "deft --fast", method = "deft", \
preset = "fast", settings = { epochs = 3 } }]
[[data]]
name = "photos"
path = "photos"
class_names = { cat = "tabby cat" }
noise = [{ kind = "symmetric", rate = 0.25 }, { kind = "pair", rate = 0.4, name = "swaps" }]
[[data]]
name = "people"
path = "people.parquet"
truth_column = "clean"
limit = 50
noise = [{ kind = "recorded", column = "worse" }]
"""


def read(tmp_path: Path, text: str, *towers: str) -> plan.Plan:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return plan.read(str(path), towers)


def test_cells_are_the_product_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    names = [tuple(c.names().values()) for c in found.cells()]
    assert len(names) == len(set(names)) == 2 * (2 + 1) * 2 * 2
    assert names[0] == ("tiny", "photos", "symmetric 25 %", "knn", "0")
    assert names[-1] == ("big", "people", "worse", "deft --fast", "1")
    assert {n[2] for n in names} == {"symmetric 25 %", "swaps", "worse"}
    fast = found.methods[1]
    assert (fast.detector, fast.preset, fast.settings) == (
        "deft",
        "fast",
        {"epochs": 3},
    )
    assert (
        found.data[0].class_names == {"cat": "tabby cat"} and found.data[1].limit == 50
    )


def test_towers_of_the_command_line_come_last_or_replace(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD, "bench=towers/bench", "tiny=elsewhere")
    assert [(t.name, t.model) for t in found.towers] == [
        ("big", "models/big"),
        ("bench", "towers/bench"),
        ("tiny", "elsewhere"),
    ]
    for wrong in ("bench", "=x", "bench="):
        with pytest.raises(OptionError, match="is not NAME=MODEL"):
            read(tmp_path, GOOD, wrong)


@pytest.mark.parametrize("name", plan.ready())
def test_what_is_ready_can_be_read(name: str) -> None:
    found = plan.read(name)
    assert found.name == name and len(list(found.cells())) > 1
    assert all(d.path is None or not Path(d.path).is_absolute() for d in found.data)


@pytest.mark.parametrize(
    ("name", "kind"), [("offline", "single"), ("multi-label", "set")]
)
def test_the_offline_configurations_have_every_method(name: str, kind: str) -> None:
    found = {m.detector for m in plan.read(name).methods}
    able = set()
    for method in registry.names("methods"):
        if kind in registry.constants("methods", method, ("JUDGES",))["judges"]:
            able.add(method)
    assert found >= able - {"auto"}  # which is one of the others


MISTAKES = [
    ("seeds = [0, 1]", "seeds = [0.5]", "seeds cannot be"),
    ("seeds = [0, 1]", "sedes = [0]", "Did you mean 'seeds'"),
    ('method = [{ name = "knn" },', "method = [{},", r"A \[\[method\]\] has no name"),
    ('{ name = "knn" }', '{ name = "knm" }', "method 'knm': Method 'knm' is unknown"),
    (
        '{ name = "knn" }',
        '{ name = "deft --fast" , method = "knn"}',
        "method 'deft --fast' is there twice",
    ),
    (
        'preset = "fast"',
        'preset = "fats"',
        "method 'deft --fast': preset 'fats' is unknown",
    ),
    (
        "epochs = 3",
        "epoch = 3",
        "method 'deft --fast': Setting 'epoch' is unknown.*Did you mean 'epochs'",
    ),
    ("epochs = 3", "epochs = -3", "method 'deft --fast': Setting epochs cannot be -3"),
    (
        'path = "photos"',
        "",
        "data 'photos': it needs one of path, archive and embedded",
    ),
    (
        'path = "photos"',
        'archive = "cifar1000"',
        "data 'photos': archive 'cifar1000' is unknown",
    ),
    (
        'path = "photos"',
        'embedded = "letters"',
        "data 'photos': embedded 'letters' is unknown",
    ),
    (
        'path = "photos"',
        'path = "photos"\ncolumn = "x"',
        "data 'photos': Setting 'column' is unknown",
    ),
    (
        'noise = [{ kind = "recorded", column = "worse" }]',
        'vote_columns = "x*"\nnoise = [{ kind = "recorded" }]',
        "data 'people': recorded votes are judged whole: leave limit out",
    ),
    ("limit = 50", "limit = 0", "data 'people': Setting limit cannot be 0"),
    (
        'kind = "symmetric"',
        'kind = "symetric"',
        "data 'photos': Noise 'symetric' is unknown",
    ),
    (
        "rate = 0.25",
        "rate = 25",
        "data 'photos': noise 'symmetric' needs a rate from 0 to 1",
    ),
    (
        ', name = "swaps"',
        ', name = "symmetric 25 %"',
        "noise of 'photos' 'symmetric 25 %' is there twice",
    ),
    (
        'truth_column = "clean"',
        "",
        "data 'people': recorded noise needs its column, and the data's truth_column",
    ),
    ("seeds", "seeds = [1]\nseeds", "mine.toml' cannot be read"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_named(
    tmp_path: Path, old: str, new: str, message: str | None
) -> None:
    assert old in GOOD
    if message is None:
        read(tmp_path, GOOD.replace(old, new, 1))
        return
    with pytest.raises(OptionError, match=message) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_method_whose_library_is_lacking_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = registry.load

    def lacking(room: str, name: str) -> Any:
        if name == "knn":
            raise MissingExtra("cleanlab", "cleanlab")
        return load(room, name)

    monkeypatch.setattr(registry, "load", lacking)
    assert [m.name for m in read(tmp_path, GOOD).methods] == ["knn", "deft --fast"]


def test_the_example_of_the_documentation_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "bench.md"
    (example,) = re.findall(
        r"^```toml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
    )
    found = read(tmp_path, example)
    assert [d.name for d in found.data] == ["photos", "crowd", "CIFAR-100"] and len(
        list(found.cells())
    ) == 3 * 3 * 5


def test_an_unknown_configuration_names_those_there_are() -> None:
    with pytest.raises(
        OptionError,
        match=r"'ofline' is unknown; there are: .*offline, .*Did you mean 'offline'",
    ):
        plan.read("ofline")
    with pytest.raises(OptionError, match=r"nowhere.toml' cannot be opened"):
        plan.read("nowhere.toml")


@pytest.fixture
def cells(tmp_path: Path) -> list[plan.Cell]:
    return list(read(tmp_path, GOOD).cells())


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ([], 24),
        (["method=knn"], 12),
        (["method=knn,data=photos"], 8),
        (["method=knn", "data=photos", "seed=1"], 4),
        (["noise=swaps,noise=worse"], 16),
        (["noise=s*,tower=tiny"], 8),
        (["method=deft --fast,seed=0"], 6),
    ],
)
def test_filters(cells: list[plan.Cell], only: list[str], count: int) -> None:
    found = steps.narrow(cells, only)
    assert len(found) == count
    for cell in found:
        for key in ("method", "data", "seed", "tower"):
            asked = [
                p.partition("=")[2]
                for t in only
                for p in t.split(",")
                if p.startswith(f"{key}=")
            ]
            assert not asked or cell.names()[key] in asked


def test_names_with_commas_can_be_asked_for(tmp_path: Path) -> None:
    found = list(
        read(tmp_path, GOOD.replace('name = "photos"', 'name = "photos, new"')).cells()
    )
    assert len(steps.narrow(found, ["data=photos, new,seed=1"])) == 8


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("method", "is not KEY=NAME"),
        ("model=knn", "Key 'model' is unknown"),
        (
            "method=knm",
            "method 'knm' is unknown; there are: deft --fast, knn. Did you mean 'knn'",
        ),
    ],
)
def test_filters_that_cannot_be(
    cells: list[plan.Cell], only: str, message: Any
) -> None:
    with pytest.raises(OptionError, match=message):
        steps.narrow(cells, [only])


def test_a_method_may_be_told_the_realised_rate(tmp_path: Any) -> None:
    config = tmp_path / "c.toml"
    method = '[{ name = "knn", settings = { noise_rate = "realised" } }]'
    data = '[{ name = "digits", embedded = "digits", noise = [{ kind = "pair", rate = 0.2 }] }]'
    config.write_text(
        f'tower = [{{ name = "tiny" }}]\nmethod = {method}\ndata = {data}\n'
    )
    (cell,) = plan.read(str(config)).cells()
    assert cell.method.settings["noise_rate"] == plan.REALISED
    config.write_text(config.read_text().replace("realised", "known"))
    with pytest.raises(OptionError, match="noise_rate"):
        plan.read(str(config))
