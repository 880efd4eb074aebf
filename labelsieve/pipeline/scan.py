"""`labelsieve scan`: the order of its stages, each of which is somebody else's work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypedDict, Unpack

from labelsieve import registry
from labelsieve.data import preflight
from labelsieve.data.dataset import Prepared, from_manifest, prepare
from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.load import joined, load
from labelsieve.data.manifest import read
from labelsieve.data.modalities import open_items, reopen_items, template_for
from labelsieve.data.sources import Source, open_source
from labelsieve.data.sources._history import how_to_go_on
from labelsieve.data.sources._remote import remember
from labelsieve.data.spec import DataSpec
from labelsieve.data.text.reading import TextPreprocess
from labelsieve.errors import LabelsieveError, RunError
from labelsieve.features.task import Task
from labelsieve.files import fingerprint, remove, replacing, write_json
from labelsieve.methods import Evidence
from labelsieve.models import identity
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import DEMO, load_encoder, preprocess_of
from labelsieve.pipeline import (
    _output,
    caveats,
    changes,
    choice,
    findings,
    own,
    results,
)
from labelsieve.pipeline.sets import results as sets
from labelsieve.report import page as report
from labelsieve.runs import pictures
from labelsieve.runs.folder import FINISHED, WorkFolder
from labelsieve.runs.run import Run, run_folder
from labelsieve.settings import (
    AtLeast,
    Below,
    BoundedOptions,
    as_dict,
    override,
    resolve,
)
from labelsieve.training.checkpoint import save_tensors

# What of a data set's description decides the result, besides the data and the class names.
DESCRIBING = (
    "image_column",
    "label_column",
    "truth_column",
    "id_column",
    "root",
    "split",
    "template",
)
# Likewise, but only where they are given: runs made before there were these stay the same.
DESCRIBING_IF_GIVEN = (
    *("text_column", "label_separator", "vote_columns", "count_columns", "items"),
    *("urls", "side_text_column"),
)


class Choices(TypedDict, total=False):
    """Fields of `ScanOptions` as keywords, for editors and type checkers."""

    method: str
    model: str
    preset: str
    settings: Mapping[str, Any] | None
    seed: int
    device: str
    precision: str


@dataclass(frozen=True)
class ScanOptions(BoundedOptions):
    """Everything about a scan that is not the data.

    Attributes:
        method: name of a file in `labelsieve.methods`; "default" is `choice.METHODS`, by the kind
            of the labels: "deft", or of sets "tai-adapter".
        model: "tiny" (inside the package), a Hugging Face directory or a hub id; "auto" takes
            "tiny" for pictures up to 64 pixels and CLIP ViT-B/16 for larger ones.
        preset: of the method: "default", "fast" and others; "auto" is "default", but "fast"
            where that would take a processor hours.
        settings: fields of the method's `Settings`; they outweigh the preset.
        seed: of everything random.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto", "float32", "float16" or "bfloat16".

    Raises:
        OptionError: a value outside its bounds.
    """

    method: str = choice.DEFAULT
    model: str = "auto"
    preset: str = "auto"
    settings: Mapping[str, Any] | None = None
    # torch takes seeds of 63 bits
    seed: Annotated[int, AtLeast(0), Below(2**63)] = 0
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class _Plan:
    """A scan whose options make sense; nothing of it was written yet."""

    spec: DataSpec
    source: Source
    options: ScanOptions
    method: ModuleType
    settings: Any  # the method's own
    command: dict[str, Any]  # what decides the result
    why: dict[str, str]  # what was chosen for the user, and why


def scan(
    data: Any = None,
    *,
    labels: Any = None,
    texts: Any = None,
    output: str | Path = "labelsieve-run",
    force: bool = False,
    options: ScanOptions | None = None,
    **choices: Unpack[Choices],
) -> Run:
    """Find wrong labels: read the data, run a method, estimate the noise, write scores and report.

    Interrupted at any time, the same call continues and ends with the same scores. Nothing is
    written before options, model and data were found usable, so a mistake leaves the folder as
    it was.

    Args:
        data: what `load` takes, or gives.
        labels: of pictures that `data` gives alone: a label for each, or for each a set of labels.
        texts: strings, in the place of `data`, with a label for each.
        output: the run folder.
        force: replace another run in that folder.
        options: or its fields as keywords, see `ScanOptions`.

    Raises:
        LabelsieveError: what is wrong with data, model or options, and what to do.
        RunError: the folder holds a run of another command, or of the same command on data that
            have changed since.
    """
    choice.refuse_misplaced(choices, ScanOptions.__dataclass_fields__)
    data = joined(data, labels, texts)
    # all that can be wrong without a model is found before anything is loaded
    plan = _plan(load(data), override(options or ScanOptions(), choices, "method"))
    folder = run_folder(output)
    if folder.find(plan.command, force=force) == FINISHED:
        # also what nothing opens now: the next command would fail on it
        folder.verify()
        return _with_data(_finished(Run(output), plan), plan.spec)
    # loading comes before reading: the model says how pictures are prepared
    clock = _Clock()
    device = choose_device(plan.options.device)
    dtype = choose_precision(plan.options.precision, device)
    encoder = load_encoder(plan.options.model, device=device, dtype=dtype)
    clock.lap("load model")
    judged = plan.method.JUDGES
    prepared = prepare(plan.spec, encoder.preprocess, source=plan.source, kinds=judged)
    clock.lap("read images")
    # from here on the folder is written to; a second process waits
    with folder.locked():
        if folder.begin(plan.command, force=force) == FINISHED:
            # another process did the same work meanwhile
            return Run(output)
        _carry_out(plan, prepared, encoder, folder, clock)
        # opened again: the record was written since
        return _with_data(Run(output), plan.spec)


def _carry_out(
    plan: _Plan,
    prepared: Prepared,
    encoder: DualEncoder,
    folder: WorkFolder,
    clock: _Clock,
) -> None:
    """All stages that write into the folder, in order."""
    _output.write_data(folder.path, prepared.manifest, plan.spec)
    task = _task(plan, prepared, encoder, folder.path)
    evidence = _detect(plan, task, folder)
    clock.lap("detect")
    facts = {**_facts(prepared, task, evidence), "chosen": plan.why}
    facts["method_facts"] = {**facts["method_facts"], **own.facts(plan.spec)}
    _output.write_results(folder.path, prepared, task, evidence)
    _write_detector(folder.path / "detector", plan, task, evidence)
    clock.lap("estimate and write")
    shown = findings.write(folder.path, plan.source, prepared, task.image_features())
    clock.lap("look at pictures")
    # sets are judged class by class, and names compared with labels class by class
    agreement = None
    if task.data.coding.kind == SINGLE:
        agreement = task.agreement
    else:
        # what the tables mean, before they are read back
        folder.note({"labels": SET})
    run = Run(folder.path)
    summary = results.summarise(run, facts, agreement)
    summary["findings"] = shown
    # with own embeddings no model has judged anything
    judge = "" if plan.spec.embeddings is not None else plan.options.model
    reads = "text" in plan.method.NEEDS
    names = summary["text_warnings"] if reads else None
    summary["caveats"] = caveats.of_run(run, judge, shown, names, summary)
    folder.note({**summary, "seconds": clock.laps})
    _write_report(Run(folder.path), plan.spec)
    clock.lap("report")
    folder.finish({"seconds": clock.laps})


def _task(plan: _Plan, prepared: Prepared, encoder: DualEncoder, folder: Path) -> Task:
    """What a method works on; how long it will take is said."""
    # a checkpoint belongs to the command and to what the data and the model's files held
    model = identity.fingerprint(encoder)
    key = fingerprint([plan.command, prepared.dataset.fingerprint, model])
    task = Task(prepared.dataset, encoder, plan.options.seed, folder, fingerprint=key)
    task = own.task_for(plan.spec, plan.source, task)
    passes = choice.passes_of(plan.method, plan.settings)
    if not own.digests(plan.spec):
        data, model = task.data, plan.options.model
        choice.tell_cost(encoder, len(data), model, passes, data.noun)
    return task


def _with_data(run: Run, spec: DataSpec) -> Run:
    """A run that still has its pictures, where they are objects of this process."""
    if spec.path() is None:
        run.in_memory = pictures.Images(spec, run.manifest)
    return run


def look(data: Any, *, model: str = "auto") -> preflight.Preflight:
    """The preflight alone: what is wrong with the data.

    No model is loaded, only its preprocessing is looked up. Images are decoded (and cached),
    nothing is written elsewhere.
    """
    spec = load(data)
    source = open_source(spec)
    # any model's preparation will do to see whether pictures can be read
    name = DEMO if model == choice.AUTO else model
    wanted: Any = preprocess_of(name)
    if model == choice.AUTO and getattr(source, "modality", "images") == "texts":
        # no model is chosen yet, so none of them is too long for it
        wanted = TextPreprocess(1 << 62, 1)
    items = open_items(source, wanted)
    manifest = read(source, items)
    # numbers of the user's own are refused as the scan would
    if own.digests(spec):
        own.numbers(spec, source, from_manifest(manifest, spec, items))
    return preflight.check(manifest, spec.class_names)


def _plan(spec: DataSpec, options: ScanOptions) -> _Plan:
    remember(spec)
    source = open_source(spec)
    spec = replace(spec, template=template_for(source, spec.template))
    options = choice.with_method(source, options)
    method = registry.load("methods", options.method)
    choice.refuse_side_texts(spec.side_text_column, options.method, method)
    options = own.settle(spec, method, options)
    options, why = choice.settle(source, method, options)
    if options.preset not in method.PRESETS:
        raise choice.no_preset(options.preset, options.method, method.PRESETS)
    preset = method.PRESETS[options.preset]
    settings = resolve(method.Settings, preset, options.settings or {})
    command = _command(spec, options, settings)
    return _Plan(spec, source, options, method, settings, command, why)


def _command(spec: DataSpec, options: ScanOptions, settings: Any) -> dict[str, Any]:
    """What decides a scan's result; the run folder belongs to exactly this."""
    if spec.path() is not None:
        data = str(spec.data)
    else:
        # data in memory have no name; what they hold is checked when they were read
        data = f"{type(spec.data).__module__}.{type(spec.data).__qualname__}"
    command = {"data": data, "class_names": dict(spec.class_names)}
    for name in DESCRIBING:
        command[name] = getattr(spec, name)
    for name in DESCRIBING_IF_GIVEN:
        if getattr(spec, name) is not None:
            command[name] = getattr(spec, name)
    command.update(own.digests(spec))
    for name in ScanOptions.__dataclass_fields__:
        command[name] = getattr(options, name)
    # resolved: a default that changes with a version is another command
    return {**command, "settings": as_dict(settings)}


