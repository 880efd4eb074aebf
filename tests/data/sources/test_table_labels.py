"""Labels of tables: sets, votes of several people, and what is asked instead of guessed."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import labelsieve
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._labels import majority
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError


def csv(path: Path, *labels: str) -> Path:
    lines = [f'{n}.png,"{label}"' for n, label in enumerate(labels)]
    path.write_text("image,label\n" + "\n".join(lines) + "\n")
    return path


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_source(DataSpec(path, **options)).rows())


def labels(path: Path, **options: Any) -> list[str | None]:
    return [row.label for row in rows(path, **options)]


def test_answers_of_prodigy_that_were_rejected_are_no_labels(tmp_path: Path) -> None:
    folder = tmp_path / "it's $(touch x)"
    folder.mkdir()
    file = folder / "news.jsonl"
    answers = ["accept", "reject", "accept", "ignore"]
    lines = [
        {"text": f"text {n}", "label": "AB"[n % 2], "_task_hash": n, "answer": answer}
        for n, answer in enumerate(answers)
    ]
    # written by Prodigy without spaces, by others with them
    texts = [json.dumps(line, separators=(",", ":")) for line in lines[:2]]
    texts += [json.dumps(line) for line in lines[2:]]
    file.write_text("\n".join(texts) + "\n")
    with pytest.raises(DataError, match="2 of its 4 answers are not 'accept'") as said:
        rows(file)
    command = str(said.value).partition("Keep the others: ")[2].rstrip(".")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    accepted = folder / "news-accepted.jsonl"
    assert [row.label for row in rows(accepted)] == ["A", "A"]
    # a second time it writes over nothing
    with pytest.raises(DataError) as said:
        rows(file)
    assert not str(said.value).rstrip(".").endswith(f"{accepted}'")
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name]


@pytest.mark.parametrize("mark", ["|", ";"])
def test_a_text_that_may_be_a_set_is_asked_about(tmp_path: Path, mark: str) -> None:
    path = csv(tmp_path / "t.csv", "cat", f"dress{mark}hat", "hat")
    with pytest.raises(DataError) as caught:
        rows(path)
    assert str(caught.value) == (
        f"1 labels of '{path}' look like sets of labels, such as 'dress{mark}hat'. Give "
        f"--label-separator '{mark}' if they are, or --label-separator none if each is "
        "one label."
    )


def test_the_answer_is_followed(tmp_path: Path) -> None:
    path = csv(tmp_path / "t.csv", "cat", "hat | dress|", "hat", "", "dress|hat")
    source = open_source(DataSpec(path, label_separator="|"))
    assert source.labels_are == SET  # type: ignore[attr-defined]
    assert [r.label for r in source.rows()] == [
        # a CSV file cannot tell an empty set from a missing one: it is the set without a label
        *('["cat"]', '["dress", "hat"]', '["hat"]', "[]", '["dress", "hat"]'),
    ]
    source = open_source(DataSpec(path, label_separator="none"))
    assert source.labels_are == SINGLE  # type: ignore[attr-defined]
    assert [r.label for r in source.rows()][1] == "hat | dress|"


def test_names_with_commas_are_names_until_their_parts_stand_elsewhere(
    tmp_path: Path,
) -> None:
    names = ["tench, Tinca tinca", "goldfish, Carassius auratus", "|", "a|"]
    assert labels(csv(tmp_path / "t.csv", *names)) == names
    path = csv(tmp_path / "t.csv", "cat,dog", "cat", "dog,bird", "bird,cat")
    with pytest.raises(DataError, match=r"^3 labels of .*'bird,cat'\. Give .* ','"):
        rows(path)


def test_lists_are_sets(tmp_path: Path) -> None:
    records = [
        {"image": "0.png", "label": ["b", "a", "b"]},
        {"image": "1.png", "label": []},
        {"image": "2.png", "label": None},
    ]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    text = "".join(json.dumps(r) + "\n" for r in records)
    (tmp_path / "t.jsonl").write_text(text)
    for name in ("t.parquet", "t.jsonl"):
        source = open_source(DataSpec(tmp_path / name))
        assert source.labels_are == SET  # type: ignore[attr-defined]
        assert [r.label for r in source.rows()] == ['["a", "b"]', "[]", None]


def test_lists_of_class_numbers_have_names(tmp_path: Path) -> None:
    kind = datasets.Features(
        {
            "image": datasets.Value("string"),
            "label": datasets.Sequence(datasets.ClassLabel(names=["cat", "dog"])),
        }
    )
    made = datasets.Dataset.from_dict({"image": ["a"], "label": [[1, 0]]}, kind)
    made.to_parquet(tmp_path / "t.parquet")
    assert labels(tmp_path / "t.parquet") == ['["cat", "dog"]']


def test_sets_are_refused_by_methods_in_one_sentence(tmp_path: Path) -> None:
    path = csv(tmp_path / "t.csv", "a|b", "a", "b")
    with pytest.raises(OptionError, match=r"^The data have a set of labels per image"):
        labelsieve.scan(
            labelsieve.load(path, label_separator="|"),
            output=tmp_path / "run",
            method="deft",
        )


# --- votes


def test_the_majority_is_judged_and_a_tie_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "image,ann1,ann2,ann3,other\n"
        "0.png,cat,cat,dog,x\n1.png,cat,,dog,x\n2.png,,,,x\n3.png,dog,dog,dog,x\n"
    )
    source = open_source(DataSpec(tmp_path / "t.csv", vote_columns="ann*"))
    found = list(source.rows())
    assert [r.label for r in found] == ["cat", None, None, "dog"]
    assert [r.agreement for r in found] == [2 / 3, 0.5, None, 1.0]
    assert source.notes == [
        "the label is the majority of votes, and on average 72.2 % of them agree; "
        "1 image has no majority and no label"
    ]


@pytest.mark.parametrize("scale", [1, 0.1])
def test_counts_and_shares_give_the_class_with_most(
    tmp_path: Path, scale: float
) -> None:
    """As CIFAR-10H has them: a column per class."""
    counts = {"cat": [7, 5, 0], "dog": [3, 5, 0], "ship": [0, 0, 10]}
    table = {c: [scale * n for n in column] for c, column in counts.items()}
    table = {"image": ["a", "b", "c"], **table}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    source = open_source(
        DataSpec(tmp_path / "t.parquet", count_columns="cat, dog, ship")
    )
    found = list(source.rows())
    assert [r.label for r in found] == ["cat", None, "ship"]
    assert [r.agreement for r in found] == pytest.approx([0.7, 0.5, 1.0])
    assert source.classes == ["cat", "dog", "ship"]  # type: ignore[attr-defined]


def test_counts_near_the_end_of_floats() -> None:
    assert majority({"cat": 1.2e308, "dog": 6e307, "ship": 6e307}) == ("cat", 0.5)
    assert majority(dict.fromkeys("abc", 1e308)) == (None, 1 / 3)
    assert majority({"cat": 5e-324, "dog": 0.0}) == ("cat", 1.0)


def test_the_majority_of_random_votes_is_that_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        votes = dict(zip("abcde", rng.integers(0, 5, 5).tolist(), strict=True))
        label, share = majority(votes)
        best = [k for k in votes if votes[k] == max(votes.values())]
        assert label == (best[0] if len(best) == 1 and sum(votes.values()) else None)
        if share is not None:
            expected = max(votes.values()) / sum(votes.values())
            assert share == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"vote_columns": "a1"}, r"^--vote-columns names one column, 'a1'"),
        ({"vote_columns": "b*"}, r"^--vote-columns: Column 'b\*' is unknown"),
        (
            {"vote_columns": "a*", "label_column": "a1"},
            r"^--label-column and --vote-columns exclude each other",
        ),
        (
            {"count_columns": "a*"},
            r"^--count-columns: 'a1' holds 'cat', which counts nothing",
        ),
    ],
)
def test_votes_that_are_none_are_refused(
    tmp_path: Path, options: dict[str, str], fault: str
) -> None:
    (tmp_path / "t.csv").write_text("image,a1,a2\n0.png,cat,-1\n")
    with pytest.raises((DataError, OptionError), match=fault):
        rows(tmp_path / "t.csv", **options)


def test_agreement_is_a_column_of_the_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(12):
        buffer = io.BytesIO()
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        one, other = ("cat", "dog") if number % 2 else ("dog", "cat")
        records.append(
            {
                "image": buffer.getvalue(),
                "a1": one,
                "a2": one,
                "a3": other if number < 6 else one,
            }
        )
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    run = labelsieve.scan(
        labelsieve.load(tmp_path / "t.parquet", vote_columns="a?"),
        output=tmp_path / "run",
        method="zero-shot",
        model="tiny",
    )
    scores = pq.read_table(run.folder / "scores.parquet").to_pylist()
    assert len(scores) == 12
    number = {row["sample_id"].partition("#")[0]: n for n, row in enumerate(scores)}
    assert len(number) == 12
    assert sorted(row["agreement"] for row in scores) == [2 / 3] * 6 + [1.0] * 6
    text = (run.folder / "scores.csv").read_text().splitlines()
    assert text[0].endswith('"agreement"')
    assert run.scores["p_clean"].null_count == 0
