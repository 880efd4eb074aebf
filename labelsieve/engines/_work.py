"""What a worker does: one function per kind of job, of rows that it reads from the data itself.

A worker has nothing but the words of a job and the rows of a shard. It opens data and model once
and keeps them for the next shard of the same job.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load, save
from torch import Tensor

from labelsieve.data.dataset import Dataset
from labelsieve.data.decoding.depth import Range
from labelsieve.data.labels import SINGLE, Labels
from labelsieve.data.manifest import in_chunks
from labelsieve.data.modalities import Item, Items, reopen_items
from labelsieve.data.sources import Row, Source, open_source
from labelsieve.data.sources._groups import storage_order
from labelsieve.data.sources._stores import Missing
from labelsieve.data.spec import DataSpec
from labelsieve.engines import Outcome, Task
from labelsieve.errors import DataError, LabelsieveError
from labelsieve.features import quality
from labelsieve.features.cached import BATCH, ImageFeatures, from_words
from labelsieve.features.task import Task as ModelTask
from labelsieve.methods._dual_prompts import Detector
from labelsieve.methods._prompt_training import rebuilt
from labelsieve.models.device import choose_device
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import load_encoder
from labelsieve.tables import MANIFEST

ROWS = pa.schema(
    [
        ("number", pa.int64()),  # what the job calls the row
        ("uri", pa.string()),
        ("path", pa.string()),
        ("content_hash", pa.string()),
    ]
)
# What reading gives of each row.
READ = pa.schema(
    [
        ("number", pa.int64()),
        ("content_hash", pa.string()),
        ("reason", pa.string()),
        ("extent", pa.string()),
    ]
)
LOST = "every process that reads it is killed"  # reason of such a row


@dataclass(frozen=True, eq=False)
class Job:
    """A job as a worker has it.

    Attributes:
        kind: a name of `KINDS`.
        facts: of `labelsieve.data.batches.Job`.
    """

    kind: str
    facts: Mapping[str, Any]
    source: Source
    items: Items | None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def pack(
    kind: str,
    spec: DataSpec,
    preprocess: Any,
    whites: Mapping[str, int],
    facts: Mapping[str, Any],
    tensors: Mapping[str, Any],
) -> bytes:
    """What the tasks of a job have in common, for `prepare`: JSON and safetensors, no code.

    Args:
        preprocess: of the items; None where the work prepares none.
        whites: of deep pictures, where the data set has others than single pictures.
    """
    told = {name: value for name, value in vars(spec).items() if name not in GIVEN}
    told["class_names"] = dict(spec.class_names)
    words = {
        "kind": kind,
        "spec": told,
        "preprocess": None if preprocess is None else asdict(preprocess),
        "whites": dict(whites),
        "facts": dict(facts),
    }
    content = {
        n: torch.as_tensor(np.asarray(t)).contiguous() for n, t in tensors.items()
    }
    # the format has room for text beside the tensors, and wants at least one of these
    content["labelsieve"] = torch.zeros(1)
    return save(content, {"job": json.dumps(words)})


# Numbers of the user's own stay with the process that judges by them.
GIVEN = ("embeddings", "pred_probs", "rows_match")


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse of `pack`: words and tensors."""
    tensors = load(data)
    del tensors["labelsieve"]
    # eight bytes say how long the header is
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return json.loads(header["__metadata__"]["job"]), tensors


@lru_cache(maxsize=2)  # the job under way, and one whose last shards are still coming
def prepare(job: str, data: bytes) -> Job:
    """Open what a job needs; kept for its next shard.

    Args:
        job: names it; `data` is what `pack` gave.
    """
    words, tensors = unpack(data)
    spec = DataSpec(**words["spec"])
    source = open_source(spec)
    items = None
    if words["preprocess"] is not None:
        items = reopen_items(source, words["preprocess"])
        if words["whites"]:
            items = replace(items, range=_Known(words["whites"]))  # type: ignore[type-var]
    return Job(words["kind"], words["facts"], source, items, tensors)


class _Known(Range):
    """The ranges of a data set that others have looked at."""

    def __init__(self, whites: Mapping[str, int]) -> None:
        super().__init__()
        self._whites = whites

    def changed(self) -> Mapping[str, int]:
        """As `Range.changed`, of the whole data set."""
        return self._whites


