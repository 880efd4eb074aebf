"""How much memory OpenJPEG takes for what a JPEG 2000 file declares besides its pixels.

A picture is cut into tiles, each tile of each component into resolutions, bands, precincts and
code-blocks (ISO/IEC 15444-1, annexes A and B). All are structures in memory before a pixel is
decoded, so a small file with tiny parts takes more than its pixels.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Bytes of one structure, measured with OpenJPEG 2.5.
BLOCK_BYTES = 450  # a code-block, its nodes in two tag trees, its first segments
ENDED_BLOCK_BYTES = 8_000  # one whose coding passes each end: up to 164 segments
PRECINCT_BYTES = 340  # of one band: two tag trees, however small
TILE_BYTES = 9_000  # of one component: quantisation and its index
SAMPLE_BYTES = 6  # a coefficient of 32 bits, and the sample that becomes of it
PASSES_END = 0x04 | 0x01  # styles of code-blocks with a segment a pass, or nearly so
# Markers are looked for in all bytes, not followed from one to the next: where decoders and we
# would skip differently, a file could hide one. What looks like one by chance has to fit its
# own length and all bounds, which data of random bytes do once in 2**50 positions.
SIZE = re.compile(rb"\xff\x4f\xff\x51")
STYLE = re.compile(rb"\xff[\x52\x53]\x00")
WHOLE = 15  # exponent of the side of a precinct where none is given


@dataclass(frozen=True)
class Shape:
    """SIZ: the area of the picture and of its tiles, and how many components there are."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    tiles: int
    components: int


@dataclass(frozen=True)
class Style:
    """COD or COC: how a component of a tile is cut; sides are exponents of two."""

    levels: int
    block_width: int
    block_height: int
    passes_end: bool
    layers: int
    precincts: (
        bytes  # one byte a resolution, the lowest first; empty: whole resolutions
    )


def buffers(data: bytes) -> int:
    """Bytes that decoding takes besides the picture that comes out."""
    shapes = list(_shapes(data))
    styles = list(_styles(data))
    most = max((_bytes(shape, styles) for shape in shapes), default=0)
    return most + len(data)  # the packets of a tile are copied


def _shapes(data: bytes) -> Iterator[Shape]:
    for found in SIZE.finditer(data):
        fields = data[found.end() : found.end() + 38]
        if len(fields) < 38:
            continue
        length, _, *sides, components = struct.unpack(">HHIIIIIIIIH", fields)
        if length != 38 + 3 * components or not min(sides[:2] + sides[4:6]):
            continue
        right, bottom, left, top, across, down, first, upper = sides
        tiles = _parts(right - first, across) * _parts(bottom - upper, down)
        width, height = max(1, right - left), max(1, bottom - top)
        tile = (min(width, across), min(height, down))
        yield Shape(width, height, *tile, max(1, tiles), max(1, components))


def _styles(data: bytes) -> Iterator[Style]:
    for found in STYLE.finditer(data):
        start = found.start() + 2
        length = data[start + 1]
        segment = data[start + 2 : start + length]
        if data[start - 1] == 0x52:
            yield from _style(segment, 5)
        else:
            # the component is one byte, or two where there are more than 256
            yield from _style(segment, 2)
            yield from _style(segment, 3)


def _style(segment: bytes, head: int) -> Iterator[Style]:
    """The style in a segment whose first `head` bytes come before it, if there is one."""
    if len(segment) < head + 5:
        return
    levels, width, height, passes, filters = segment[head : head + 5]
    flags = segment[0 if head == 5 else head - 1]
    precincts = segment[head + 5 :]
    # the bounds that OpenJPEG has, too; sides of blocks are stored less two
    bounded = levels <= 32 and width + height <= 8 and passes < 0x80 and filters <= 1
    if not bounded or len(precincts) != (flags & 1) * (levels + 1):
        return
    layers = 1
    if head == 5:
        layers = int.from_bytes(segment[2:4], "big")
    ends = bool(passes & PASSES_END)
    yield Style(levels, width + 2, height + 2, ends, layers, precincts)


def _bytes(shape: Shape, styles: list[Style]) -> int:
    """Bytes of tiles that wait, and of the largest that is decoded at a time."""
    size = shape.tiles * shape.components * TILE_BYTES
    # as many as the file declares, up to 16,384, also where Pillow wants three
    size += shape.width * shape.height * shape.components * SAMPLE_BYTES
    layers = max((style.layers for style in styles), default=1)
    cut = max((_cut(shape, style, layers) for style in styles), default=0)
    return size + cut * shape.components


def _cut(shape: Shape, style: Style, layers: int) -> int:
    """Bytes of the parts of one component of one tile."""
    block_bytes = BLOCK_BYTES
    if style.passes_end:
        block_bytes = ENDED_BLOCK_BYTES
    size, most = 0, 1
    for resolution in range(style.levels + 1):
        step = style.levels - resolution
        width = _parts(shape.tile_width, 1 << step)
        height = _parts(shape.tile_height, 1 << step)
        across, down = WHOLE, WHOLE
        if style.precincts:
            across = style.precincts[resolution] & 15
            down = style.precincts[resolution] >> 4
        # tiles need not begin where precincts do, hence one more on each axis
        precincts = (_parts(width, 1 << across) + 1) * (_parts(height, 1 << down) + 1)
        bands = 1
        if resolution:  # three bands, each of half the sides
            bands, across, down = 3, max(0, across - 1), max(0, down - 1)
            width, height = _parts(width, 2), _parts(height, 2)
        blocks = _parts(width, 1 << min(across, style.block_width)) + 1
        blocks *= _parts(height, 1 << min(down, style.block_height)) + 1
        size += bands * (blocks * block_bytes + precincts * PRECINCT_BYTES)
        most = max(most, precincts)
    # which packets were read: two bytes a layer, resolution and precinct
    return size + 2 * (layers + 1) * (style.levels + 1) * most


def _parts(length: int, part: int) -> int:
    return -(-length // part)
