"""Siblings of the inputs that went wrong once: more of the same kinds."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attack.children import Ended
from attack.samples import AUTO, TINY, ZERO_SHOT, digits, one_line, state, write_digits
from labelsieve.corrections.patch import read_patch


def test_a_class_name_of_many_words_gives_one_line(run: Callable[..., Ended]) -> None:
    """transformers has a warning of its own for it, which would come first."""
    write_digits(Path("data"))
    Path("data/one").rename("data/" + "very long name " * 16)
    ended = run(f"scan data -o out {ZERO_SHOT}")
    assert "Token indices" not in ended.err
    assert ended.code == 0 or (one_line(ended) and len(ended.err.splitlines()) == 1)


@pytest.mark.parametrize(
    "file", ["detector/config.json", "scores.csv", "probs.parquet"]
)
def test_the_same_scan_again_names_what_is_damaged(
    file: str, run: Callable[..., Ended]
) -> None:
    write_digits(Path("data"))
    scan = "scan data -o out --fast --set epochs=1 -q"
    assert run(scan).code == 0
    path = Path("out", file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    ended = run(scan)
    assert one_line(ended) and file in ended.err


@pytest.mark.parametrize("verb", ["report out", "export out --to csv -o x.csv"])
def test_a_second_command_waits_for_the_run_folder(
    verb: str, scanned: Callable[..., Ended]
) -> None:
    from labelsieve.runs.run import run_folder

    with run_folder(Path("out")).locked():
        waiting = scanned(verb, after=8)
    assert waiting.code < 0, "it did not wait"
    assert "Another labelsieve works on" in waiting.err
    assert scanned(verb).code == 0


def test_columns_of_strange_kinds_end_in_one_line(run: Callable[..., Ended]) -> None:
    from decimal import Decimal

    images = [png for _, _, png in digits(8)]
    labels = ["a", "b"] * 4
    tables = {
        "none": pa.table({}),
        "twice": pa.table([images, labels, labels], ["image", "label", "label"]),
        "nested": pa.table({"image": images, "label": [[{"a": 1}]] * 8}),
        "binary": pa.table({"image": images, "label": [b"\xff\xfe"] * 8}),
        "decimal": pa.table({"image": images, "label": [Decimal("1.5")] * 8}),
        "huge": pa.table({"image": images, "label": ["x" * (1 << 20), "y"] * 4}),
        "words": pa.table(
            {"image": images, "label": pa.array(labels).dictionary_encode()}
        ),
        "rows": pa.table({"image": images, "label": labels}).slice(0, 0),
    }
    for name, table in tables.items():
        pq.write_table(table, f"{name}.parquet")
        ended = run(f"scan {name}.parquet --preflight")
        assert ended.code == 0 or one_line(ended), f"{name}: {ended}"


@pytest.mark.parametrize("open_footer", [False, True])
def test_an_encrypted_table_is_one_line(
    open_footer: bool, run: Callable[..., Ended]
) -> None:
    encryption = pytest.importorskip("pyarrow.parquet.encryption")

    class Keys(encryption.KmsClient):  # type: ignore[misc,name-defined]
        def wrap_key(self, key: bytes, master: str) -> bytes:
            return base64.b64encode(key)

    factory = encryption.CryptoFactory(lambda connection: Keys())
    words = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"c": ["label"]}, plaintext_footer=open_footer
    )
    connection = encryption.KmsConnectionConfig(custom_kms_conf={})
    properties = factory.file_encryption_properties(connection, words)
    images = [png for _, _, png in digits(8)]
    table = pa.table({"image": images, "label": ["a", "b"] * 4})
    with pq.ParquetWriter(
        "t.parquet", table.schema, encryption_properties=properties
    ) as writer:
        writer.write_table(table)
    ended = run("scan t.parquet --preflight")
    assert one_line(ended) and "t.parquet" in ended.err


def test_a_picture_that_a_table_names_twice_is_two_rows(
    run: Callable[..., Ended],
) -> None:
    rows = []
    for name, label, png in digits(12):
        Path(f"{name}.png").write_bytes(png)
        rows.append(f"{name}.png,{label}")
    first, _, label = rows[0].partition(",")
    other = "one" if label != "one" else "two"
    rows += [rows[0], f"{first},{other}"]
    before = "\n".join(["path,label", *rows]) + "\n"
    Path("t.csv").write_text(before)
    assert run(f"scan t.csv -o out {ZERO_SHOT}").code == 0
    auto = "apply out --policy auto --min-confidence 0"
    for words in ("-o c.csv", "--in-place", "--in-place --yes"):
        ended = run(f"{auto} {words}")
        assert ended.code == 0, ended.err
    patch = read_patch(Path("out/corrections.parquet"))[0].to_pylist()
    assert len({row["sample_id"] for row in patch}) == len(patch)
    after = [line.split(",") for line in Path("c.csv").read_text().splitlines()]
    changed = [a for a, b in zip(after[1:], rows, strict=True) if ",".join(a) != b]
    assert sorted(label for _, label in changed) == sorted(
        row["new_label"] for row in patch
    )
    assert Path("t.csv").read_text() == Path("c.csv").read_text()
    assert run(f"{auto} --reverse").code == 0
    assert Path("t.csv").read_text() == before


def test_numbers_of_five_thousand_digits_are_exact_or_named(
    run: Callable[..., Ended],
) -> None:
    """Python itself refuses to make a number of so many, as it would take long."""
    lines = []
    for k, (name, _, png) in enumerate(digits(8)):
        Path(f"{name}.png").write_bytes(png)
        number = "9" * 5000 + str(k)
        lines.append(f'{{"path": "{name}.png", "label": {k % 2}, "id": {number}}}\n')
    Path("t.jsonl").write_text("".join(lines))
    ended = run("scan t.jsonl --id-column id --preflight")
    assert "set_int_max_str_digits" not in ended.err
    assert ended.code == 0 or one_line(ended), ended


def test_class_folders_that_are_links_never_lead_a_correction_out(
    scanned: Callable[..., Ended],
) -> None:
    shutil.move("data/one", "elsewhere")
    Path("data/one").symlink_to(Path("elsewhere").resolve())
    before = state(Path("elsewhere"))
    for yes in ("", "--yes"):
        ended = scanned(f"apply out {AUTO} --in-place {yes}")
        assert ended.code == 0 or one_line(ended), ended
    assert state(Path("elsewhere")) == before


def test_settings_nested_by_a_stranger_reach_no_method(
    run: Callable[..., Ended],
) -> None:
    write_digits(Path("data"))
    assert run("scan data -o out --fast --set epochs=1 -q").code == 0
    path = Path("out/detector/config.json")
    config = json.loads(path.read_text())
    config["template"] = "{0.__class__} {}"
    path.write_text(json.dumps(config))
    assert one_line(run("score out data -o more.parquet -q"))


def test_a_model_whose_index_names_a_file_elsewhere_is_refused(
    run: Callable[..., Ended],
) -> None:
    write_digits(Path("data"))
    shutil.copytree(TINY, "model")
    shutil.move("model/model.safetensors", "weights.safetensors")
    index = {"weight_map": {"logit_scale": "../weights.safetensors"}}
    Path("model/model.safetensors.index.json").write_text(json.dumps(index))
    assert one_line(run(f"scan data -o out --model model {ZERO_SHOT}"))


@pytest.mark.parametrize("name", ["CON", "a:b", "\x1b[2Jx", "=cmd()", "-o"])
def test_names_that_steer_terminals_and_systems_are_only_names(
    name: str, run: Callable[..., Ended]
) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no such files")
    write_digits(Path("data"))
    Path("data/one").rename(Path("data", name))
    ended = run(f"scan data -o out {ZERO_SHOT}")
    assert ended.code == 0, ended.err
    assert "\x1b" not in ended.out + ended.err
    exported = run("export out --to csv -o x.csv --safe-formulas")
    assert exported.code == 0, exported.err
    assert not any(
        cell.startswith("=") for cell in Path("x.csv").read_text().split(",")
    )


def read_only(folder: str, words: str) -> subprocess.CompletedProcess[str]:
    """A command for which a folder is mounted so that nothing in it can be written.

    Modes do not bind root, who runs tests in containers; a mount of the command's own does, and
    goes with it.
    """
    script = (
        f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} "
        f'&& ! touch {folder}/new && exec "$@"'
    )
    command = ["unshare", "-rm", "sh", "-c", script, "sh", *words.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_a_cache_that_may_only_be_read_is_used(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives everything it holds, and is not asked to take what it has."""
    write_digits(Path("data"))
    Path("cache").mkdir()
    if not shutil.which("unshare") or read_only("cache", "true").returncode:
        pytest.skip("this system lets nobody mount a folder for one command")
    scan = "--method knn -q"
    assert run(f"scan data -o first {scan}").code == 0
    before = state(Path("cache"))
    assert len(before) >= 4  # pixels, their index, features, texts
    monkeypatch.setenv("LABELSIEVE_CACHE", str(Path("cache").resolve()))
    labelsieve = f"{sys.executable} -m labelsieve"
    done = read_only("cache", f"{labelsieve} scan data -o second {scan}")
    assert done.returncode == 0, done.stderr
    assert state(Path("cache")) == before
    assert (
        Path("second/scores.csv").read_bytes() == Path("first/scores.csv").read_bytes()
    )
    # what it lacks cannot be kept: said in one line
    shutil.copy(next(Path("data/one").iterdir()), "data/two/same.png")
    Image.new("L", (9, 9), 77).save("data/two/new.png")
    done = read_only("cache", f"{labelsieve} scan data -o third {scan}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be written. Set LABELSIEVE_CACHE" in done.stderr
