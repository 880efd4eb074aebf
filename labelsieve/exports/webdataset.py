"""WebDataset: tar files of samples with .cls (the number of the class) and .json, classnames.txt.

Line n of `classnames.txt` names class n, from 0. Samples that belong to no class have no `.cls`.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from labelsieve.exports import Names, Rows, safe_name

TARGET = "folder"
IN_A_SHARD = 1000  # samples; webdataset's own default is 100,000, and shards of 3 GB
ABOUT = ("sample_id", "label", "given_label", "p_clean", "is_label_issue", "verdict")


def write(rows: Rows, target: Path) -> list[Path]:
    """Write shards; pictures are encoded as they were, unreadable ones are left out."""
    typed = sorted(set(rows.table["label"].to_pylist()) - {None, *rows.classes})
    classes = [*rows.classes, *typed]
    numbers = {name: number for number, name in enumerate(classes)}
    names, samples = Names(), 0
    shard: tarfile.TarFile | None = None
    target.mkdir(parents=True, exist_ok=True)
    for row, picture in rows.encoded():
        if picture is None:
            continue
        if shard is None or samples % IN_A_SHARD == 0:
            if shard is not None:
                shard.close()
            shard = tarfile.open(target / f"{samples // IN_A_SHARD:06d}.tar", "w")  # noqa: SIM115
        samples += 1
        # a dot would end the key
        key = names.numbered(safe_name(Path(row["path"]).stem).replace(".", "_"), "")
        _add(shard, key, row, picture, numbers)
    if shard is not None:
        shard.close()
    # a line end in a name would move all names behind it
    lines = [" ".join(name.splitlines()) for name in classes]
    text = "".join(f"{line}\n" for line in lines)
    (target / "classnames.txt").write_text(text, encoding="utf-8")
    return [target]


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
