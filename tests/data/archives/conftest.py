"""Miniature archives in the official layouts, written byte by byte as the authors' archives are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

SYNSETS = [
    ("n01440764", "tench, Tinca tinca"),
    ("n01443537", "goldfish, Carassius auratus"),
    ("n03126707", "crane"),
    ("n02012849", "crane, bird"),
]
FILES = {"n01440764": 3, "n01443537": 2, "n03126707": 2, "n02012849": 1}


def pattern(label: int, number: int, side: int = 32) -> np.ndarray:
    """uint8 [side, side, 3]: pictures of a class are alike, no two are the same."""
    rng = np.random.default_rng([label, number])
    base = (
        np.random.default_rng(label)
        .integers(40, 216, (side // 8, side // 8, 3))
        .repeat(8, 0)
        .repeat(8, 1)
    )
    return (base + rng.integers(-20, 20, (side, side, 3))).astype(np.uint8)


def jpeg(label: int, number: int, side: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pattern(label, number, side)).save(buffer, "JPEG")
    return buffer.getvalue()


def cifar_records(labels: list[int], label_bytes: int) -> bytes:
    """Label bytes (coarse before fine), then the red, green and blue plane, row by row."""
    first = [bytes([7])] if label_bytes == 2 else []
    rows = [
        b"".join([*first, bytes([k]), pattern(k, i).transpose(2, 0, 1).tobytes()])
        for i, k in enumerate(labels)
    ]
    return b"".join(rows)


class Builder:
    """Writes one archive after another below its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def cifar100(
        self,
        labels: list[int] | None = None,
        packed: bool = False,
        top: str = "cifar-100-binary",
    ) -> Path:
        labels = [19, 29, 0, 11, 99] if labels is None else labels
        files = {
            "fine_label_names.txt": "".join(f"fine_{k}\n" for k in range(100)) + "\n",
            "coarse_label_names.txt": "".join(f"coarse_{k}\n" for k in range(20)),
            "train.bin": cifar_records(labels, 2),
            "test.bin": cifar_records(labels[:2][::-1], 2),
        }
        self._put(files, top, "cifar-100-binary.tar.gz" if packed else None)
        return self.folder

    def cifar10(self, labels: list[int] | None = None, packed: bool = False) -> Path:
        labels = [6, 9, 9, 4, 1, 1, 2, 7, 8, 3] if labels is None else labels
        files: dict[str, bytes | str] = {
            "batches.meta.txt": "".join(f"thing{k}\n" for k in range(10)) + "\n"
        }
        for batch in range(5):
            rows = cifar_records(labels, 1)
            part = len(rows) // 5
            files[f"data_batch_{batch + 1}.bin"] = rows[
                batch * part : (batch + 1) * part
            ]
        files["test_batch.bin"] = cifar_records(labels[:3], 1)
        self._put(
            files, "cifar-10-batches-bin", "cifar-10-binary.tar.gz" if packed else None
        )
        return self.folder

    def _put(self, files: dict[str, Any], top: str, tarball: str | None) -> None:
        content = {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}
        if tarball is None:
            for name, data in content.items():
                self.write(f"{top}/{name}" if top else name, data)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.folder / tarball, "w:gz") as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def human(self, file: str, sets: dict[str, Any]) -> Path:
        """CIFAR-N's label file: arrays of whole numbers, saved by torch."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {name: np.array(v, dtype=np.int64) for name, v in sets.items()}, path
        )
        return self.folder

    def tiny(self, packed: bool = False) -> Path:
        files: dict[str, bytes | str] = {
            "wnids.txt": "".join(f"{wnid}\n" for wnid, _ in SYNSETS),
            "words.txt": "n00001740\tentity\n"
            + "".join(f"{wnid}\t{words}\n" for wnid, words in SYNSETS),
            "test/images/test_0.JPEG": jpeg(0, 90),
        }
        for k, (wnid, count) in enumerate(FILES.items()):
            files |= {
                f"train/{wnid}/images/{wnid}_{i}.JPEG": jpeg(k, i) for i in range(count)
            }
            files[f"train/{wnid}/{wnid}_boxes.txt"] = f"{wnid}_0.JPEG\t0\t0\t63\t63\n"
        for k in range(len(FILES)):
            files[f"val/images/val_{k}.JPEG"] = jpeg(3 - k, 50)
        rows = [
            f"val_{k}.JPEG\t{wnid}\t0\t32\t44\t62\n"
            for k, wnid in enumerate(reversed(FILES))
        ]
        files["val/val_annotations.txt"] = "".join(rows)
        if packed:
            self.folder.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(self.folder / "tiny-imagenet-200.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(f"tiny-imagenet-200/{name}", content)
            return self.folder
        for name, content in files.items():
            self.write(f"tiny-imagenet-200/{name}", content)
        return self.folder

    def cars(self, train: list[int] | None = None) -> Path:
        """.mat files as the devkit has them: struct arrays with boxes, class (from 1 on) and
        file name."""
        names = [
            "AM General Hummer SUV 2000",
            "Acura RL Sedan 2012",
            "Ram C/V Cargo Van Minivan 2012",
        ]
        train = [1, 3, 3, 2] if train is None else train
        (self.folder / "devkit").mkdir(parents=True, exist_ok=True)
        savemat(
            self.folder / "devkit" / "cars_meta.mat",
            {"class_names": np.array([names], dtype=object)},
        )
        for part, labels, file in (
            ("train", train, "devkit/cars_train_annos.mat"),
            ("test", [2, 1], "cars_test_annos_withlabels.mat"),
        ):
            rows = np.zeros(
                (1, len(labels)),
                dtype=[(n, object) for n in ("bbox_x1", "bbox_y2", "class", "fname")],
            )
            for i, k in enumerate(labels):
                rows[0, i] = (1, 9, np.array([[k]], dtype=np.uint8), f"{i + 1:05d}.jpg")
                self.write(f"cars_{part}/{i + 1:05d}.jpg", jpeg(k, i, 48))
            savemat(self.folder / file, {"annotations": rows}, do_compression=True)
        return self.folder

    def cub(self) -> Path:
        classes = [
            "001.Black_footed_Albatross",
            "002.Laysan_Albatross",
            "023.Brandt_Cormorant",
        ]
        labels, parts = [1, 1, 2, 2, 3, 3], [0, 1, 1, 0, 1, 1]
        paths = [
            f"{classes[k - 1]}/{classes[k - 1][4:]}_{i:04d}.jpg"
            for i, k in enumerate(labels)
        ]
        top = "CUB_200_2011"
        for i, path in enumerate(paths):
            self.write(f"{top}/images/{path}", jpeg(labels[i], i, 56))
        for name, values in {
            "images": paths,
            "image_class_labels": labels,
            "train_test_split": parts,
            "classes": classes,
        }.items():
            self.write(
                f"{top}/{name}.txt",
                "".join(f"{i + 1} {value}\n" for i, value in enumerate(values)),
            )
        return self.folder

    def clothing(self, lists: str = "") -> Path:
        names = [
            "T-Shirt",
            "Shirt",
            "Knitwear",
            "Chiffon",
            "Sweater",
            "Hoodie",
            "Windbreaker",
            "Jacket",
            "Downcoat",
            "Suit",
            "Shawl",
            "Dress",
            "Vest",
            "Underwear",
        ]
        keys = [f"images/{i % 10}/{i:02d}/{1000 + i},{2000 + i}.jpg" for i in range(7)]
        noisy = {0: 0, 1: 4, 2: 11, 3: 13, 4: 8}
        clean = {1: 2, 4: 8, 5: 0, 6: 9}
        for i, key in enumerate(keys):
            self.write(key, jpeg(i, 0, 40))
        for kind, table in (("noisy", noisy), ("clean", clean)):
            self.write(
                f"{lists}{kind}_label_kv.txt",
                "".join(f"{keys[i]} {k}\n" for i, k in table.items()),
            )
        for name, rows in {
            "noisy_train": [3, 0, 1, 2],
            "clean_train": [1, 4],
            "clean_val": [5],
            "clean_test": [6],
        }.items():
            self.write(
                f"{lists}{name}_key_list.txt", "".join(f"{keys[i]}\n" for i in rows)
            )
        self.write(f"{lists}category_names_eng.txt", "\n".join(names))
        return self.folder

    def webvision(self) -> Path:
        more = [(f"n1{k:07d}", f"thing {k}, Res {k}") for k in range(4, 1000)]
        self.write(
            "info/synsets.txt", "".join(f"{w} {n}\n" for w, n in [*SYNSETS, *more])
        )
        rows = [
            ("q0001/a.jpg", 0),
            ("q0001/b c.jpg", 1),
            ("q0055/d.jpg", 49),
            ("q0056/e.jpg", 50),
            ("q1600/f.jpg", 999),
        ]
        self.write(
            "info/train_filelist_google.txt",
            "".join(f"google/{n} {k}\n" for n, k in rows),
        )
        for i, (name, k) in enumerate(rows[:3]):
            self.write(f"google/{name}", jpeg(k, i, 40))
        self.write(
            "info/val_filelist.txt",
            "val000001.jpg 3\nval000002.jpg 77\nval000003.jpg 2\n",
        )
        for i, k in ((1, 3), (3, 2)):
            self.write(f"val_images_256/val{i:06d}.jpg", jpeg(k, i, 40))
        return self.folder


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "data")


@pytest.fixture
def rows() -> Callable[..., list[Any]]:
    """All rows of an archive as data, in order."""
    from labelsieve.data.sources import open_source

    return lambda spec: list(open_source(spec).rows())
