"""The report: one HTML file that needs no network."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, Protocol

import jinja2
import numpy as np
import pyarrow.compute as pc

from labelsieve.errors import ImageError
from labelsieve.images import decode, from_object, read_bytes
from labelsieve.run import Run

CARDS = 120
THUMBNAIL = 160


class Pictures(Protocol):
    """Where pictures come from, by sample id."""

    def read(self, sample_id: str) -> Any: ...


def write(opened: Run, pictures: Pictures) -> Path:
    """Write `report.html` of a finished run."""
    template = _environment().get_template("report.html.j2")
    html = template.render(
        record=opened.record,
        noise=opened.noise,
        preflight=opened.preflight,
        cards=_cards(opened, pictures),
        histogram=_histogram(opened),
    )
    scratch = opened.report.with_name(".report.html.partial")
    scratch.write_text(html, encoding="utf-8")
    scratch.replace(opened.report)
    return opened.report


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "assets")
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )


def _cards(opened: Run, pictures: Pictures) -> list[dict[str, Any]]:
    scores = opened.scores
    worst = scores.filter(pc.fill_null(scores["is_label_issue"], False)).slice(0, CARDS)
    return [{**row, "thumbnail": thumbnail(pictures, row["sample_id"])} for row in worst.to_pylist()]


def thumbnail(pictures: Pictures, sample_id: str, side: int = THUMBNAIL) -> str:
    """A small picture as a data URL; empty when the image can no longer be read."""
    try:
        item = pictures.read(sample_id)
        image = decode(read_bytes(item), side) if isinstance(item, bytes | str | Path) else from_object(item)
    except ImageError:
        return ""
    if max(image.size) > side:
        image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _histogram(opened: Run, bins: int = 40) -> list[int]:
    values = opened.scores["p_clean"].drop_null().to_numpy()
    return [int(v) for v in np.histogram(values, bins=bins, range=(0, 1))[0]]
