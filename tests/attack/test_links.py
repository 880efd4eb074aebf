"""What lies outside of the data that were named: read through no link, exported unless meant,
never written to.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures import annotated

from attack.children import Ended
from attack.samples import AUTO, ZERO_SHOT, digits, one_line, state, write_digits
from labelsieve import Run
from labelsieve.corrections.patch import patch_id, read_patch
from labelsieve.data.images import content_hash, read_bytes
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, RunError
from labelsieve.files import remove
from labelsieve.runs.decisions import Decisions
from labelsieve.runs.pictures import Images, original, webp
from labelsieve.tables import MANIFEST

# What is made below "data" -> where its picture 1.png lies, and what is then named.
Made = tuple[Path, Path]


def coco_file(folder: Path) -> Made:
    content = annotated.coco(folder)
    return folder / "images", annotated.write_json(folder / "a.json", content)


def coco_folder(folder: Path) -> Made:
    annotated.downloaded(folder)
    return folder / "train2017", folder


def cvat(folder: Path) -> Made:
    return folder / "images", annotated.cvat(folder)


def label_studio(folder: Path) -> Made:
    return folder, annotated.label_studio(folder)


def yolo(folder: Path) -> Made:
    return annotated.yolo(folder) / "images" / "train", folder


def metadata(folder: Path) -> Made:
    annotated.pictures(folder)
    rows = [{"file_name": n, "label": n[0]} for n in annotated.SQUARES]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text)
    return folder, folder


def shards(folder: Path) -> Made:
    # pictures beside tables would make it a folder of metadata
    annotated.pictures(folder / "inner" / "deeper")
    names = [f"inner/deeper/{n}" for n in annotated.SQUARES]
    table = pa.table({"image": names, "label": ["a", "b"] * 2})
    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder / "inner" / "deeper", folder


MAKERS = (coco_file, coco_folder, cvat, label_studio, yolo, metadata, shards)


def unreadable(named: Path, **options: Any) -> dict[str, str]:
    """Uri -> why its picture cannot be read, when it is listed and when it is read again."""
    source = open_source(DataSpec(str(named), **options))
    reasons = {}
    for row in source.rows():
        for get in (lambda row=row: row.image, lambda row=row: source.read(row.uri)):
            try:
                read_bytes(get())
            except ImageError as error:
                reasons[row.uri] = error.what
            else:
                assert row.uri not in reasons
    return reasons


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    maker: Callable[[Path], Made] = request.param
    (tmp_path / "data").mkdir()
    if maker is shards:
        # a folder of tables alone: no picture may be seen
        return _hidden_pictures(maker(tmp_path / "data"))
    return maker(tmp_path / "data")


def _hidden_pictures(made: Made) -> Made:
    pictures, named = made
    for file in sorted(pictures.rglob("*.png")):
        file.rename(file.with_suffix(".bin"))
    table = named / "train-00000-of-00001.parquet"
    names = [
        n.replace(".png", ".bin") for n in pq.read_table(table)["image"].to_pylist()
    ]
    pq.write_table(pa.table({"image": names, "label": ["a", "b"] * 2}), table)
    return made


def leave(made: Made, home: Path) -> Path:
    """Put 1.png elsewhere, and a link in its place."""
    (file,) = made[0].glob("1.*")
    home.mkdir()
    file.rename(home / "private")
    file.symlink_to(home / "private")
    return file


def test_a_picture_that_is_a_link_out_of_the_data_is_not_read(
    made: Made, tmp_path: Path
) -> None:
    assert not unreadable(made[1])
    leave(made, tmp_path / "home")
    reasons = unreadable(made[1])
    assert reasons
    for uri, reason in reasons.items():
        assert "1." in uri
        assert "leads out of the data" in reason and "--root" in reason


def test_root_allows_links_into_a_folder(made: Made, tmp_path: Path) -> None:
    leave(made, tmp_path / "home")
    assert not unreadable(made[1], root=str(tmp_path / "home"))
    (tmp_path / "other").mkdir()
    assert unreadable(made[1], root=str(tmp_path / "other"))


def test_links_within_the_data_are_read(made: Made) -> None:
    (file,) = made[0].glob("1.*")
    inner = (made[1] if made[1].is_dir() else made[1].parent) / "kept-1"
    file.rename(inner)
    file.symlink_to(inner)
    assert not unreadable(made[1])


@pytest.mark.parametrize("maker", [coco_file, coco_folder, cvat])
def test_a_folder_of_pictures_that_is_a_link_out_is_named(
    maker: Callable[[Path], Made], tmp_path: Path
) -> None:
    folder = tmp_path / "x" / "data"
    folder.mkdir(parents=True)
    pictures, named = maker(folder)
    pictures.rename(tmp_path / "photos")
    pictures.symlink_to(tmp_path / "photos")
    with pytest.raises(DataError, match="--root"):
        list(open_source(DataSpec(str(named))).rows())
    if maker is not coco_folder:
        assert not unreadable(named, root=str(tmp_path / "photos"))


def test_a_table_that_is_named_says_how_many_pictures_lie_elsewhere(
    tmp_path: Path,
) -> None:
    annotated.pictures(tmp_path / "photos")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "photos" / "1.png")
    names = [str(tmp_path / "photos" / "1.png"), "../photos/3.png", "link.png", "4.png"]
    (tmp_path / "data" / "4.png").write_bytes(annotated.paint([]))
    table = tmp_path / "data" / "t.csv"
    table.write_text("image,label\n" + "".join(f"{n},cat\n" for n in names))
    source = open_source(DataSpec(str(table)))
    assert len(list(source.rows())) == 4
    (note,) = [n for n in source.notes if "outside" in n]
    assert note.startswith("3 pictures lie outside of the data")
    assert str(tmp_path / "photos" / "1.png") in note
    # a folder that the user names is meant
    table.write_text(f"image,label\n{names[0]},cat\n")
    source = open_source(DataSpec(str(table), root=str(tmp_path)))
    assert len(list(source.rows())) == 1
    assert not [n for n in source.notes if "outside" in n]


# --- a table of a stranger that names somebody's pictures


@pytest.fixture
def private(run: Callable[..., Ended]) -> Callable[..., Ended]:
    """`data/t.csv` names its own pictures and two of "home"; "out" is its scan."""
    names = []
    for number, (name, label, png) in enumerate(digits(12)):
        folder = Path("home" if number < 2 else "data")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)
        far = Path("home", f"{name}.png").resolve()
        names.append(f"{far if number < 2 else f'{name}.png'},{label}")
    Path("data/t.csv").write_text("\n".join(["path,label", *names]) + "\n")
    ended = run(f"scan data/t.csv -o out {ZERO_SHOT}")
    assert ended.code == 0, ended.err
    assert "2 pictures lie outside of the data" in ended.out + ended.err
    return run


@pytest.mark.parametrize(
    "to", ["hf", "imagefolder", "coco", "yolo", "cvat", "webdataset", "label-studio"]
)
def test_no_export_carries_pictures_from_elsewhere(
    to: str, private: Callable[..., Ended]
) -> None:
    before = sorted(p.name for p in Path().iterdir())
    ended = private(f"export out --to {to} -o written")
    assert one_line(ended), ended
    assert "2 pictures lie outside of the data" in ended.err
    assert "--root" in ended.err
    assert sorted(p.name for p in Path().iterdir()) == before
    # the user says that they are meant
    assert private(f"export out --to {to} -o written --root home").code == 0


def test_a_table_of_scores_needs_no_pictures(private: Callable[..., Ended]) -> None:
    assert private("export out --to csv -o x.csv").code == 0


def test_corrections_leave_pictures_from_elsewhere_where_they_are(
    private: Callable[..., Ended],
) -> None:
    before = state(Path("home"))
    assert private(f"apply out {AUTO} -o copy.csv").code == 0
    for yes in ("", "--yes"):
        assert private(f"apply out {AUTO} --drop --in-place {yes}").code == 0
    assert state(Path("home")) == before
    assert private(f"apply out {AUTO} --drop --reverse").code == 0
    assert state(Path("home")) == before
    own = {f"{name}.png" for name, _, _ in digits(12)[2:]}
    pictures = {p.name for p in Path().rglob("*.png") if p.parent.name != "home"}
    assert pictures == own


@pytest.mark.parametrize("mark", ["x", "x#", "x#{0}", "x#{0}{0}{0}{0}{0}{0}"])
def test_an_id_of_a_stranger_fits_no_file(mark: str, tmp_path: Path) -> None:
    """A run of a stranger names a file, and by its id no content in particular."""
    mine = tmp_path / "mine.png"
    mine.write_bytes(annotated.paint([]))
    (tmp_path / "t.csv").write_text(f"path,label\n{mine},cat\n")
    digest = content_hash(mine.read_bytes())
    names = {"sample_id": mark.format(digest[:1]), "uri": str(mine), "path": "a.png"}
    row = {**dict.fromkeys(MANIFEST.names), **names, "slot": -1, "status": "ok"}
    manifest = pa.Table.from_pylist([row], schema=MANIFEST)
    images = Images(DataSpec(str(tmp_path / "t.csv")), manifest)
    with pytest.raises(ImageError):
        original(images, row["sample_id"])
    assert webp(images, row["sample_id"], 32) is None


# --- other names of a file


def test_a_copy_of_files_holds_nothing_that_links_lead_to(
    run: Callable[..., Ended],
) -> None:
    annotated.yolo(Path("data"))
    ended = run(f"scan data -o out --items boxes {ZERO_SHOT}")
    assert ended.code == 0, ended.err
    Path("secret").write_bytes(b"secret")
    Path("data/images/train/key.txt").symlink_to(Path("secret").resolve())
    assert run(f"apply out {AUTO} -o copy").code == 0
    written = [p.read_bytes() for p in Path("copy").rglob("*") if p.is_file()]
    assert written and b"secret" not in written


def test_a_copy_is_not_gone_on_with_where_somebody_put_links(
    scanned: Callable[..., Ended],
) -> None:
    assert scanned(f"apply out {AUTO} -o first").code == 0
    patch = read_patch(Path("out/corrections.parquet"))[0]
    partial = Path(".copy.labelsieve-partial")
    (partial / ".labelsieve").mkdir(parents=True)
    (partial / ".labelsieve" / "copying").write_text(patch_id(patch))
    Path("home").mkdir()
    for name in ("zero", "one", "two"):
        (partial / name).symlink_to(Path("home").resolve())
    assert scanned(f"apply out {AUTO} -o copy").code == 0
    assert not list(Path("home").iterdir())
    assert state(Path("copy")) == state(Path("first"))


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
@pytest.mark.parametrize("name", ["decisions.sqlite", "decisions.sqlite-wal"])
def test_decisions_are_not_written_into_another_file(
    name: str, kind: str, scanned: Callable[..., Ended]
) -> None:
    scores = Run("out").scores.to_pylist()
    with contextlib.closing(Decisions(Path("out"))) as decisions:
        decisions.add(scores[0]["sample_id"], "keep", by="me")
    for side in ("", "-wal"):
        shutil.copy("out/decisions.sqlite", f"mine{side}")
    Path("out", name).unlink(missing_ok=True)
    getattr(Path("out", name), kind)(
        Path(f"mine{name.partition('sqlite')[2]}").resolve()
    )
    before = [Path(f"mine{side}").read_bytes() for side in ("", "-wal")]
    with (
        pytest.raises(RunError, match="is a link"),
        contextlib.closing(Decisions(Path("out"))) as decisions,
    ):
        decisions.add(scores[1]["sample_id"], "keep", by="me")
    assert [Path(f"mine{side}").read_bytes() for side in ("", "-wal")] == before


def test_corrections_change_no_file_that_has_a_second_name(
    run: Callable[..., Ended],
) -> None:
    """Pictures, labels and tables are renamed or written anew, never written into."""
    write_digits(Path("data"))
    annotated.yolo(Path("boxes"))
    rows = []
    for name, label, png in digits(12):
        Path(f"{name}.png").write_bytes(png)
        rows.append(f"{name}.png,{label}")
    Path("t.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    for data in ("data", "boxes", "t.csv"):
        assert run(f"scan {data} -o out-{data} {ZERO_SHOT}").code == 0
        shutil.rmtree("home", ignore_errors=True)
        Path("home").mkdir()
        files = sorted(p for p in [Path(data), *Path(data).rglob("*")] if p.is_file())
        for number, file in enumerate(files):
            Path("home", str(number)).hardlink_to(file)
        before = state(Path("home"))
        policy = "--policy auto --min-confidence 0"
        for words in (
            f"-o {Path('copy').with_suffix(Path(data).suffix)}",
            "--in-place",
        ):
            assert run(f"apply out-{data} {policy} {words}").code == 0
        assert run(f"apply out-{data} {policy} --in-place --yes").code == 0
        assert state(Path("home")) == before
        assert run(f"apply out-{data} {policy} --reverse").code == 0
        assert state(Path("home")) == before
        remove(Path("copy"))


def test_a_lock_that_is_a_second_name_is_refused(scanned: Callable[..., Ended]) -> None:
    Path("data/.labelsieve").mkdir()
    Path("mine").write_text("mine")
    Path("data/.labelsieve/lock").hardlink_to("mine")
    assert scanned(f"apply out {AUTO} --in-place").code == 0
    ended = scanned(f"apply out {AUTO} --in-place --yes")
    assert one_line(ended) and "is a link" in ended.err
    assert Path("mine").read_text() == "mine"
