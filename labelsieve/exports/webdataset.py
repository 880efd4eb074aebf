"""WebDataset: tar files of samples with .cls (the number of the class) and .json, classnames.txt.

Line n of `classnames.txt` names class n, from 0. Samples that belong to no class have no `.cls`.
Where the data have splits, shards are called so: train-000000.tar.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from labelsieve.exports import Names, Rows, safe_name
from labelsieve.exports._splits import parts

TARGET = "folder"
IN_A_SHARD = 1000  # samples; webdataset's own default is 100,000, and shards of 3 GB
ABOUT = ("sample_id", "label", "given_label", "p_clean", "is_label_issue", "verdict")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write shards; pictures are encoded as they were, unreadable ones are left out."""
    typed = sorted(set(rows.table["label"].to_pylist()) - {None, *rows.classes})
    classes = [*rows.classes, *typed]
    numbers = {name: number for number, name in enumerate(classes)}
    names = Names()
    target.mkdir(parents=True, exist_ok=True)
    for split, part in parts(rows):
        # "train-000000.tar": readers know the split by it
        before = "" if split is None else f"{split}-"
        _write_shards(part, f"{target}/{before}", names, numbers)
    # a line end in a name would move all names behind it
    lines = [" ".join(name.splitlines()) for name in classes]
    text = "".join(f"{line}\n" for line in lines)
    (target / "classnames.txt").write_text(text, encoding="utf-8")
    return [target]


def _write_shards(
    rows: Rows, before: str, names: Names, numbers: dict[str, int]
) -> None:
    """The shards of one split; `before`: what stands before their numbers in their paths.

    Args:
        names: of samples, unique over all shards.
    """
    samples = 0
    with contextlib.ExitStack() as shard:
        for row, picture in rows.encoded():
            if picture is None:
                continue
            if samples % IN_A_SHARD == 0:
                shard.close()
                path = f"{before}{samples // IN_A_SHARD:06d}.tar"
                tar = shard.enter_context(tarfile.open(path, "w"))
            samples += 1
            # a dot would end the key
            name = safe_name(Path(row["path"]).stem).replace(".", "_")
            _add(tar, names.numbered(name, ""), row, picture, numbers)


def _add(
    shard: tarfile.TarFile,
    key: str,
    row: dict[str, Any],
    picture: tuple[bytes, str],
    numbers: dict[str, int],
) -> None:
    data, suffix = picture
    files = {suffix.removeprefix("."): data}
    if row["label"] is not None:
        files["cls"] = str(numbers[row["label"]]).encode()
    about = {name: row[name] for name in ABOUT}
    files["json"] = json.dumps(about, ensure_ascii=False).encode()
    for kind, content in files.items():
        # no time and no owner: the same run gives the same bytes
        info = tarfile.TarInfo(f"{key}.{kind}")
        info.size = len(content)
        shard.addfile(info, io.BytesIO(content))
