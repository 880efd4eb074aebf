"""Label Studio's JSON and JSON-MIN: what people answered, as labels of pictures or of boxes.

Where several people answered, the majority is judged. Tasks that labelsieve exported are known by
the ids of the run they come from, and keep the label they had where nobody answered. Local files
lie below --root: the folder that LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT names.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from labelsieve.data.labels import read_set, write_set
from labelsieve.data.sources import refuse_options
from labelsieve.data.sources._annotations import (
    AnnotationSource,
    Box,
    Picture,
    Shape,
    items_of,
    list_of,
    shown,
)
from labelsieve.data.sources._columns import IMAGE_NAMES, LABEL_NAMES
from labelsieve.data.sources._formats import named
from labelsieve.data.sources._guess import json_kind
from labelsieve.data.sources._labels import majority
from labelsieve.data.sources._stores import (
    LOOKED_FOR,
    FolderStore,
    is_there,
    open_store,
    where_pictures_are,
)
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable
from labelsieve.progress import plain

NO_COLUMNS = (
    *("truth_column", "id_column", "split"),
    *("vote_columns", "count_columns", "label_separator"),
)
KIND = "Label Studio"
LOCAL = "/data/local-files/"
UPLOADED = "/data/upload/"
# What Label Studio puts before the name of a file that was uploaded.
UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and json_kind(path) == "label-studio"


def open_source(spec: DataSpec) -> LabelStudioSource:
    """Open it; raises DataError with what to do."""
    refuse_options(spec, NO_COLUMNS, "answers of Label Studio say what is what")
    path = Path(spec.data)
    # all at once: answers of one task may stand far apart in the short form
    tasks = list(Tasks(path, spec.image_column, spec.label_column).tasks())
    names = (task.name for task in tasks)
    root, homes = where_pictures_are(spec.root, path.parent, names)
    store = open_store(root, *homes)
    if isinstance(store, FolderStore):
        _check_there(path, root, tasks, bool(spec.root))
    labels = {s for t in tasks for s in _labels_of(t)}
    return LabelStudioSource(
        path,
        store,
        lambda notes: iter(tasks),
        sorted(labels),
        items_of(spec),
        labelled=spec.labelled,
        urls=spec.urls or "",
    )


class LabelStudioSource(AnnotationSource):
    """Rows of an export of Label Studio."""


def _labels_of(picture: Picture) -> list[str]:
    own = [shape.label for shape in picture.shapes if shape.label is not None]
    return [*picture.labels, *own]


# A result, and where it stands: the number of its annotation in the task, and its own in that.
Answer = tuple[tuple[int, int], dict[str, Any]]


@dataclass(frozen=True)
class Tasks:
    """The tasks of a file.

    Attributes:
        image, label: the key of the data with the picture, and the name of the control that
            labels it; None for the usual ones.
    """

    path: Path
    image: str | None = None
    label: str | None = None

    def tasks(self) -> Iterator[Picture]:
        """A picture with its labels per task.

        Raises:
            DataError: it is no export, or a task has no picture.
        """
        number: Any = 0
        # a lambda, as the task is known only when something fails
        with named(self.path, lambda: f"The fault is in task {number}.", KIND):
            for place, task in enumerate(self.entries()):
                number = shown(task.get("id", place))
                picture = self._picture(place, task)
                _check_text(picture)
                yield picture

    def entries(self) -> list[dict[str, Any]]:
        """Tasks in the long form; raises DataError where the file has none."""
        try:
            content = json.loads(self.path.read_bytes())
        except (ValueError, OSError, RecursionError) as error:
            raise self._fault(plain(str(error).splitlines()[0])) from error
        if isinstance(content, dict):
            content = [self._own(content)]
        if not isinstance(content, list) or not all(
            isinstance(task, dict) for task in content
        ):
            raise self._fault("it is no list of tasks")
        # the long form says "data"; the short one has the data beside the answer
        if all("data" in task for task in content):
            return content
        return self._long(content)

    def _own(self, content: dict[str, Any]) -> dict[str, Any]:
        """The one task of a file: itself, or an answer that has its task in it."""
        task = content.get("task")
        if "data" not in content and isinstance(task, dict):
            # as a storage gets them that Label Studio is synchronised with
            return {**task, "annotations": [content]}
        if "data" not in content:
            raise self._fault("it is no task")
        return content

    def _long(self, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """JSON-MIN has an entry per answer; those of one task belong together."""
        tasks: dict[Any, dict[str, Any]] = {}
        for entry in content:
            task = tasks.setdefault(
                str(entry.get("id")), {"id": entry.get("id"), "data": {}}
            )
            task["data"].update({k: v for k, v in entry.items() if isinstance(v, str)})
            # the first of the usual names that is there
            names = [self.label] if self.label else [*LABEL_NAMES, "choice", "choices"]
            answers = [entry[name] for name in names if name in entry][:1]
            results = [r for answer in answers for r in _results(answer)]
            task.setdefault("annotations", []).append({"result": results})
        return list(tasks.values())

    def _picture(self, number: int, task: dict[str, Any]) -> Picture:
        data = task.get("data")
        url = _url(data, self.image) if isinstance(data, dict) else None
        if not isinstance(data, dict) or url is None:
            raise self._fault(f"task {task.get('id', number)} has no picture")
        picture = Picture(file_of(url), key=_key(task, data), place=number)
        votes: dict[str, float] = defaultdict(float)
        for annotation in self.answers(task):
            choices = []
            for place, result in annotation:
                choices += _choices(result)
                picture.shapes += _boxes(result, (number, *place))
            # an answer of boxes alone says nothing of the whole picture
            if choices:
                votes[write_set(choices)] += 1
        chosen, share = majority(votes)
        # a whole answer is voted on, also where it has several choices
        if chosen is not None:
            picture.labels = read_set(chosen)
        elif not votes and _is_ours(data) and isinstance(data.get("label"), str):
            picture.labels = [data["label"]]
        # of one answer there is nothing to agree with
        picture.agreement = share if sum(votes.values()) > 1 else None
        return picture

    def answers(self, task: dict[str, Any]) -> Iterator[list[Answer]]:
        """Results of each annotation that was not cancelled, with their two numbers."""
        for number, annotation in enumerate(list_of(task, "annotations")):
            if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
                continue
            found: list[Answer] = []
            for second, result in enumerate(list_of(annotation, "result")):
                named = isinstance(result, dict) and result.get("from_name")
                if isinstance(result, dict) and self.label in (None, named):
                    found.append(((number, second), result))
            yield found

    def _fault(self, fault: str) -> DataError:
        return DataError(
            f"'{readable(self.path)}' cannot be read as Label Studio: {fault}.",
            "Export it again as JSON.",
        )


def _results(answer: Any) -> Iterator[dict[str, Any]]:
    """An answer of JSON-MIN in the long form."""
    if isinstance(answer, str):
        yield {"type": "choices", "value": {"choices": [answer]}}
    elif isinstance(answer, dict) and "choices" in answer:
        yield {"type": "choices", "value": answer}
    elif isinstance(answer, list):
        for entry in answer:
            if isinstance(entry, dict) and "rectanglelabels" in entry:
                yield {"type": "rectanglelabels", "value": entry}


def _choices(result: dict[str, Any]) -> list[str]:
    value = result.get("value")
    if result.get("type") != "choices" or not isinstance(value, dict):
        return []
    return [c for c in list_of(value, "choices") if isinstance(c, str)]


def _check_text(picture: Picture) -> None:
    """Raises ValueError for half a surrogate pair, which no table can hold."""
    keys = [picture.key, *(shape.key for shape in picture.shapes)]
    for text in (*_labels_of(picture), *keys):
        (text or "").encode("utf-8")
    # a byte of a file name that is not UTF-8 is one of them
    picture.name.encode("utf-8", "surrogateescape")


def _boxes(result: dict[str, Any], place: tuple[int, ...]) -> Iterator[Shape]:
    value = result.get("value")
    if result.get("type") != "rectanglelabels" or not isinstance(value, dict):
        return
    sides = [value.get(side) for side in ("x", "y", "width", "height")]
    # a box that was drawn and not labelled keeps its row
    labels = list_of(value, "rectanglelabels") or [None]
    if all(isinstance(side, int | float) for side in sides):
        # percent of the picture's sides
        left, top, width, height = (float(side) / 100 for side in sides)  # type: ignore[arg-type]
        label = labels[0] if isinstance(labels[0], str) else None
        key = result.get("id")
        own = key if isinstance(key, str) else None
        yield Shape(label, Box(left, top, width, height, shares=True), own, place)


def _is_ours(data: dict[str, Any]) -> bool:
    """Whether labelsieve exported a task."""
    return isinstance(data.get("sample_id"), str) and "given_label" in data


def _key(task: dict[str, Any], data: dict[str, Any]) -> str | None:
    if _is_ours(data):
        # what stands before the hash: the row is known again
        return str(data["sample_id"]).rpartition("#")[0] or None
    return None if task.get("id") is None else str(task["id"])


def _url(data: dict[str, Any], wanted: str | None) -> str | None:
    # as columns of tables are called
    for name in [wanted] if wanted else IMAGE_NAMES:
        value = data.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def file_of(url: str) -> str:
    """The file that a task's picture is, below the root; another address stays as it is."""
    if url.startswith(LOCAL):
        return parse_qs(urlsplit(url).query).get("d", [""])[0]
    # the number before the name is that of the project
    if url.startswith(UPLOADED):
        return unquote(url.rpartition("/")[2])
    return url


def _check_there(
    path: Path, root: Path, tasks: Sequence[Picture], is_named: bool
) -> None:
    """Raises DataError where the pictures are elsewhere."""
    looked_for = [task for task in tasks[:LOOKED_FOR] if "://" not in task.name]
    for picture in looked_for:
        # as it was called before it was uploaded
        plain_name = UPLOAD_MARK.sub("", picture.name)
        if is_there(root, picture.name):
            return
        if is_there(root, plain_name):
            _rename(tasks, root)
            return
    # all are URLs, or there are no tasks
    if not looked_for:
        return
    own = path.parent / "local-files-root.txt"
    hint = "--root"
    if own.is_file() and not is_named:
        # only told, not followed: the file may be a stranger's
        hint = f"--root {plain(own.read_text(errors='replace').strip()[:200])}"
    raise DataError(
        f"The pictures of '{readable(path)}', such as '{plain(looked_for[0].name)[:120]}', are "
        f"not below '{readable(root)}'.",
        f"Name the folder that Label Studio served files from with {hint}.",
    )


def _rename(tasks: Sequence[Picture], root: Path) -> None:
    for picture in tasks:
        if not is_there(root, picture.name):
            picture.name = UPLOAD_MARK.sub("", picture.name)
