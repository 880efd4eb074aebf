"""Inputs that went wrong once, given to the command line as a user or an attacker gives them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from attack.children import Ended
from attack.samples import AUTO, TINY, ZERO_SHOT, digits, one_line, state, write_digits


def p_clean(folder: str) -> dict[str, float]:
    table = pq.read_table(f"{folder}/scores.parquet", columns=["sample_id", "p_clean"])
    ids, values = (table[name].to_pylist() for name in table.column_names)
    return dict(zip(ids, values, strict=True))


# --- reading


def test_integers_of_any_size_keep_their_digits(run: Callable[..., Ended]) -> None:
    rows = []
    for k in range(8):
        Image.new("RGB", (32, 32), (k * 30, 9, 9)).save(f"{k}.png")
        label = 10**19 + 7 + 4096 * (k % 2)
        rows.append({"path": f"{k}.png", "label": label, "id": 10**19 + 7 + 4096 * k})
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(f"scan t.jsonl --id-column id -o out {ZERO_SHOT}").code == 0
    table = pq.read_table("out/scores.parquet")
    ids = {value.partition("#")[0] for value in table["sample_id"].to_pylist()}
    assert ids == {str(row["id"]) for row in rows}
    assert set(table["given_label"].to_pylist()) == {str(row["label"]) for row in rows}


def test_a_table_that_ends_the_parser_gives_one_line(run: Callable[..., Ended]) -> None:
    Path("x.jsonl").write_text("null\n{:")
    assert one_line(run("scan x.jsonl --preflight"))


@pytest.mark.parametrize(
    ("top", "dtype", "suffix"), [(4095, "u2", "png"), (4095, "i4", "tif")]
)
def test_twelve_bits_in_sixteen_are_not_black(
    top: int, dtype: str, suffix: str, run: Callable[..., Ended]
) -> None:
    """Towers see the same pixels as of the same pictures in eight bits."""
    write_digits(Path("eight"))
    for path in Path("eight").rglob("*.png"):
        pixels = np.asarray(Image.open(path)).astype("f8") / 255 * top
        deep = Path("deep", path.parent.name, f"{path.stem}.{suffix}")
        deep.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.round().astype(dtype)).save(deep)
    eight, deep_ones = (pixels_of(name) for name in ("eight", "deep"))
    assert eight.keys() == deep_ones.keys()
    for name, pixels in eight.items():
        assert np.array_equal(pixels, deep_ones[name])
    ended = run("scan deep --preflight")
    assert ended.code == 0 and "12-bit" in ended.out, ended


def pixels_of(data: str) -> dict[str, np.ndarray]:
    """What towers see of each file, by its name without suffix."""
    from labelsieve.data.dataset import prepare
    from labelsieve.data.spec import DataSpec
    from labelsieve.models.load import preprocess_of

    images = prepare(DataSpec(data), preprocess_of("tiny")).dataset
    pixels = images.inputs(np.arange(len(images))).numpy()
    names = [Path(str(i).partition("#")[0]).stem for i in images.ids.to_pylist()]
    return dict(zip(names, pixels, strict=True))


def test_a_small_file_that_decodes_to_gigabytes_takes_bounded_memory(
    run: Callable[..., Ended],
) -> None:
    write_digits(Path("data"))
    for k in range(2):
        picture = Image.new("1", (13377, 13377))
        picture.save(f"data/zero/big{k}.png", transparency=0)
    code = (
        "import resource, sys; from labelsieve.cli.app import main\n"
        "sys.argv = 'labelsieve scan data --preflight -q'.split()\n"
        "try: main()\n"
        "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.rpartition("peak ")[2])
    assert peak < 1100, f"{peak} MiB, of which libraries are some 450"


def test_data_replaced_under_their_names_sizes_and_dates_are_read_again(
    run: Callable[..., Ended],
) -> None:
    """As layers of containers and archives with fixed dates do it."""

    def write(shift: int) -> None:
        rows = digits(36, wrong=0)
        labels = [row[1] for row in rows]
        names = sorted(set(labels))
        for k, (_, label, png) in enumerate(rows):
            folder = Path("data", names[(names.index(label) + shift) % len(names)])
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{k // 3}.bmp"
            Path("scratch.png").write_bytes(png)
            Image.open("scratch.png").convert("RGB").save(path)
            os.utime(path, (1e9, 1e9))

    write(0)
    assert run(f"scan data -o first {ZERO_SHOT}").code == 0
    write(1)
    assert run(f"scan data -o second {ZERO_SHOT}").code == 0
    assert run(f"scan data -o fresh {ZERO_SHOT}", "another-cache").code == 0
    assert p_clean("second") == p_clean("fresh") != p_clean("first")


@pytest.mark.parametrize("damage", ["empty", "cut", "black"])
def test_a_damaged_cache_is_computed_anew(
    damage: str, run: Callable[..., Ended]
) -> None:
    write_digits(Path("data"))
    scan = "scan data -o {} --fast --set epochs=1 -q --force"
    assert run(scan.format("right")).code == 0
    features = max(Path("cache").rglob("*.npy"), key=lambda p: p.stat().st_size)
    if damage == "black":
        shutil.rmtree(features.parent)
        pixels = next(Path("cache").rglob("pixels.u8"))
        content = pixels.read_bytes()
        pixels.write_bytes(bytes(30_720) + content[30_720:])  # ten pictures of 32 x 32
    else:
        os.truncate(features, 0 if damage == "empty" else features.stat().st_size // 2)
    ended = run(scan.format("again"))
    assert ended.code == 0, ended.err
    assert p_clean("again") == p_clean("right")


# --- names and classes


def test_classes_are_written_as_they_were_declared(run: Callable[..., Ended]) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["zebra", "unused", "ant"]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    images = [Image.new("RGB", (32, 32), (k * 25, 9, 9)) for k in range(8)]
    data = {"image": images, "label": [0, 2] * 4}
    datasets.Dataset.from_dict(data, features=features).save_to_disk("data")
    assert run(f"scan data -o out {ZERO_SHOT}").code == 0
    assert run("export out --to hf -o written").code == 0
    assert datasets.load_from_disk("written").features["label"].names == names


def test_names_that_changed_places_are_said(run: Callable[..., Ended]) -> None:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    words = ["one", "zero", "two", "three", "four", "five"]  # the first two are swapped
    for k, word in enumerate(words):
        Path("data", word).mkdir(parents=True)
        for row in np.flatnonzero(bundle.target == k)[:20]:
            picture = Image.fromarray((bundle.images[row] * 15.9).astype("u1"))
            picture.resize((32, 32)).convert("RGB").save(f"data/{word}/{row}.png")
    ended = run("scan data -o out -q --force --fast")
    assert ended.code == 0, ended.err
    named = [x for x in ended.out.splitlines() if "one" in x and "zero" in x]
    # that the model does not know these two by name would blame the model
    named = [line for line in named if "does not know" not in line]
    assert named, ended.out
    # a third wrong and nothing flagged would contradict each other
    (headline,) = [x for x in ended.out.splitlines() if "probably wrong (" in x]
    assert "bear another class's name); one by one, 0 are flagged." in headline


def test_names_longer_than_a_file_name_are_shortened(run: Callable[..., Ended]) -> None:
    table: dict[str, list[Any]] = {"image": [], "label": [], "url": []}
    for k in range(8):
        Image.new("RGB", (32, 32), (k * 25, 9, 9)).save("scratch.png")
        table["image"].append(Path("scratch.png").read_bytes())
        table["label"].append("ab"[k % 2])
        table["url"].append(f"https://h/{'x' * 260}/{k}.png")
    pq.write_table(pa.table(table), "t.parquet")
    assert run(f"scan t.parquet --id-column url -o out {ZERO_SHOT}").code == 0
    first = run("export out --to label-studio -o tasks")
    assert first.code == 0, first.err
    assert len(list(Path("tasks").rglob("*.png"))) == 8


# --- data and patches of strangers


@pytest.mark.parametrize("options", ["--in-place", "--in-place --yes", "-o copy"])
def test_a_journal_that_came_with_the_data_is_not_carried_out(
    options: str, scanned: Callable[..., Ended]
) -> None:
    victim = Path("home/profile")
    victim.parent.mkdir()
    victim.write_text("mine\n")
    bait = Path("data/zero/bait.png")
    bait.write_text("theirs\n")
    steps = [
        {"do": "replace", "from": str(bait.resolve()), "to": str(victim.resolve())}
    ]
    check = hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:16]
    Path("data/.labelsieve").mkdir()
    journal = Path("data/.labelsieve/journal.json")
    journal.write_text(json.dumps({"steps": steps, "check": check}))
    before = state(Path("data"))
    ended = scanned(f"apply out {AUTO} {options}")
    assert victim.read_text() == "mine\n"
    assert "Traceback" not in ended.err
    if "--yes" not in options:
        assert state(Path("data")) == before


@pytest.mark.parametrize("options", ["--reverse", "--reverse --yes", "-o copy"])
@pytest.mark.parametrize("lock", [None, b"", b"not a lock"])
def test_a_folder_of_a_stranger_that_is_refused_stays_as_it_came(
    options: str, lock: bytes | None, scanned: Callable[..., Ended]
) -> None:
    history = Path("data/.labelsieve")
    history.mkdir()
    steps = [{"do": "move", "from": "/etc/hostname", "to": "/etc/other"}]
    (history / "journal.json").write_text(json.dumps({"steps": steps, "check": "0"}))
    if lock is not None:
        (history / "lock").write_bytes(lock)
    before = state(Path("data"), hidden=True)
    assert one_line(scanned(f"apply out {AUTO} {options}"))
    assert state(Path("data"), hidden=True) == before
    assert not Path("copy").exists()


@pytest.mark.parametrize("where", ["absolute", "up", "coded"])
@pytest.mark.parametrize("action", ["relabel", "drop"])
def test_a_patch_that_leads_out_of_the_data_is_refused(
    where: str, action: str, scanned: Callable[..., Ended]
) -> None:
    known = b"a file whose content is public\n"
    victim = Path("home/a")
    victim.parent.mkdir()
    victim.write_bytes(known)
    uris = {
        "absolute": str(victim.resolve()),
        "up": "../home/a",
        "coded": "..%2Fhome%2Fa",
    }
    names = [
        "sample_id",
        "uri",
        "path",
        "action",
        "old_label",
        "new_label",
        "reason",
        "new_uri",
    ]
    label = "one" if action == "relabel" else None
    mark = f"x#{hashlib.sha256(known).hexdigest()[:12]}"
    row = (mark, uris[where], "harmless.png", action, "zero", label, "r", None)
    schema = pa.schema([(name, pa.string()) for name in names])
    rows = [dict(zip(names, row, strict=True))]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), "p.parquet")
    for yes in ("", "--yes"):
        ended = scanned(f"apply --patch p.parquet --data data --in-place {yes}")
        assert one_line(ended), ended
    assert victim.read_bytes() == known
    assert sorted(p.name for p in Path("home").iterdir()) == ["a"]


def test_two_people_who_correct_at_once_leave_a_way_back(
    scanned: Callable[..., Ended],
) -> None:
    before = state(Path("data"))
    auto = "--policy auto --min-confidence"
    commands = [f"apply out {auto} {c} --in-place" for c in (0.3, 0.9)]
    for words in commands:
        assert scanned(words).code == 0
    program = [sys.executable, "-m", "labelsieve"]
    environment = {**os.environ, "LABELSIEVE_CACHE": str(Path("cache").resolve())}
    running = []
    for words in commands:
        arguments = [*program, *words.split(), "--yes"]
        running.append(
            subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
        )
    for process in running:
        process.wait()
    for confidence in (0.3, 0.9):
        for yes in ("", "--yes"):
            scanned(f"apply out {auto} {confidence} --reverse {yes}")
    assert state(Path("data")) == before
    assert not Path("data/.labelsieve/journal.json").exists()


# --- models of strangers


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def broken(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] = weights["logit_scale"] * float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_code(folder: Path) -> None:
    mark = folder.parent / "RAN"
    code = f"open({str(mark)!r}, 'w')\nfrom transformers import CLIPConfig as C, CLIPModel as M\n"
    (folder / "evil.py").write_text(code)
    mapping = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
    _configure(folder, auto_map=mapping, model_type="evil")


def negative(folder: Path) -> None:
    _configure(folder, projection_dim=-5)


def _configure(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **entries}))


@pytest.mark.parametrize("change", [pickled, broken, with_code, negative])
def test_a_model_of_a_stranger_is_refused_in_one_line(
    change: Callable[[Path], None], run: Callable[..., Ended]
) -> None:
    write_digits(Path("data"))
    folder = Path("model").resolve()
    shutil.copytree(TINY, folder)
    change(folder)
    assert one_line(run(f"scan data -o out --model {folder} {ZERO_SHOT}"))
    assert not Path("RAN").exists()


# --- other systems


def test_a_narrow_terminal_gets_replacement_characters(
    run: Callable[..., Ended],
) -> None:
    for encoding in ("cp1252", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        words = [sys.executable, "-m", "labelsieve", "methods"]
        done = subprocess.run(words, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"deft" in done.stdout


def test_calls_that_only_linux_has_are_not_needed(run: Callable[..., Ended]) -> None:
    write_digits(Path("data"))
    code = (
        "import os, sys\n"
        "for name in ('fdatasync', 'posix_fallocate', 'posix_fadvise', 'preadv', 'pwritev',\n"
        "             'sched_getaffinity', 'copy_file_range', 'sendfile'):\n"
        "    if hasattr(os, name): delattr(os, name)\n"
        "from labelsieve.cli.app import main\n"
        f"sys.argv = 'labelsieve scan data -o out {ZERO_SHOT}'.split()\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
