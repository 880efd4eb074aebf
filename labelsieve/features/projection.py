"""A map: every picture as a point, those that look alike beside each other.

t-SNE (van der Maaten and Hinton, JMLR 9, 2008), as openTSNE computes it for up to a million
pictures (Linderman et al., Nature Methods 16, 2019), started from the two main directions and with
a fixed seed, so that the same features give the same map (Kobak and Berens, Nature Communications
10, 2019, say why that start). Without the extra `map`, scikit-learn's t-SNE for a few thousand
pictures and the two main directions (PCA) for more.

A map is computed once and kept as `map.parquet` of the run: sample_id, x and y from 0 to 1, and
the method in the file's metadata.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.errors import RunError
from labelsieve.progress import note
from labelsieve.runs.reading.features import cached_features
from labelsieve.runs.run import Run
from labelsieve.tables import read_parquet, write_parquet

NAME = "map.parquet"
SCHEMA = pa.schema(
    [("sample_id", pa.string()), ("x", pa.float32()), ("y", pa.float32())]
)
DIMENSIONS = 50  # that neighbours are looked for in, as t-SNE's authors do
FEW = 5_000  # pictures that scikit-learn's t-SNE arranges within a minute
PERPLEXITY = 30  # neighbours that count, the usual choice
SAMPLE = 50_000  # rows that the main directions are found on
BLOCK = 65_536  # rows brought to float32 at once
# share of the points on each side that may lie outside of what is stretched over the map: a few
# far away ones would squeeze all others into its middle
TAIL = 0.0005


@dataclass(frozen=True, eq=False)
class Projection:
    """Places of pictures on a map.

    Attributes:
        ids: [n] sample ids.
        xy: [n, 2] float32 from 0 to 1.
        method: "t-SNE" or "PCA".
    """

    ids: pa.Array
    xy: np.ndarray
    method: str


def of_run(opened: Run) -> Projection | None:
    """The map of a run, computed and kept where there is none; None without features."""
    kept = read(opened)
    if kept is not None:
        return kept
    cached = cached_features(opened)
    if cached is None or len(cached[0]) == 0:
        return None
    ids, features = cached
    xy, method = arrange(features)
    made = Projection(pa.array(ids, pa.string()), xy, method)
    _write(made, opened)
    return made


def read(opened: Run) -> Projection | None:
    """The map that is kept with a run; None where there is none, or one of other pictures."""
    path = opened.folder / NAME
    if not path.is_file():
        return None
    try:
        table = read_parquet(path, SCHEMA)
    except RunError:
        # it is nobody's work: what is damaged is computed again
        return None
    xy = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    # another program may have written anything; a place outside of the map is no place
    known = pc.all(pc.is_in(table["sample_id"], opened.manifest["sample_id"])).as_py()
    if not (known and ((xy >= 0) & (xy <= 1)).all()):
        return None
    said = table.schema.metadata or {}
    # features of another model, which the same images were scanned with before
    if said.get(b"features") != _name(opened):
        return None
    method = said.get(b"method", b"").decode("utf-8", "replace")
    return Projection(table["sample_id"].combine_chunks(), xy, method)


def _name(opened: Run) -> bytes:
    """Which features a map was made of: the name of their file stands for all they depend on."""
    return PurePath(str(opened.record.get("features"))).name.encode("utf-8", "replace")


def _write(made: Projection, opened: Run) -> None:
    columns = [made.ids, pa.array(made.xy[:, 0]), pa.array(made.xy[:, 1])]
    schema = SCHEMA.with_metadata({"method": made.method, "features": _name(opened)})
    try:
        write_parquet(pa.table(columns, schema=schema), opened.folder / NAME)
    except OSError as error:
        # a run on a disk that cannot be written is looked at all the same
        note(f"The map is not kept: '{error.filename}': {error.strerror}.")


def arrange(features: np.ndarray) -> tuple[np.ndarray, str]:
    """Places [n, 2] float32 from 0 to 1 for features [n, d], and the method in a word."""
    main = principal(features, min(DIMENSIONS, *features.shape))
    # two columns, also where all features are one number
    start = np.zeros((len(main), 2))
    start[:, : min(2, main.shape[1])] = main[:, :2]
    # neighbours need company, and points that are all one have no order
    if len(main) <= 3 * PERPLEXITY or start[:, 0].std() < 1e-9:
        return spread(start), "PCA"
    # t-SNE begins in a tiny heap, whose shape decides where groups end
    tiny = 1e-4 * start / start[:, 0].std()
    if importlib.util.find_spec("openTSNE") is not None:
        return spread(_open_tsne(main, tiny)), "t-SNE"
    if len(main) <= FEW:
        return spread(_tsne(main, tiny)), "t-SNE"
    note("The map shows two main directions; pip install 'labelsieve[map]' for t-SNE.")
    return spread(start), "PCA"


def _open_tsne(main: np.ndarray, start: np.ndarray) -> np.ndarray:
    from openTSNE import TSNE

    # one thread: sums of several would differ in their last bits from call to call
    tsne = TSNE(perplexity=PERPLEXITY, initialization=start, random_state=0, n_jobs=1)
    return np.asarray(tsne.fit(main))


def _tsne(main: np.ndarray, start: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE

    tsne = TSNE(perplexity=PERPLEXITY, init=start.astype(np.float32), random_state=0)
    return np.asarray(tsne.fit_transform(main))


def principal(features: np.ndarray, count: int) -> np.ndarray:
    """[n, count] float32: features along the directions of largest variance, centred."""
    step = max(1, len(features) // SAMPLE)
    sample = np.asarray(features[::step], dtype=np.float64)
    mean = sample.mean(0)
    sample -= mean
    _, directions = np.linalg.eigh(sample.T @ sample)
    directions = directions[:, ::-1][:, :count]
    # a direction has no sign of its own: its largest entry is made positive
    largest = np.abs(directions).argmax(0)
    directions = directions * np.sign(directions[largest, np.arange(count)])
    result = np.empty((len(features), count), dtype=np.float32)
    for begin in range(0, len(features), BLOCK):
        part = np.asarray(features[begin : begin + BLOCK], dtype=np.float64)
        result[begin : begin + BLOCK] = (part - mean) @ directions
    return result


def spread(xy: np.ndarray) -> np.ndarray:
    """Places stretched over the map, from 0 to 1 in both directions."""
    low, high = np.quantile(xy, [TAIL, 1 - TAIL], axis=0)
    # one scale for both: distances stay what they are
    width = max(float((high - low).max()), 1e-12)
    middle = (low + high) / 2
    # a margin, so that no point lies on the edge
    placed = 0.5 + 0.94 * (xy - middle) / width
    return np.asarray(np.clip(placed, 0, 1), dtype=np.float32)
