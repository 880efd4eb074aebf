"""Every method on texts: it judges them, or says in one line that it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from fastapi.testclient import TestClient
from sklearn.metrics import roc_auc_score

import labelsieve
from labelsieve import registry, tables
from labelsieve.data.load import load
from labelsieve.errors import OptionError
from labelsieve.pipeline import demo
from labelsieve.pipeline.scan import scan
from labelsieve.pipeline.score import score
from labelsieve.review.server import Names, make_app
from labelsieve.review.session import Review
from labelsieve.runs import reasons
from labelsieve.runs.run import Run

# these set the pace of others and are tested with them
METHODS = [
    name
    for name in registry.names("methods")
    if "single" in registry.constants("methods", name, ("JUDGES",))["judges"]
]
# Those that look at class names, to which the embedded model hardly listens.
BY_NAMES = {"zero-shot", "surrogate", "lemon", "transport", "clip-cleaner", "capro"}


@pytest.fixture(scope="module")
def notes() -> dict[str, Any]:
    return demo.texts().slice(0, 120).to_pydict()


@pytest.mark.parametrize("name", METHODS)
def test_texts_are_judged_or_refused(
    name: str, notes: dict[str, Any], tmp_path: Path
) -> None:
    wanted = {"output": tmp_path / "run", "method": name, "model": "hashing"}
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    offers = registry.constants("methods", name, ("NEEDS", "WITHOUT_PIXELS"))
    if "pixels" in offers["needs"] and "without_pixels" not in offers:
        with pytest.raises(OptionError, match="and the data are texts"):
            scan(columns, **wanted)
        return
    run = scan(columns, **wanted)
    assert run.scores.num_rows == 120
    right = run.scores["p_clean"].drop_null().to_pylist()
    assert all(0 <= p <= 1 for p in right)
    assert name in BY_NAMES or len({round(p, 3) for p in right}) > 10


def test_training_on_pixels_is_refused(notes: dict[str, Any], tmp_path: Path) -> None:
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    wanted = {"output": tmp_path / "run", "method": "deft", "model": "hashing"}
    with pytest.raises(OptionError, match="Preset tuned of method deft trains"):
        scan(columns, preset="tuned", **wanted)
    with pytest.raises(OptionError, match="Setting epochs of method deft"):
        scan(columns, settings={"epochs": 3}, **wanted)


def test_the_default_weighs_votes_by_how_labels_arise(
    notes: dict[str, Any], tmp_path: Path
) -> None:
    columns = {"text": notes["text"], "label": notes["planted_label"]}
    run = scan(columns, output=tmp_path / "run", model="hashing")
    command = run.record["command"]
    assert (command["method"], command["preset"]) == ("knn", "bayes")
    assert command["settings"]["bayes"] is True


def test_lists_of_texts_and_labels(notes: dict[str, Any], tmp_path: Path) -> None:
    labels = notes["planted_label"]
    run = scan(texts=notes["text"], labels=labels, output=tmp_path, model="hashing")
    assert run.scores.num_rows == 120
    with pytest.raises(OptionError, match=r"^texts need labels"):
        scan(texts=["a", "b"], output=tmp_path / "other")
    with pytest.raises(OptionError, match=r"^Give data, or texts"):
        scan(output=tmp_path / "other")


def test_a_run_of_texts_judges_other_texts(
    notes: dict[str, Any], tmp_path: Path
) -> None:
    more = demo.texts().slice(120, 200).to_pydict()
    first = {"text": notes["text"] * 3, "label": notes["planted_label"] * 3}
    first["text"] = [f"{text} {n}" for n, text in enumerate(first["text"])]
    scan(first, output=tmp_path / "run", model="hashing")
    new = {"text": more["text"], "label": more["planted_label"]}
    scores = score(tmp_path / "run", new)
    assert scores.num_rows == 200
    wrong = dict(enumerate(np.array(more["planted_label"]) != more["true_label"]))
    rows = [int(path.removeprefix("row ")) for path in scores["path"].to_pylist()]
    truth = [bool(wrong[row]) for row in rows]
    assert roc_auc_score(truth, -scores["p_clean"].to_numpy()) > 0.75


def test_near_duplicates_with_other_labels_are_a_queue(
    notes: dict[str, Any], tmp_path: Path
) -> None:
    """The same words but for one, under another label; the page names the partner."""
    long = "The bank said on Monday that it would raise its rates before the end of the year"
    more = [f"{long}, again.", f"{long}, again and again."]
    columns = {
        "text": [*notes["text"], *more],
        "label": [*notes["planted_label"], "money", "football"],
    }
    run = scan(columns, output=tmp_path / "run", model="hashing")
    (queue,) = reasons.queues(run)
    assert queue.name == "duplicates"
    text_of = dict(
        zip(run.scores["sample_id"].to_pylist(), run.scores["path"], strict=True)
    )
    planted = [i for i in queue.ids if text_of[i].as_py() in ("row 120", "row 121")]
    assert len(planted) == 2
    why = dict(zip(queue.ids, queue.why, strict=True))
    assert all("labelled" in why[i] for i in planted)
    assert "nearly the same words as" in why[planted[0]]
    assert run.record["findings"]["duplicate_pairs"] >= 1


# --- texts of strangers

HOSTILE = {
    "html": '<script>alert(1)</script><img src=x onerror="alert(2)"> the bank raised rates',
    "ansi": "\x1b[2J\x1b[31mred\x1b[0m \x07\x08 the match was lost \x9b31m",
    "rtl": "\u202eevil \u2066mark\u2069 שלום עולם مرحبا بالعالم",
    "hidden": "pay\u200bpal \ufeff\u2060 zero\u00adwidth \U000e0041",
    "scripts": "銀行が金利を上げた बैंक ने दर बढ़ाई ธนาคารขึ้นดอกเบี้ย банк поднял ставку",
    "emoji": "🚀👩\u200d👩\u200d👧 \U0001f1e9\U0001f1ea the stars are far",
    "line": "one\r\ntwo\u2028three\u0085four\x00five",
    "large": "word " * 209_716,  # a megabyte
}
# What a terminal or page obeys, or shows as nothing.
COMMANDS = ("\x1b", "\x07", "\x08", "\x9b", "\x00", "\u202e", "\u2066", "\u2028")


@pytest.fixture(scope="module")
def hostile(
    notes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """JSON Lines of ordinary notes and hostile ones, and a scan of them."""
    folder = tmp_path_factory.mktemp("hostile")
    labels = sorted(set(notes["planted_label"]))
    texts = [*notes["text"], *HOSTILE.values()]
    given = [*notes["planted_label"], *(labels[0] for _ in HOSTILE)]
    lines = [
        json.dumps({"text": text, "label": label}, ensure_ascii=False)
        for text, label in zip(texts, given, strict=True)
    ]
    data = folder / "notes.jsonl"
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    spec = load(data, text_column="text", label_column="label")
    # all of them among the suspects, so that they are shown
    scan(spec, output=folder / "run", model="hashing", settings={"neighbours": 9})
    return data, folder / "run"


def harmless(shown: str) -> None:
    for command in COMMANDS:
        assert command not in shown, repr(command)


def test_a_terminal_obeys_no_text(hostile: tuple[Path, Path], call: Any) -> None:
    data, run = hostile
    told = ["--text-column", "text", "--label-column", "label", "--model", "hashing"]
    done = call("scan", data, *told, "--preflight")
    assert done.code == 0, done.err
    harmless(done.out + done.err)
    patched = ["--policy", "auto", "--min-confidence", "0", "--in-place"]
    done = call("apply", run, *patched)  # lists the changes, and makes none
    assert done.code == 0, done.err
    harmless(done.out + done.err)


def test_before_a_model_is_chosen_no_text_is_too_long_for_it(
    hostile: tuple[Path, Path], call: Any
) -> None:
    told = ["--text-column", "text", "--label-column", "label", "--preflight"]
    done = call("scan", hostile[0], *told)
    assert done.code == 0, done.err
    assert "than the model reads" not in done.out + done.err
    named = call("scan", hostile[0], *told, "--model", "hashing")
    assert "than the model reads (about 8,192)" in named.out + named.err


def test_a_report_runs_no_text(hostile: tuple[Path, Path]) -> None:
    html = (hostile[1] / "report.html").read_text(encoding="utf-8")
    harmless(html)
    assert "<script>alert(1)" not in html and "<img src=x" not in html
    # no text of a megabyte lies in it
    assert "word " * 20_000 not in html


def test_a_page_runs_no_text(hostile: tuple[Path, Path]) -> None:
    review = Review(Run(hostile[1]), background=False)
    site = TestClient(make_app(review, "t", Names()), base_url="http://127.0.0.1")
    page = site.get("/t/?show=all")
    assert page.status_code == 200
    harmless(page.text)
    assert "<script>alert(1)" not in page.text
    seen = ""
    for row in range(len(Run(hostile[1]).scores)):
        answer = site.get(f"/t/image?row={row}&size=full")
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert len(answer.content) < 1_000_000
        harmless(answer.text)
        seen += answer.text
    # why: words that stand in texts of another class
    assert "Words against the label: <b>" in page.text
    # letters stay: what is shown is what is there
    for letters in (
        "שלום עולם",
        "銀行が金利を上げた",
        "ने दर बढ़ाई",
        "🚀",
        "<script>alert(1)",
    ):
        assert letters in seen


def kinds_of_data(folder: Path, table: pa.Table) -> dict[str, Path]:
    """The same texts in every storage that holds some."""
    csv, tsv = folder / "a.csv", folder / "a.tsv"
    pacsv.write_csv(table, csv)
    # written by another program: its own line ends and quotes stay as they are
    rows = table.to_pylist()
    lines = ["label\ttext"]
    lines += [f"{row['label']}\t{' '.join(row['text'].split())}" for row in rows]
    tsv.write_bytes("\r\n".join(lines).encode() + b"\r\n")
    jsonl = folder / "a.jsonl"
    told = [
        f'{{"text" : {json.dumps(r["text"])},  "label":"{r["label"]}"}}' for r in rows
    ]
    jsonl.write_text("\n".join(told), encoding="utf-8")
    tables.write_parquet(table, folder / "a.parquet")
    files = folder / "texts"
    for number, row in enumerate(rows):
        path = files / row["label"] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["text"].encode() + b"\r\n\xa0" * (number % 2))
    shards = folder / "shards"
    shards.mkdir()
    for number, part in enumerate((told[:70], told[70:])):
        name = f"train-0000{number}-of-00002.jsonl"
        # the last line of one shard has an end, that of the other none
        end = "\n" * number
        (shards / name).write_text("\n".join(part) + end, encoding="utf-8")
    return {
        "csv": csv,
        "tsv": tsv,
        "jsonl": jsonl,
        "parquet": folder / "a.parquet",
        "folder": files,
        "shards": shards,
    }


def saved(folder: Path, rows: dict[str, list[str]]) -> Path:
    """The same texts as `datasets` saves them."""
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def content_of(path: Path) -> dict[str, bytes]:
    """Every file with its bytes, but for what corrections keep beside data."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    found = {}
    for file in sorted(path.rglob("*")):
        inner = file.relative_to(path)
        if file.is_file() and not inner.parts[0].startswith("."):
            found[str(inner)] = file.read_bytes()
    return found


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "jsonl", "parquet", "folder", "shards", "saved"]
)
def test_corrections_are_made_and_undone_to_the_byte(
    kind: str, notes: dict[str, Any], call: Any, tmp_path: Path
) -> None:
    rows = {"text": notes["text"], "label": notes["planted_label"]}
    if kind == "saved":
        data = saved(tmp_path, rows)
    else:
        data = kinds_of_data(tmp_path, pa.table(rows))[kind]
    before = content_of(data)
    columns = ["--text-column", "text", "--label-column", "label"]
    told = [] if kind == "folder" else columns
    run = tmp_path / "run"
    done = call("scan", data, *told, "--model", "hashing", "-o", run, "-q")
    assert done.code == 0, done.err
    wanted = ["--policy", "auto", "--min-confidence", "0", "--in-place"]
    done = call("apply", run, *wanted)
    assert done.code == 0 and content_of(data) == before, "listed alone"
    done = call("apply", run, *wanted, "--yes")
    assert done.code == 0, done.err
    after = content_of(data)
    assert after != before, "some labels are suspect, and were changed"
    if kind == "folder":
        # files move to the folder of their label, and their bytes stay
        assert sorted(after.values()) == sorted(before.values())
    done = call("apply", run, "--reverse", "--yes")
    assert done.code == 0, done.err
    assert content_of(data) == before


def texts_of(form: str, target: Path) -> list[str]:
    """All texts that an export holds."""
    if form == "textfolder":
        return [file.read_bytes().decode() for file in target.rglob("*.txt")]
    if form == "argilla":
        records = json.loads(target.read_text(encoding="utf-8"))
        return [record["fields"]["text"] for record in records]
    if form == "label-studio":
        (file,) = target.glob("*.json")
        tasks = json.loads(file.read_text(encoding="utf-8"))
        return [task["data"]["text"] for task in tasks]
    datasets = pytest.importorskip("datasets")
    opened = datasets.load_from_disk(str(target))
    parts = opened.values() if isinstance(opened, dict) else [opened]
    return [text for part in parts for text in part["text"]]


@pytest.mark.parametrize("form", ["textfolder", "label-studio", "argilla", "hf"])
def test_exports_hold_every_text_as_it_is(
    form: str, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / {"argilla": "out.json"}.get(form, "out")
    labelsieve.export(Run(hostile[1]), form, target)
    lines = hostile[0].read_bytes().decode().split("\n")[:-1]
    written = [json.loads(line)["text"] for line in lines]
    assert any("<script>" in text for text in written)
    assert sorted(texts_of(form, target)) == sorted(written)
