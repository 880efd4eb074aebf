"""Pictures of phones (HEIC), where the library that decodes them is installed; Pillow has none."""

from __future__ import annotations

from labelsieve.errors import ImageError

# What such files begin with, after four bytes.
BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")


def allow(data: bytes) -> None:
    """Let Pillow open encoded bytes, if they are such a picture.

    Raises:
        ImageError: they are, and nothing here decodes them.
    """
    if data[4:12] not in BRANDS:
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            "a HEIC picture: pip install pillow-heif, or convert it to JPEG"
        ) from error
    # registering it again changes nothing
    pillow_heif.register_heif_opener()