def _detect(plan: _Plan, task: Task, folder: WorkFolder) -> Evidence:
    try:
        evidence: Evidence = plan.method.detect(task, plan.settings)
    except LabelsieveError:
        # a setting that the method could only refuse with the data at hand
        folder.abandon()
        raise
    return evidence


def _facts(prepared: Prepared, task: Task, evidence: Evidence) -> dict[str, Any]:
    """What the numbers depend on, for run.json."""
    encoder = task.encoder
    more: dict[str, Any] = {}
    if task.data.coding.kind == SET:
        more = {"labels": SET, "set_flags": sets.counts(task.data, evidence)}
    return {
        **more,
        "device": str(encoder.device),
        # "torch.bfloat16" is what torch prints
        "precision": str(encoder.dtype).removeprefix("torch."),
        "preprocess": asdict(encoder.preprocess),
        **identity.for_record(encoder.name, encoder.origin),
        "data_fingerprint": task.data.fingerprint,
        "classes": list(prepared.manifest.classes),
        "noun": task.data.noun,
        # what the report and the review compare pictures with
        "features": str(task.features.file()),
        "method_facts": evidence.facts,
    }


def _write_detector(folder: Path, plan: _Plan, task: Task, evidence: Evidence) -> None:
    """What the method learned, for `labelsieve score`."""
    # of a scan that was interrupted
    remove(folder)
    if evidence.learned is None:
        return
    tensors = {}
    for name, tensor in evidence.learned.items():
        # clones: the file format refuses tensors that share memory
        tensors[name] = tensor.detach().cpu().contiguous().clone()
    config = {
        "method": plan.options.method,
        "model": plan.options.model,
        "settings": as_dict(plan.settings),
        "classes": list(task.data.classes),
        "names": list(task.data.names),
        "template": task.data.template,
    }
    # both files at once, or neither: weights without their settings are of no use
    with replacing(folder) as scratch:
        scratch.mkdir(0o700)
        save_tensors(tensors, scratch / "detector.safetensors")
        write_json(scratch / "config.json", config)


def _write_report(run: Run, spec: DataSpec) -> None:
    report.write(run, pictures.Images(spec, run.manifest))


def _finished(earlier: Run, plan: _Plan) -> Run:
    """A finished run answers for the data it read and the model that judged them.

    Files that did not change are not opened for this.

    Raises:
        RunError: the data have changed, or files of the model.
    """
    changes.refuse_other_model(earlier.folder, plan.options.model, earlier.record)
    items = reopen_items(plan.source, earlier.record["preprocess"])
    now = read(plan.source, items, want_truth=plan.spec.truth_column is not None)
    before = earlier.manifest, earlier.truth()
    changed = changes.between(before, (now.table, now.truth))
    if changed:
        raise RunError(
            f"The data have changed since '{earlier.folder}' was made: {changed}.",
            how_to_go_on(plan.spec.path(), earlier.folder)
            or "Choose another folder with -o, or replace the run with --force.",
        )
    return earlier


class _Clock:
    """Seconds that each stage took."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        # hundredths: what a person compares, and no more digits that change every time
        self.laps[name] = round(now - self._last, 2)
        self._last = now
