"""What items of a scan show besides their labels: near-duplicates, outliers, poor pictures.

It judges no label. It is written into the run beside the scores, for the queues of the review page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import tables
from labelsieve.data.batches import batches
from labelsieve.data.dataset import Dataset, Prepared
from labelsieve.data.sources import Source
from labelsieve.data.text import words
from labelsieve.features import quality
from labelsieve.features.copies import duplicates, texts
from labelsieve.features.neighbours import can_approximate, nearest
from labelsieve.runs.items import _words
from labelsieve.tables import DUPLICATES, FINDINGS, QUALITY, SCORED

NEIGHBOURS = 10  # others that an image is compared with
# Images up to which every pair is compared; beyond, outliers are measured against a sample.
EXACT = 100_000
SAMPLE = 20_000
MOST = 5_000  # texts whose words are weighed, the most suspicious ones
LOOKED_AT = 100_000  # texts that words are counted in, evenly spaced
BATCH = 1_024  # of them at a time
SAID = ["sample_id", "given_label", "suggested_label", "is_label_issue", "p_clean"]


def write(
    folder: Path, source: Source, prepared: Prepared, features: np.ndarray
) -> dict[str, Any]:
    """Write quality.parquet and duplicates.parquet of a run; of texts the second alone.

    Args:
        prepared: the data set.
        features: [n, d] of its scored images, in the order of the manifest.

    Returns:
        How many images have each finding, for run.json; empty where items are neither.
    """
    modality = getattr(source, "modality", "images")
    if modality not in ("images", "texts"):
        return {}
    manifest = prepared.manifest.table
    usable = manifest.filter(pc.is_in(manifest["status"], pa.array(SCORED)))
    if modality == "texts":
        return _of_texts(folder, usable, features, prepared.dataset)
    numbers, thumbs = quality.measure(
        source, usable["uri"], usable["content_hash"], usable["sample_id"]
    )
    # one search serves both: candidates for duplicates, and how alone each image is
    near, isolation = _neighbours(features)
    found = quality.findings(numbers, isolation)
    pairs = duplicates.find(thumbs, near, numbers[:, :2].min(1))
    table = _pairs_table(usable, pairs)
    tables.write_parquet(table, folder / "duplicates.parquet")
    tables.write_parquet(
        _quality_table(usable["sample_id"], numbers, isolation, found),
        folder / "quality.parquet",
    )
    counts = {name: int(rows.sum()) for name, rows in found.items()}
    return {**counts, **_counts(table), "crops_sought": bool(near.shape[1])}


def _of_texts(
    folder: Path, usable: pa.Table, features: np.ndarray, data: Dataset
) -> dict[str, Any]:
    near, _ = _neighbours(features)
    table = _pairs_table(usable, texts.find(data.inputs, near))
    tables.write_parquet(table, folder / "duplicates.parquet")
    scores = tables.read_parquet(folder / "scores.parquet")
    _words.write(folder, _spoken(scores, data))
    return _counts(table)


def _spoken(scores: pa.Table, data: Dataset) -> dict[str, words.Spoken]:
    """What words say of the most suspicious texts, by sample id."""
    about = scores.filter(pc.is_valid(scores["p_clean"])).select(SAID)
    row_of = {i: row for row, i in enumerate(data.ids.to_pylist())}
    first = about.filter(about["is_label_issue"]).slice(0, MOST).to_pylist()
    texts_of = data.inputs(np.array([row_of[s["sample_id"]] for s in first], np.int64))
    counts = words.Counts({w for text in texts_of for w in words.words_of(text)})
    # under the suggested class: wrong labels say little of words
    believed = {}
    for said in about.to_pylist():
        believed[row_of[said["sample_id"]]] = (
            said["suggested_label"] or said["given_label"]
        )
    step = max(1, -(-len(data) // LOOKED_AT))
    for rows in batches(np.arange(0, len(data), step), BATCH, None):
        for row, text in zip(rows.tolist(), data.inputs(rows), strict=True):
            if row in believed:
                counts.add(text, believed[row])
    spoken = {}
    for said, text in zip(first, texts_of, strict=True):
        given, other = said["given_label"], said["suggested_label"]
        if other is not None and other != given:
            # one that was not looked at was counted nowhere
            own = other if row_of[said["sample_id"]] % step == 0 else ""
            spoken[said["sample_id"]] = counts.speak(text, given, other, own)
    return spoken


def _counts(pairs: pa.Table) -> dict[str, int]:
    rivals = pairs.filter(pairs["other_label"])
    both = pa.concat_tables(
        [rivals.select([name]).rename_columns(["id"]) for name in DUPLICATES.names[:2]]
    )
    return {"duplicate_pairs": len(pairs), "rivals": len(pc.unique(both["id"]))}


def _neighbours(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the nearest others [n, m], and 1 - their mean cosine [n].

    With more than `EXACT` images m is 0, and cosines are those to a sample of all.
    """
    n = len(features)
    # with faiss also more, approximately
    if n <= EXACT or can_approximate():
        rows, cosines = nearest(features, NEIGHBOURS)
        return rows, 1 - cosines.mean(1)
    # rows are in the order of contents' hashes, so evenly spaced ones are a fair sample
    sample = np.asarray(features[:: n // SAMPLE], dtype=np.float32)
    isolation = np.empty(n, dtype=np.float32)
    for start in range(0, n, 1024):  # 1,024 x 20,000 cosines are 82 MB
        part = np.asarray(features[start : start + 1024], dtype=np.float32) @ sample.T
        # one more than wanted: an image of the sample meets itself, with a cosine of 1
        top = -np.partition(-part, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
        top.sort(axis=1)
        isolation[start : start + 1024] = 1 - top[:, :NEIGHBOURS].mean(1)
    return np.empty((n, 0), dtype=np.int64), isolation


def _quality_table(
    ids: pa.ChunkedArray,
    numbers: np.ndarray,
    isolation: np.ndarray,
    found: dict[str, np.ndarray],
) -> pa.Table:
    columns: dict[str, Any] = {"sample_id": ids}
    for name, values in zip(quality.MEASURES, numbers.T, strict=True):
        # what could not be read has no number
        columns[name] = pa.array(values, pa.float32(), from_pandas=True)
    columns["isolation"] = pa.array(isolation, pa.float32(), from_pandas=True)
    for name in FINDINGS:
        columns[name] = pa.array(found[name])
    return pa.table(columns, schema=QUALITY)


def _pairs_table(usable: pa.Table, pairs: duplicates.Pairs) -> pa.Table:
    first, second = pa.array(pairs.first), pa.array(pairs.second)
    labels = usable["given_label"]
    kinds = pa.DictionaryArray.from_arrays(
        pa.array(pairs.kind, pa.int32()), pa.array(duplicates.KINDS)
    )
    groups = duplicates.groups(pairs.first, pairs.second, len(usable))
    columns = {
        "sample_id": usable["sample_id"].take(first),
        "other_id": usable["sample_id"].take(second),
        "kind": kinds.cast(pa.string()),
        "similarity": pa.array(pairs.similarity, pa.float32()),
        "group": pa.array(groups),
        "other_label": pc.not_equal(labels.take(first), labels.take(second)),
    }
    table = pa.table(columns, schema=DUPLICATES)
    return table.sort_by([("other_label", "descending"), ("similarity", "descending")])