def attempt(task: Task) -> Outcome:
    """Work on a task; whatever goes wrong is told, and nothing raised."""
    begun, used = time.perf_counter(), time.process_time()
    try:
        job = prepare(task.job, task.shared)
        rows = pa.ipc.open_stream(task.rows).read_all()
        rows.validate(full=True)
        result = KINDS[job.kind](job, rows)
    # a worker that ended with an error of any kind could tell nobody why
    except Exception as error:
        said = isinstance(error, LabelsieveError | OSError)
        reason = str(error) if said else f"{type(error).__name__}: {error}"
        spent = time.perf_counter() - begun
        return Outcome(task.name, "failed", reason=reason, seconds=spent)
    spent = time.perf_counter() - begun
    used = time.process_time() - used
    return Outcome(task.name, "done", result, seconds=spent, processor=used)


def _read(job: Job, rows: pa.Table) -> bytes:
    """Hash and decode; pixels stay in the cache of this machine."""
    # pixels too: whoever computes features here later finds them in this machine's cache
    items = _items(job)
    columns: dict[str, list[Any]] = {name: [] for name in READ.names}
    numbers = iter(rows["number"].to_pylist())
    for batch in in_chunks(_rows(job, rows), items.read):
        items.store(batch)
        for item in batch:
            extent = item.waits.to_json() if item.waits is not None else ""
            values = (next(numbers), item.content_hash, item.reason, extent)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return to_bytes(pa.table(columns, schema=READ))


def _features(job: Job, rows: pa.Table) -> bytes:
    """Features of whole batches, the same bits as in one process."""
    facts = job.facts
    encoder = _encoder(facts["model"], facts["device"], facts["dtype"])
    part = _dataset(job, rows)
    features = ImageFeatures(part, encoder)
    # other weights, or another kind of device, would give other bits without a word
    if features.weights != facts["weights"]:
        raise DataError(
            f"Model '{facts['model']}' has other weights, or another device, here.",
            "All workers need the same model files and the same kind of device.",
        )
    # whole batches of the grid of all rows, as in one process
    numbers = rows["number"].to_numpy()
    view = from_words(facts["view"])
    values = []
    for start in range(0, len(numbers), BATCH):
        values.append(features.embed(numbers[start : start + BATCH], view))
    return array_bytes(np.concatenate(values))


# A model is loaded once per process: minutes for large ones.
@lru_cache(maxsize=1)
def _encoder(model: str, device: str, dtype: str) -> DualEncoder:
    return load_encoder(
        model, device=choose_device(device), dtype=getattr(torch, dtype)
    )


def _logits(job: Job, rows: pa.Table) -> bytes:
    """Logits of trained prompts, [m, 2 k] float32."""
    facts = job.facts
    # by their places in the shard: nothing here depends on what the job calls the rows
    places = {place: place for place in range(len(rows))}
    part = replace(_dataset(job, rows), place=places, **_names(facts))
    detector = _detector(job)
    logits = detector.judge(part, None, facts["views"], facts["mirror"], BATCH)
    return array_bytes(np.concatenate(logits, axis=1))


@lru_cache(maxsize=1)
def _detector(job: Job) -> Detector:
    """The detector of a job, in a tower of its own: adapters change it."""
    facts = job.facts
    dtype = getattr(torch, facts["dtype"])
    device = choose_device(facts["device"])
    encoder = load_encoder(facts["model"], device=device, dtype=dtype)
    data = replace(_dataset(job, ROWS.empty_table()), **_names(facts))
    return rebuilt(ModelTask(data, encoder), facts["settings"], job.tensors)


def _names(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "coding": Labels(SINGLE, tuple(facts["classes"])),
        "names": tuple(facts["names"]),
        "template": facts["template"],
    }


def _looks(job: Job, rows: pa.Table) -> bytes:
    """Sizes, light, sharpness and thumbnails."""
    return array_bytes(quality.look_at(job.source, rows["uri"].to_pylist()))


KINDS: dict[str, Callable[[Job, pa.Table], bytes]] = {
    "read": _read,
    "features": _features,
    "logits": _logits,
    "looks": _looks,
}


