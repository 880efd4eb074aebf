"""Planted copies among different pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from labelsieve.features.copies import duplicates
from labelsieve.features.copies.perceptual_hashes import PARTNERS


def tiles() -> list[Image.Image]:
    """Twenty-four different pictures of 100 pixels: parts of scikit-learn's two photos."""
    from sklearn.datasets import load_sample_image

    parts = []
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.fromarray(load_sample_image(name))
        for k in range(12):
            left, top = k % 6 * 100 + 20, k // 6 * 180 + 100
            parts.append(photo.crop((left, top, left + 100, top + 100)))
    return parts


def thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR))


def test_copies_are_found_and_nothing_else() -> None:
    """Without neighbours, by the hash alone; with them, mirrored ones and crops, too."""
    pictures = tiles()
    planted = {}

    def plant(kind: str, of: int, picture: Image.Image) -> None:
        planted[of, len(pictures)] = kind
        pictures.append(picture)

    for of in (0, 1, 2, 3, 5):  # 4 is nearly all sky
        plant("copy", of, pictures[of].resize((50, 50)))
    for of in range(6, 10):
        buffer = io.BytesIO()
        pictures[of].save(buffer, "JPEG", quality=25)
        plant("copy", of, Image.open(buffer))
    for of in (10, 11, 13, 14, 16):
        plant("mirrored", of, pictures[of].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    for of in (15, 17, 18, 20):
        plant("crop", of, pictures[of].crop((15, 5, 95, 85)))
    thumbs = np.stack([thumb(picture) for picture in pictures])
    sides = np.array([min(picture.size) for picture in pictures], dtype=float)

    def kinds(near: np.ndarray) -> dict[tuple[int, int], str]:
        pairs = duplicates.find(thumbs, near, sides)
        return {(min(p.first, p.second), max(p.first, p.second)): p.kind for p in pairs}

    none = np.empty((len(thumbs), 0), dtype=np.int64)
    copies = {pair: kind for pair, kind in planted.items() if kind == "copy"}
    assert kinds(none) == copies
    everything = np.stack(
        [np.delete(np.arange(len(thumbs)), k) for k in range(len(thumbs))]
    )
    assert kinds(everything) == planted


def test_small_and_plain_pictures_are_left_out() -> None:
    same = np.stack([thumb(tiles()[0])] * 2)
    none = np.empty((2, 0), dtype=np.int64)
    assert len(duplicates.find(same, none, np.array([32.0, 32.0]))) == 1
    for sides in ([31.0, 100.0], [np.nan, 100.0]):
        assert duplicates.find(same, none, np.array(sides)).first.size == 0
    plain = np.full((2, 64, 64), 200, np.uint8)
    assert duplicates.find(plain, none, np.array([100.0, 100.0])).first.size == 0


def test_groups_hang_together() -> None:
    first, second = np.array([(0, 1), (4, 5), (1, 2), (6, 4)]).T
    assert duplicates.groups(first, second, 8).tolist() == [0, 1, 0, 1]
    none = np.empty(0, dtype=np.int64)
    assert duplicates.groups(none, none, 8).tolist() == []


def test_many_copies_of_one_picture_are_not_all_pairs_of_them() -> None:
    """What a web server gives in the place of pictures that are gone: a thousand times."""
    count = 1_000
    thumbs = np.repeat(thumb(tiles()[0])[None], count, 0)
    near = np.empty((count, 0), dtype=np.int64)
    pairs = duplicates.find(thumbs, near, np.full(count, 100.0))
    assert len(pairs) == count * PARTNERS and (pairs.similarity > 0.999).all()
    # one group, in which nobody is without a partner
    assert not duplicates.groups(pairs.first, pairs.second, count).any()
    assert len(np.unique(np.concatenate([pairs.first, pairs.second]))) == count
