"""CVAT: the label of a box or tag changes in the XML, and no other byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures import annotated

from labelsieve.corrections.writers.cvat import open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def rewritten(path: Path, changes: dict[int, str | None]) -> str:
    spec = DataSpec(str(path))
    source: Any = open_source(spec)
    writer: Any = open_writer(spec, source)
    writer._write(source, changes, path.with_name("new.xml"))
    return path.with_name("new.xml").read_text()


def test_one_word_changes_and_nothing_else(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    before = path.read_text().splitlines()
    after = rewritten(path, {2: "blue"}).splitlines()
    (line,) = [n for n in range(len(before)) if before[n] != after[n]]
    assert after[line] == before[line].replace('label="green"', 'label="blue"')


def test_a_box_that_is_left_out_goes_with_its_line(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    before = path.read_text().splitlines()
    after = rewritten(path, {2: None}).splitlines()
    start = next(n for n, line in enumerate(before) if 'label="green"' in line)
    assert after == before[:start] + before[start + 2 :]


@pytest.mark.parametrize(
    "tag",
    [
        "<box label='green' xtl='8' ytl='8' xbr='16' ybr='16'/>",
        '<box occluded="a > b" label = "green" xtl="8" ytl="8" xbr="16" ybr="16"/>',
        '<box xtl="8" sublabel="x" ytl="8"\n xbr="16" ybr="16"\n label="green" ></box>',
        '<box comment=\'label="no"\' label="green" xtl="8" ytl="8" xbr="16" ybr="16"/>',
    ],
)
def test_other_ways_to_write_a_tag(tmp_path: Path, tag: str) -> None:
    path = annotated.cvat(tmp_path)
    text = path.read_text()
    start = text.index('    <box label="green"')
    end = text.index("</box>", start) + len("</box>")
    path.write_text(text[:start] + tag + text[end:])
    after = rewritten(path, {2: "blue"})
    old = "green"
    quoted = "'green'" if "'green'" in tag else '"green"'
    changed = tag.replace(quoted, quoted.replace(old, "blue").replace("'", '"'))
    assert after == text[:start] + changed + text[end:]
    assert rewritten(path, {2: None}) == text[:start] + text[end:].removeprefix("\n")


def test_letters_before_it_are_counted_in_bytes(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    text = path.read_text().replace("#ff0000", "größer–🎈").replace("red", "café")
    path.write_text(text, encoding="utf-8")
    after = rewritten(path, {2: "café"})
    assert after == text.replace('label="green"', 'label="café"')


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    path.write_text(path.read_text().replace("utf-8", "iso-8859-1"))
    with pytest.raises(DataError, match="is encoded as iso-8859-1"):
        rewritten(path, {2: "blue"})


def test_a_box_inside_of_a_box_is_refused(tmp_path: Path) -> None:
    path = annotated.cvat(tmp_path)
    text = path.read_text()
    end = text.index("</box>")
    inner = '<box label="red" xtl="1" ytl="1" xbr="9" ybr="9"></box>'
    path.write_text(text[:end] + inner + text[end:])
    with pytest.raises(DataError, match="a box lies inside of a box or tag"):
        rewritten(path, {0: "blue"})
