"""The tables that a scan leaves in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import tables
from labelsieve.data import preflight
from labelsieve.data.dataset import Prepared
from labelsieve.data.manifest import Manifest
from labelsieve.data.spec import DataSpec
from labelsieve.features.open_set import outsiders
from labelsieve.features.task import Task
from labelsieve.files import write_json
from labelsieve.methods import Evidence
from labelsieve.pipeline import results
from labelsieve.runs.items import _heat


def write_data(folder: Path, manifest: Manifest, spec: DataSpec) -> None:
    """What was read, and what is odd about it."""
    tables.write_parquet(manifest.table, folder / "manifest.parquet")
    if manifest.truth is not None:
        tables.write_parquet(manifest.truth, folder / "truth.parquet")
    findings = preflight.check(manifest, spec.class_names)
    write_json(folder / "preflight.json", findings.as_dict())
    # arrow would keep what tables were sorted in through the whole training
    pa.default_memory_pool().release_unused()


def write_results(
    folder: Path, prepared: Prepared, task: Task, evidence: Evidence
) -> None:
    """What a method found: the estimate, probabilities and scores."""
    if evidence.estimate is not None:
        write_json(folder / "noise.json", evidence.estimate.as_dict())
    else:
        # a posterior has taken the other classifiers into account
        others = {} if evidence.posterior else task.reference_votes()
        noise = results.estimate_noise(
            evidence, task.data, task.seed, others, task.agreement.renamed
        )
        write_json(folder / "noise.json", noise.as_dict())
        evidence = results.modest(evidence, task.data, noise)
    # of every method, to compare what it says of outsiders with
    columns = {**outsiders.columns(task), **evidence.columns}
    evidence = replace(evidence, columns=columns)
    # float32, and a file of its own: with many classes it is the largest of the run
    probs = results.probs_table(task.data, evidence)
    tables.write_parquet(probs, folder / "probs.parquet")
    if evidence.heat is not None:
        ids = task.data.ids.take(pa.array(evidence.heat.rows))
        _heat.write(folder, ids, evidence.heat.maps)
    scores = results.scores_table(prepared.manifest.table, task.data, evidence)
    if prepared.manifest.agreement is not None:
        scores = _with_agreement(scores, prepared.manifest.agreement)
    # for spreadsheets; the package itself reads Parquet
    tables.write_csv(scores, folder / "scores.csv")
    tables.write_parquet(scores, folder / "scores.parquet")


def _with_agreement(scores: pa.Table, agreement: pa.Table) -> pa.Table:
    """Scores with the share of annotators that gave each label, joined by id."""
    ids = agreement["sample_id"].combine_chunks()
    rows = pc.index_in(scores["sample_id"], ids)
    return scores.append_column("agreement", agreement["agreement"].take(rows))