def lost(kind: str, rows: pa.Table) -> bytes | None:
    """The result for one row [1] that kills whoever works on it; None where there can be none."""
    if kind == "read":
        values = [rows["number"].to_pylist(), [""], [LOST], [""]]
        return to_bytes(pa.table(values, schema=READ))
    if kind == "looks":
        return array_bytes(quality.nothing_seen()[None])
    return None


@dataclass(frozen=True, eq=False)
class _Part(Dataset):
    """A few rows of a data set, by the numbers that they have in the whole of it."""

    place: Mapping[int, int] = field(default_factory=dict)  # number -> row of `slots`

    def inputs(self, rows: np.ndarray) -> Tensor:
        """As `Dataset.inputs`."""
        here = np.array([self.place[row] for row in rows.tolist()], dtype=np.int64)
        return self.items.inputs(self.slots[here])


def _dataset(job: Job, rows: pa.Table) -> _Part:
    """The rows of a shard, read.

    Raises:
        DataError: one cannot be read any more, or its content has changed.
    """
    items = _items(job)
    read: list[Item] = []
    # a shard has its rows by content; in the order of the data they are read fast
    order = storage_order(rows["uri"])
    for batch in in_chunks(_rows(job, rows.take(pa.array(order))), items.read):
        slots = items.store(batch)
        known = [replace(i, slot=slots.get(i.content_hash, i.slot)) for i in batch]
        # deep pictures, in the light of what the whole data set told
        waiting = [item for item in known if item.waits is not None]
        settled = {i.row.key: i for i in items.settle(job.source, waiting)}
        read += [settled.get(item.row.key, item) for item in known]
    read = [read[place] for place in np.argsort(order)]
    _check_contents(read, rows)
    # should this machine's cache lose one before it is used
    slots_of = np.array([item.slot for item in read], dtype=np.int64)
    items.remember(job.source, _as_manifest(rows, slots_of))
    numbers = rows["number"].to_pylist()
    return _Part(
        ids=pa.array(rows["uri"].to_pylist(), pa.string()),
        labels=np.zeros(len(rows), dtype=np.int64),
        coding=Labels(SINGLE, ()),
        names=(),
        template="{}",
        items=items,
        slots=slots_of,
        fingerprint="",
        content="",
        place={number: place for place, number in enumerate(numbers)},
    )


def _check_contents(read: list[Item], rows: pa.Table) -> None:
    wanted = rows["content_hash"].to_pylist()
    for item, content, path in zip(read, wanted, rows["path"].to_pylist(), strict=True):
        if item.reason:
            raise DataError(f"'{path}' cannot be read any more: {item.reason}.")
        if item.content_hash != content:
            raise DataError(f"'{path}' changed while it was scanned.", "Scan again.")


def _as_manifest(rows: pa.Table, slots: np.ndarray) -> pa.Table:
    """Rows as `Items.remember` takes them."""
    columns = {name: pa.nulls(len(rows), kind) for name, kind in _kinds()}
    for name in ("uri", "path", "content_hash"):
        columns[name] = rows[name]
    columns["slot"] = pa.array(slots)
    return pa.table(columns, schema=MANIFEST)


def _kinds() -> list[tuple[str, pa.DataType]]:
    return [(column.name, column.type) for column in MANIFEST]


def _items(job: Job) -> Items:
    assert job.items is not None, "this kind of job prepares items"
    return job.items


def _rows(job: Job, rows: pa.Table) -> Iterator[Row]:
    """Rows as their source would give them, each known by its number."""
    for number, uri, path in zip(
        rows["number"].to_pylist(),
        rows["uri"].to_pylist(),
        rows["path"].to_pylist(),
        strict=True,
    ):
        yield Row(str(number), uri, path, None, image=_image(job.source, uri))


def _image(source: Source, uri: str) -> Any:
    """A row's image; what cannot be read has its reason in its place."""
    # what is far away is fetched later, in many threads
    read = getattr(source, "picture", source.read)
    try:
        return read(uri)
    except LabelsieveError as error:
        return Missing(error.what)


def to_bytes(table: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def array_bytes(values: np.ndarray) -> bytes:
    """An array as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
